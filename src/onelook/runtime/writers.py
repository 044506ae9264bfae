"""Results into files: drawn pictures and videos, JSON, CSV, COCO results, YOLO text, masks; thousands in little memory.

Every file is written beside its place and renamed when it is complete. Whatever ends the work, Ctrl-C too, the files
then hold what was done until there.
"""

import csv
import io
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error, SourceError
from onelook.runtime import atomic
from onelook.runtime.classification import Classification
from onelook.runtime.detections import Detections
from onelook.runtime.picture import shown
from onelook.runtime.result import Result, encode
from onelook.runtime.segmentation import Segmentation
from onelook.runtime.sources import is_live

DEFAULT_FPS = 25.0
JPEG_SIDE = 65_500  # libjpeg's own limit, in pixels


def run_folder(parent: str | Path = "runs", name: str = "detect") -> Path:
    """Makes a new folder for the results of one run, and gives its path: runs/detect-1, runs/detect-2, ...

    The number follows the highest there is; two processes at once get two folders. Raises Error where none can be made.
    """
    parent = Path(parent)
    with atomic.writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        found = (re.fullmatch(re.escape(name) + r"-([0-9]{1,9})", entry.name) for entry in parent.iterdir())
        number = max((int(match[1]) for match in found if match), default=0)
        while True:
            number += 1
            folder = parent / f"{name}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:  # another process was faster
                continue
            return folder


def check_formats(formats: Collection[str], task: str = "detect") -> None:
    """Raises Error for a format that `open_writer` does not have for that task."""
    unknown = sorted(set(formats) - set(OUTPUTS[task]))
    if unknown:
        raise Error(f"cannot save as {unknown[0]!r}; the formats are {', '.join(OUTPUTS[task])}")


def open_writer(
    formats: Collection[str], folder: str | Path, sources: Iterable[object] = (), task: str = "detect"
) -> "Writer":
    """Opens the result files in a folder, which is made where it is missing.

    Args:
        formats: any of
            json: results.json, {"images": [...]}, a picture a line as the result's `to_dict` gives it;
            csv: results.csv, a detection a row, or of a classifier a picture's first few classes a row each;
            jpg: NAME.jpg, the drawn picture; NAME.mp4 of all the frames of a video or camera;
            coco: of a detector: coco.json, the list that COCO's own tools load as results;
            yolo: of a detector: labels/NAME.txt a picture, labels/NAME_000123.txt a frame of a video;
            png: to segment: NAME.png, or NAME_000123.png of a frame, the class of each pixel or the number of its object;
            polygons: to segment: polygons.json, as results.json, with the outlines instead of run lengths.
        folder: results.json, coco.json and results.csv in it are replaced. No other file that is there ever is: a
            picture gets a number (NAME-2) if a file of its NAME exists or another picture of this run has that NAME.
        sources: what the user named. The pictures of a folder or pattern among them keep the folders below it:
            photos/a/x.jpg of photos/ has the NAME a/x. Any other picture has the name of its file.
        task: whose results will be written: "detect", "classify", or "segment" for those of a segmenter and those of a
            detector that gives masks.

    Raises:
        Error: a format that does not exist, a folder that cannot be written to.
    """
    check_formats(formats, task)
    folder = Path(folder)
    with atomic.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files: list[str] = []
    outputs: list[_Output] = []
    with ExitStack() as stack:
        for name, output in OUTPUTS[task].items():
            if name in formats:
                outputs.append(output(folder, files))
                stack.callback(outputs[-1].close)
        names = _Names(sources, folder, [path for output in outputs for path in output.paths])
        return Writer(outputs, files, names, stack.pop_all())


