"""What the user names (files, folders, videos, cameras, URLs, arrays) -> pictures: in order, one at a time."""

import glob
import os
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.errors import SourceError
from onelook.runtime import picture
from onelook.runtime.picture import PILImage, Pixels, shown

Source = str | os.PathLike[str] | int | bytes | NDArray[Any] | PILImage | Iterable[Any]

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
_SUFFIXES = PICTURE_SUFFIXES | VIDEO_SUFFIXES
STREAM_SCHEMES = frozenset({"rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})
STREAM_TIMEOUT = 10_000  # milliseconds to wait for a stream to open, and for each of its frames
CAMERAS = 100  # OpenCV takes numbers from 100 for the choice of a driver, and crashes on negative ones


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source, decoded when it is loaded."""

    name: str
    """A path, a URL, "camera 0", "array": what messages and results call it."""
    load: Callable[[], Pixels]
    """RGB uint8 [H, W, 3]; raises SourceError where it cannot be read. May be called in any thread, more than once."""
    frame: int | None = None
    """The number of the frame in its video, from 0; of a camera or live stream, among all that it sent."""
    time: float | None = None
    """Seconds since the start of the video; of a camera, when the frame came after its first one."""
    fps: float | None = None
    """Frames a second of the video or camera, where it says."""
    data: Callable[[], bytes] | None = None
    """The bytes of its file, where it has one; raises and may be called as `load`."""


def pictures(source: Source) -> Generator[Picture]:
    """The pictures of a source, in order, found and decoded only as they are asked for.

    Of a camera or live stream it is the newest frame that is given: those that came since the one before are passed over.

    Args:
        source: one of

            - a picture or video file; by its suffix a video (`VIDEO_SUFFIXES`), and with any other a picture;
            - a folder: its pictures and videos by their suffix, sorted by name, then those of its subfolders; hidden
              ones are left out, links to folders are followed, no folder is entered twice;
            - a pattern as in a shell, where no file has that name: "day?/*.jpg", "photos/**/*.png"; of a folder that
              matches, its pictures, each once;
            - the http(s) URL of a picture or video, or that of a stream (rtsp://...);
            - a camera's number: an int, or a string where no file has that name;
            - a picture file's bytes, or an open file that gives them; an array or PIL image as `picture.to_rgb` takes it;
            - an iterable of any of these, to any depth.

    Nothing is raised for what cannot be read: in its place comes a picture whose `load` raises the SourceError, and the
    rest follows. The same goes for a folder without pictures, a pattern that matches nothing, and, after its last good
    frame, a video that stops before nine tenths of its length.
    """
    for item in _items(source):
        if isinstance(item, Picture):
            yield item
        else:
            yield from item.frames()


def from_bytes(data: bytes, name: str) -> Picture:
    """The picture in the bytes of a picture file."""
    return Picture(name, partial(picture.decode, data, name), data=lambda: data)


def count(source: Source) -> int | None:
    """How many pictures `pictures(source)` will give, where that can be known cheaply; else None.

    A video's number of frames is what the file claims, which may be a few off. Two videos or more, cameras, streams
    and iterables other than lists and tuples are not counted.
    """
    if not _is_repeatable(source):
        return None
    total, videos = 0, 0
    for item in _items(source):
        if isinstance(item, Picture):
            total += 1
            continue
        videos += 1
        frames = item.length() if videos == 1 else None
        if frames is None:
            return None
        total += frames
    return total


def is_single(source: Source) -> bool:
    """Whether a source names one picture or one video, not several."""
    if isinstance(source, (bytes, bytearray, memoryview, np.ndarray)) or picture.is_pil(source) or _is_file(source):
        return True
    if not isinstance(source, (str, os.PathLike)):
        return False
    name = os.fsdecode(source)
    mode = _mode(name)
    return not stat.S_ISDIR(mode) and (bool(mode) or "://" in name or not glob.has_magic(name))


def is_endless(source: Source) -> bool:
    """Whether a source is a camera or a live stream, or a list with one."""
    if isinstance(source, (list, tuple)):
        return any(map(is_endless, source))
    found: Picture | _Video | None = None
    if isinstance(source, str):
        found = _address(source)
    elif isinstance(source, (int, np.integer)):
        found = _camera(int(source))
    return isinstance(found, _Video) and found.live


def is_live(name: str) -> bool:
    """Whether pictures of that name are frames of a camera or live stream."""
    return _scheme(name) in STREAM_SCHEMES or bool(re.fullmatch("camera [0-9]+", name))


@dataclass(frozen=True, slots=True)
class _Video:
    """What OpenCV opens and reads frame after frame: a video file, a camera (its number), or a URL."""

    name: str
    target: str | int

    @property
    def live(self) -> bool:
        """Whether it is a camera or a stream, which has no length and does not end by itself."""
        return isinstance(self.target, int) or _scheme(self.target) in STREAM_SCHEMES

    def frames(self) -> Iterator[Picture]:
        if picture.is_web(self.name) and _suffix(self.name) not in VIDEO_SUFFIXES:
            try:
                media_type = picture.content_type(self.name)
            except SourceError as error:
                yield Picture(self.name, partial(_fail, str(error)))
                return
            if media_type.startswith("image/"):
                yield _encoded(self.name)
                return
        capture = self._open()
        try:
            yield from self._read_live(capture) if self.live else self._read(capture)
        finally:
            capture.release()

    def length(self) -> int | None:
        """The number of frames that a file claims; None where it does not say, or is no file."""
        if self.live or picture.is_web(self.name):
            return None
        capture = self._open()
        frames = _sane(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        return None if frames is None else round(frames)

    def _open(self) -> cv2.VideoCapture:
        if isinstance(self.target, int):
            return cv2.VideoCapture(self.target)
        # FFmpeg by name: OpenCV's other readers print their complaints, or take "clip01.mp4" for a row of pictures.
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT]
        return cv2.VideoCapture(self.target, cv2.CAP_FFMPEG, timeouts)

    def _read(self, capture: cv2.VideoCapture) -> Iterator[Picture]:
        fps = _sane(capture.get(cv2.CAP_PROP_FPS))
        length = _sane(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        number, seconds = 0, 0.0
        while (frame := _next(capture)) is not None:
            if number:  # some formats' frames bear no time
                seconds = _sane(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000) or (number / fps if fps else 0.0)
            yield Picture(self.name, partial(_rgb, frame), number, seconds, fps)
            number += 1
        if number == 0:
            yield _broken(self.name, "no video that can be read")
        # The number of frames may be a guess where their rate varies, so the time must tell the same.
        elif fps and length and number < 0.9 * length and seconds + 1 / fps < 0.9 * length / fps:
            what = f"the video stops after {seconds:.1f} of {length / fps:.1f} seconds; it is damaged or cut short"
            yield _broken(self.name, what)

    def _read_live(self, capture: cv2.VideoCapture) -> Iterator[Picture]:
        fps = _sane(capture.get(cv2.CAP_PROP_FPS))
        newest = _Newest(capture)
        try:
            for frame, number, seconds in newest:
                yield Picture(self.name, partial(_rgb, frame), number, seconds, fps)
        finally:
            newest.close()
        if newest.count:
            yield _broken(self.name, f"no more pictures after frame {newest.count - 1}")
        else:
            what = "no such camera, or it is in use" if isinstance(self.target, int) else "no video that can be read"
            yield _broken(self.name, what)


class _Newest:
    """The newest frame of a camera or stream, its number and its time, again and again until there are no more.

    A thread takes every frame when it comes. Left to wait until they are wanted, frames would queue up on their way, and a
    model slower than the camera would look further and further into the past.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self.count = 0
        """Of the frames that came."""
        self._capture = capture
        self._newest: deque[tuple[Pixels, int, float]] = deque(maxlen=1)
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self._thread = threading.Thread(target=self._take, name="onelook-live", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[Pixels, int, float]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._ended)
                if not self._newest:
                    return
                found = self._newest.pop()
            yield found

    def close(self) -> None:
        """Ends the thread, after the frame that it waits for."""
        self._closed = True
        self._thread.join()

    def _take(self) -> None:
        start = 0.0
        try:
            while not self._closed and (frame := _next(self._capture)) is not None:
                now = time.monotonic()
                start = start if self.count else now
                with self._changed:
                    self._newest.append((frame, self.count, now - start))
                    self.count += 1
                    self._changed.notify()
        finally:  # whatever happens, nobody waits for ever
            with self._changed:
                self._ended = True
                self._changed.notify()


def _items(source: Source, index: int | None = None) -> Iterator[Picture | _Video]:
    """The pictures and videos of a source; `index` is its place in the iterable that holds it."""
    place = "" if index is None else f" {index}"
    if isinstance(source, Picture):
        yield source
    elif isinstance(source, str):
        address = _address(source)
        yield from _path(source) if address is None else [address]
    elif isinstance(source, os.PathLike):
        yield from _path(os.fsdecode(source))
    elif isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        yield _camera(int(source))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield from_bytes(bytes(source), f"bytes{place}")
    elif _is_file(source):
        yield _read(source, f"file{place}")
    elif isinstance(source, np.ndarray) or picture.is_pil(source):
        name = f"array{place}" if isinstance(source, np.ndarray) else f"image{place}"
        yield Picture(name, partial(picture.to_rgb, source, name))
    elif isinstance(source, Iterable):
        for position, element in enumerate(source):
            yield from _items(element, position)
    else:
        name = f"source{place}"
        wanted = "a path, URL, camera number, array, PIL image, bytes, or an iterable of these"
        yield _broken(name, f"expected {wanted}; found {type(source).__name__}")


def _is_file(source: Source) -> bool:
    return callable(getattr(source, "read", None))


def _read(file: Any, name: str) -> Picture:
    """The picture in an open file, which is read now, as nobody knows how long it will be open."""
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        return _broken(name, picture.reason(error))
    return (
        from_bytes(data, name) if isinstance(data, bytes) else _broken(name, "expected a file that is opened as binary")
    )


def _address(text: str) -> Picture | _Video | None:
    """What a text means that is no path: a URL, or a camera's number."""
    if not text.isprintable():  # OpenCV crashes where a video's name is not valid UTF-8
        return None
    if picture.is_web(text):
        return _encoded(text) if _suffix(text) in PICTURE_SUFFIXES else _Video(text, text)
    if _scheme(text) in STREAM_SCHEMES:
        return _Video(text, text)
    return _camera(int(text)) if re.fullmatch("[0-9]{1,9}", text) and not _mode(text) else None


def _camera(number: int) -> Picture | _Video:
    name = f"camera {number}"
    if 0 <= number < CAMERAS:
        return _Video(name, number)
    return _broken(name, f"cameras are numbered from 0 to {CAMERAS - 1}")


def _path(path: str) -> Iterator[Picture | _Video]:
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        yield from _folder(path)
    elif mode or not glob.has_magic(path):
        yield _file(path)
    else:
        matches = sorted(glob.iglob(path, recursive=True))
        folders = set[Path]()
        for match in map(Path, matches):
            if folders.isdisjoint(match.parents):  # else it has come with the folder that it lies in
                if stat.S_ISDIR(_mode(str(match))):
                    folders.add(match)
                yield from _path(str(match))
        if not matches:
            yield _broken(path, "no file or folder matches this pattern")


def _file(path: str) -> Picture | _Video:
    if _suffix(path) not in VIDEO_SUFFIXES or not _mode(path):
        return _encoded(path)
    if not stat.S_ISREG(_mode(path)):  # opening a pipe would wait for its other end
        return _broken(path, "not an ordinary file")
    if re.search("[\ud800-\udfff]", path):  # OpenCV would crash
        return _broken(path, "a video's name must be valid UTF-8; rename it")
    return _Video(path, os.path.abspath(path))  # absolute, as FFmpeg takes "concat:a.mp4" for a protocol


def _folder(top: str) -> Iterator[Picture | _Video]:
    """What lies in a folder and below; only the names of one folder at a time are held."""
    pending, entered, empty = [top], set(), True
    while pending:
        folder = pending.pop()
        files, folders = [], []
        try:
            info = os.stat(folder)
            if (info.st_dev, info.st_ino) in entered:
                continue
            entered.add((info.st_dev, info.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        folders.append(entry.path)
                    elif _suffix(entry.name) in _SUFFIXES:
                        files.append(entry.path)
        except OSError as error:
            yield _broken(folder, picture.reason(error))
            empty = False
        pending += sorted(folders, reverse=True)
        empty = empty and not files
        yield from map(_file, sorted(files))
    if empty:
        yield _broken(top, "no pictures or videos in this folder")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere
        return False


def _encoded(name: str) -> Picture:
    """The picture in a file or at a URL."""
    return Picture(name, partial(picture.read, name), data=partial(picture.read_bytes, name))


def _broken(name: str, what: str) -> Picture:
    return Picture(name, partial(_fail, f"{shown(name)}: {what}"))


def _fail(message: str) -> NoReturn:
    raise SourceError(message)


def _mode(path: str) -> int:
    """The type and permissions of a file or folder; 0 where it is not there or cannot be reached."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a null byte
        return 0


def _next(capture: cv2.VideoCapture) -> Pixels | None:
    try:
        good, frame = capture.read()
    except cv2.error:
        return None
    return np.asarray(frame, np.uint8) if good else None


def _sane(number: float) -> float | None:
    """A positive number within reason; what OpenCV does not know it gives as zero, minus one, or any other."""
    return number if 0 < number < 1e9 else None


def _rgb(frame: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


def _scheme(text: str) -> str:
    scheme, separator, _ = text.partition("://")
    return scheme.lower() if separator else ""


def _suffix(name: str) -> str:
    _, dot, suffix = (re.split("[?#]", name)[0] if picture.is_web(name) else name).rpartition(".")
    return dot + suffix.lower()


def _is_repeatable(source: object) -> bool:
    """Whether it can be gone through twice, and at little cost."""
    if isinstance(source, (list, tuple)):
        return all(map(_is_repeatable, source))
    single = (Picture, str, os.PathLike, int, np.integer, bytes, bytearray, memoryview, np.ndarray)
    return isinstance(source, single) or picture.is_pil(source)