class Writer:
    """Writes the results of one picture after the other. A context manager: leaving it completes the files."""

    def __init__(self, outputs: "list[_Output]", files: list[str], names: "_Names", stack: ExitStack) -> None:
        self._files = files
        self._outputs = outputs
        self._names = names
        self._stack = stack

    @property
    def files(self) -> list[Path]:
        """The files that are complete and in their place."""
        return [Path(file) for file in self._files]

    def write(self, result: Result) -> None:
        """Adds one picture, or the next frame of a video, to the files of every format.

        Raises:
            SourceError: this picture cannot be drawn; all files but the drawn one have it, and the next can be written.
            Error: a file cannot be written (disk full, ...), or there is no picture to draw on.
        """
        name = self._names.name(result.source, result.frame)
        for output in self._outputs:
            output.write(result, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


class _Names:
    """A NAME for the files of each picture, its own with the folders to keep; never the same twice.

    The frames of a video share one. The memory this takes grows by about 100 bytes a picture, and not with the frames.

    Args:
        sources: as of `open_writer`.
        folder, paths: patterns like "{}.jpg" of files in the folder that must not exist for a NAME to be free.
    """

    def __init__(self, sources: Iterable[object], folder: Path, paths: Iterable[str]) -> None:
        roots = [_root(source) for source in sources if isinstance(source, str | Path)]
        self._roots = sorted((root for root in roots if root), key=lambda root: len(root.parts), reverse=True)
        self._paths = [str(folder).replace("{", "{{").replace("}", "}}") + "/" + path for path in paths]
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last one given to a NAME that was asked for again
        self._video: tuple[str, int, str] | None = None  # source, last frame and NAME of the one that is being written

    def name(self, source: str, frame: int | None = None) -> str:
        """The NAME of a picture, with "/" between folders; of a video where `frame` is given."""
        if frame is None:
            self._video = None
            return self._free(self._own(source), video=False)
        if self._video and self._video[0] == source and self._video[1] < frame:
            name = self._video[2]
        else:
            name = self._free(self._own(source), video=True)
        self._video = (source, frame, name)
        return name

    def _own(self, source: str) -> str:
        if "://" in source:
            url = urlsplit(source)
            return _clean(Path(url.path).stem or url.hostname or "")
        path = Path(source)
        kept = next((path.relative_to(root) for root in self._roots if path.is_relative_to(root)), Path(path.name))
        return "/".join(map(_clean, (*kept.parts[:-1], kept.stem)))

    def _free(self, own: str, video: bool) -> str:
        number = self._numbers.get(own.casefold(), 1)
        name = own if number == 1 else f"{own}-{number}"
        while self._is_taken(name, video):
            number += 1
            name = f"{own}-{number}"
        if number > 1:
            self._numbers[own.casefold()] = number
        self._taken.add(name.casefold())
        return name

    def _is_taken(self, name: str, video: bool) -> bool:
        key = name.casefold()  # some file systems take X.jpg for x.jpg
        if key in self._taken or any(os.path.lexists(path.format(name)) for path in self._paths):
            return True
        # Of the frames of clip.mp4, one will be called clip_000123: is there a picture of that name?
        return video and any(taken.startswith(key + "_") and taken[len(key) + 1 :].isdecimal() for taken in self._taken)


def _root(source: str | Path) -> Path | None:
    """The folder that is named, or the one that stands before the first sign of a pattern; none for a single file."""
    path = Path(source)
    if os.path.isdir(path):
        return path
    pattern = next((i for i, part in enumerate(path.parts) if any(sign in part for sign in "*?[")), None)
    return None if pattern is None else Path(*path.parts[:pattern])


def _clean(part: str) -> str:
    """A name that every file system takes: no sign with a meaning there, at most 200 bytes, not empty, not ".."."""
    part = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", part)
    return part.encode("utf-8", "replace")[:200].decode("utf-8", "ignore").strip(" .") or "picture"


class _Output(Protocol):
    """The files of one format."""

    # Patterns of the files that belong to one picture or video, to be filled with its NAME.
    paths: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path, files: list[str]) -> None: ...

    def write(self, result: Any, name: str) -> None: ...

    def close(self) -> None: ...


class _Rows:
    """A text file of rows. Each goes to the disk at once, and the file's end after it, which the next row overwrites.

    So what a full disk or Ctrl-C leaves of a row can always be cut off, and the file is well-formed at any time.
    """

    paths: ClassVar[tuple[str, ...]] = ()
    file: ClassVar[str]
    head: ClassVar[str] = ""
    between: ClassVar[str] = ""
    foot: ClassVar[str] = ""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self._path = folder / self.file
        self._files = files
        self._temporary = atomic.beside(self._path)
        self._end = 0  # of the last whole row
        self._separator = ""
        with atomic.writing(self._path):
            self._stream = self._temporary.open("wb", buffering=0)
            self._append(self.head)

    def add(self, row: str) -> None:
        with atomic.writing(self._path):
            self._append(self._separator + row)
        self._separator = self.between

    def _append(self, text: str) -> None:
        # A file name that is not UTF-8 has lone surrogates; the escapes that they become here are JSON's own.
        row, foot = text.encode("utf-8", "backslashreplace"), self.foot.encode()
        self._stream.seek(self._end)
        rest = row + foot
        while rest:  # a disk that is nearly full takes a part
            rest = rest[self._stream.write(rest) :]
        self._end += len(row)

    def close(self) -> None:
        try:
            with atomic.writing(self._path):
                self._append("")
                self._stream.truncate()
                self._stream.close()
                self._temporary.replace(self._path)
            self._files.append(str(self._path))
        finally:
            self._stream.close()
            self._temporary.unlink(missing_ok=True)


class _Json(_Rows):
    file, head, between, foot = "results.json", '{"images": [\n', ",\n", "\n]}\n"

    def write(self, result: Result, name: str) -> None:
        self.add(json.dumps(result.to_dict(), ensure_ascii=False))


class _Polygons(_Rows):
    file, head, between, foot = "polygons.json", _Json.head, _Json.between, _Json.foot

    def write(self, result: Detections | Segmentation, name: str) -> None:
        self.add(json.dumps(result.to_polygons(), ensure_ascii=False))


class _Coco(_Rows):
    file, head, between, foot = "coco.json", "[\n", ",\n", "\n]\n"

    def __init__(self, folder: Path, files: list[str]) -> None:
        super().__init__(folder, files)
        self._ids: set[int | str] = set()

    def write(self, detections: Detections, name: str) -> None:
        if detections.frame is None:
            image_id = detections.image_id
            if image_id in self._ids:
                image_id = detections.source  # a/1.jpg and b/1.jpg are two pictures
            self._ids.add(image_id)
        else:
            image_id = f"{name}_{detections.frame:06d}"
        if rows := detections.to_coco(image_id):
            self.add(",\n".join(json.dumps(row, ensure_ascii=False) for row in rows))


class _Csv(_Rows):
    """RFC 4180. A text that a spreadsheet takes for a formula gets an apostrophe before it (OWASP: CSV injection)."""

    file = "results.csv"
    head = "source,frame,time,width,height,name,class,score,x1,y1,x2,y2\r\n"

    def write(self, result: Detections | Classification, name: str) -> None:
        found = result.to_dict()
        picture = (_no_formula(found["source"]), found.get("frame"), found.get("time"), found["width"], found["height"])
        self.add(_csv((*picture, *row) for row in self.rows(found)))

    def rows(self, found: dict[str, Any]) -> Iterable[tuple[object, ...]]:
        return ((_no_formula(d["name"]), d["class"], d["score"], *d["box"]) for d in found["detections"])


class _ClassCsv(_Csv):
    head = "source,frame,time,width,height,rank,name,class,score\r\n"

    def rows(self, found: dict[str, Any]) -> Iterable[tuple[object, ...]]:
        return ((i, _no_formula(d["name"]), d["class"], d["score"]) for i, d in enumerate(found["classes"], start=1))


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")) else text


class _Files:
    """A file for each picture or frame: the first of `paths`."""

    paths: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path, files: list[str]) -> None:
        self._folder, self._files = folder, files

    def write(self, result: Any, name: str) -> None:
        frame = "" if result.frame is None else f"_{result.frame:06d}"
        path = self._folder / self.paths[0].format(name + frame)
        _make_folder(path.parent)
        atomic.write(path, self.content(result))
        self._files.append(str(path))

    def content(self, result: Any) -> bytes:
        """Of the file."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is left to do: each file was complete when it was written."""


class _Yolo(_Files):
    """labels/NAME.txt: the detections of a picture as `Detections.to_yolo` gives them; empty where there are none."""

    paths: ClassVar[tuple[str, ...]] = ("labels/{}.txt", "labels/{}_000000.txt")

    def content(self, detections: Detections) -> bytes:
        return detections.to_yolo().encode()


class _Maps(_Files):
    """NAME.png: the class of each pixel, or the number of its object."""

    paths: ClassVar[tuple[str, ...]] = ("{}.png", "{}_000000.png")

    def content(self, result: Detections | Segmentation) -> bytes:
        return result.to_png()


class _Pictures:
    """NAME.jpg: the picture with what was found; NAME.mp4 of the frames of a video or camera.

    In the place of a camera's frames that were passed over stands the next one, so that the video keeps their pace.
    """

    paths: ClassVar[tuple[str, ...]] = ("{}.jpg", "{}.mp4")

    def __init__(self, folder: Path, files: list[str]) -> None:
        self._folder, self._files = folder, files
        self._video: _Video | None = None
        self._frame = 0  # the last one

    def write(self, result: Result, name: str) -> None:
        image = result.draw()
        path = self._folder / f"{name}.jpg" if result.frame is None else self._folder / f"{name}.mp4"
        if self._video and self._video.path != path:
            self.close()
        if result.frame is None:
            if max(image.shape) > JPEG_SIDE:
                size = f"{result.width} × {result.height}"
                raise SourceError(f"{shown(result.source)}: cannot be drawn: no JPEG can have {size} pixels")
            _make_folder(path.parent)
            atomic.write(path, encode(image, path))
            self._files.append(str(path))
        else:
            if not self._video:
                _make_folder(path.parent)
                self._video = _Video(path, result.fps, result.width, result.height)
                self._frame = result.frame - 1
            self._video.write(image, result.frame - self._frame if is_live(result.source) else 1)
            self._frame = result.frame

    def close(self) -> None:
        if self._video:
            video, self._video = self._video, None
            video.close()
            self._files.append(str(video.path))


class _Video:
    """An MP4 file (MPEG-4 part 2, which every OpenCV can write) that is complete when it is closed.

    Args:
        path: of the file.
        fps: frames a second; 25 where they are not known, or not credible (a camera's 90000).
        width, height: of its pictures in pixels; one of another size is resized.
    """

    def __init__(self, path: Path, fps: float | None, width: int, height: int) -> None:
        self.path = path
        self._temporary = atomic.beside(path)
        self._size = (width, height)
        self._frames = 0
        fps = fps if fps and 0.1 <= fps <= 1000 else DEFAULT_FPS
        # OpenCV makes a fraction of it, of up to three decimals, and MPEG-4 takes no part of one above 65535.
        fps = round(fps, 3 if fps < 65 else 2 if fps < 655 else 1)
        self._writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, self._size)
        if not self._writer.isOpened():
            self._temporary.unlink(missing_ok=True)
            raise Error(f"cannot write {path}: no video of {width} × {height} pixels can be written there")

    def write(self, image: NDArray[np.uint8], times: int = 1) -> None:
        """Adds a frame, RGB uint8 [H, W, 3], so many times."""
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        frame = cv2.resize(bgr, self._size, interpolation=cv2.INTER_AREA)  # a copy where the size is right
        for _ in range(times):
            self._writer.write(frame)
        self._frames += times

    def close(self) -> None:
        """Completes the file. Raises Error where that fails: the writer tells nobody of a full disk, so this looks."""
        self._writer.release()
        try:
            reader = cv2.VideoCapture(str(self._temporary))
            frames = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
            reader.release()
            if frames != self._frames:
                raise Error(
                    f"cannot write {self.path}: only {frames} of {self._frames} frames arrived; is the disk full?"
                )
            with atomic.writing(self.path):
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        with atomic.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)


# The files of results come first: a picture that cannot be drawn is still in them.
OUTPUTS: Mapping[str, Mapping[str, type[_Output]]] = {
    "detect": {"json": _Json, "coco": _Coco, "csv": _Csv, "yolo": _Yolo, "jpg": _Pictures},
    "classify": {"json": _Json, "csv": _ClassCsv, "jpg": _Pictures},
    "segment": {"json": _Json, "polygons": _Polygons, "png": _Maps, "jpg": _Pictures},
}
