"""A detector: pictures in, detections out."""

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error, ModelError, SourceError
from onelook.runtime.detections import Detections
from onelook.runtime.resize import Placement, place
from onelook.runtime.session import ModelInfo, Session, open_session, processors
from onelook.runtime.sources import Picture, is_endless, is_single, pictures


@dataclass(frozen=True, slots=True)
class _Settings:
    score_threshold: float
    iou_threshold: float
    size: tuple[int, int]


class Detector:
    """A model file that finds objects in pictures.

    Args:
        path: of the model file.
        engine: "auto", "onnxruntime" or "openvino"; see `onelook.runtime.session.open_session`.
        threads: of the processor to use; all of them by default.
        streams: pictures to search at once: 1 puts all threads on one picture. `stream` opens a session of its own with
            as many as there are threads; say so here if it is all that will be called.
        precision: "float32", or "fastest" to let the engine trade the last digits for speed; see `open_session`.

    Raises:
        ModelError: no such file, or not a detector of onelook's format.

    >>> detector = onelook.load("yolov3.onnx")
    >>> detector("street.jpg").names
    ['car', 'person']
    """

    def __init__(
        self,
        path: str | Path,
        engine: str = "auto",
        threads: int | None = None,
        streams: int = 1,
        precision: str = "float32",
    ):
        if threads is not None and threads < 1:
            raise Error(f"threads must be 1 or more; found {threads}")
        self._path, self._engine, self._precision = Path(path), engine, precision
        self.threads = threads or processors()
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {}
        session = self._session(streams)
        self.info: ModelInfo = session.info
        self.engine = session.engine

    def __repr__(self) -> str:
        height, width = self.info.size
        return f"Detector({str(self._path)!r}, {len(self.info.names)} classes, {width}x{height}, {self.engine})"

    def __call__(
        self,
        source: Any,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> Any:
        """Find the objects in a picture, or in each of many.

        Args:
            source: a path, URL, bytes, RGB array uint8 [H, W, 3] or PIL image gives one `Detections`; a list of those,
                a folder, a pattern or a video gives a list of them. See `onelook.runtime.sources.pictures`; for long
                and endless sources see `stream`.
            score_threshold: detections below are left out, 0..1; the model's own by default.
            iou_threshold: of two detections of a class that overlap more, the better stays, 0..1.
            size: of the input, (height, width) or the side of a square, for a model file that takes any.

        Raises:
            SourceError: a picture cannot be read.
        """
        settings = self._settings(score_threshold, iou_threshold, size)
        if is_endless(source):
            raise SourceError(f"{source!r} has no end; use stream({source!r}) instead")
        queue = pictures(source)
        if not is_single(source):
            return list(self._stream(queue, settings, 1, None, keep_images=False))
        picture = next(queue)
        if picture.frame is not None:
            return list(self._stream(itertools.chain([picture], queue), settings, 1, None, keep_images=False))
        (result,) = self._detect(self._session(1), [picture], settings, keep_images=True)
        if isinstance(result, SourceError):
            raise result
        return result

    def stream(
        self,
        source: Any,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        size: int | tuple[int, int] | None = None,
        batch: int = 1,
        on_error: Callable[[SourceError], None] | None = None,
    ) -> Generator[Detections]:
        """The detections of picture after picture, in order and in constant memory.

        Pictures are decoded and searched in threads while the caller works on earlier ones; each result holds its
        picture in `image`.

        Args:
            source, score_threshold, iou_threshold, size: as of a call; endless sources too.
            batch: pictures a run of the model; more than 1 pays on a GPU.
            on_error: called with the error of each picture that cannot be read, which is then passed over; without
                it the first such error is raised.
        """
        settings = self._settings(score_threshold, iou_threshold, size)
        if batch < 1:
            raise Error(f"batch must be 1 or more; found {batch}")
        return self._stream(pictures(source), settings, batch, on_error, keep_images=True)

    def _stream(
        self,
        queue: Iterable[Picture],
        settings: "_Settings",
        batch: int,
        on_error: Callable[[SourceError], None] | None,
        keep_images: bool,
    ) -> Generator[Detections]:
        # One picture a thread, each from its bytes to its boxes, is faster than all threads on one picture: nothing
        # waits for the slowest part. Measured in benchmarks/end_to_end.py.
        session = self._session(self.threads)
        batch = session.info.batch or batch
        queue = iter(queue)
        pending: deque[Future[list[Detections | SourceError]]] = deque()
        with ThreadPoolExecutor(self.threads, "onelook") as executor:
            try:
                while True:
                    while len(pending) < 2 * self.threads and (some := list(itertools.islice(queue, batch))):
                        pending.append(executor.submit(self._detect, session, some, settings, keep_images))
                    if not pending:
                        return
                    for result in pending.popleft().result():
                        if not isinstance(result, SourceError):
                            yield result
                        elif on_error is None:
                            raise result
                        else:
                            on_error(result)
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def _detect(
        self, session: Session, some: list[Picture], settings: "_Settings", keep_images: bool
    ) -> list[Detections | SourceError]:
        """One run of the model; a picture that cannot be read gives its error."""
        info = session.info
        canvas = np.zeros((info.batch or len(some), *settings.size, 3), np.uint8)
        loaded: list[tuple[NDArray[np.uint8], Placement] | SourceError] = []
        for picture, part in zip(some, canvas, strict=False):
            try:
                image = picture.load()
            except SourceError as error:
                loaded.append(error)
            else:
                loaded.append((image, place(image, part, info.resize, info.sampling)))
        boxes, scores, classes, batch_index = session.run(canvas, settings.score_threshold, settings.iou_threshold)
        if len(classes) and not 0 <= classes.min() <= classes.max() < len(info.names):
            raise ModelError(f"{info.path}: finds class {classes.max()}; its metadata names {len(info.names)} classes")
        results: list[Detections | SourceError] = []
        for i, (picture, found) in enumerate(zip(some, loaded, strict=True)):
            if isinstance(found, SourceError):
                results.append(found)
                continue
            image, placement = found
            mine = batch_index == i
            results.append(
                Detections(
                    boxes=placement.to_picture(boxes[mine]),
                    scores=scores[mine],
                    classes=classes[mine],
                    class_names=info.names,
                    width=placement.width,
                    height=placement.height,
                    source=picture.name,
                    image=image if keep_images else None,
                    frame=picture.frame,
                    time=picture.time,
                    fps=picture.fps,
                )
            )
        return results

    def _settings(
        self, score_threshold: float | None, iou_threshold: float | None, size: int | tuple[int, int] | None
    ) -> _Settings:
        score = self.info.score_threshold if score_threshold is None else score_threshold
        iou = self.info.iou_threshold if iou_threshold is None else iou_threshold
        for name, value in (("score_threshold", score), ("iou_threshold", iou)):
            if math.isnan(value) or not 0 <= value <= 1:
                raise Error(f"{name} must be from 0 to 1; found {value}")
        if size is None:
            return _Settings(score, iou, self.info.size)
        height, width = (size, size) if isinstance(size, int) else size
        if (height, width) != self.info.size and not self.info.dynamic_size:
            own = "x".join(map(str, reversed(self.info.size)))
            raise Error(f"{self._path}: takes pictures of {own} alone; convert it with --dynamic-size to choose others")
        if not all(32 <= side <= 8192 and side % 32 == 0 for side in (height, width)):
            raise Error(f"size must be of multiples of 32, from 32 to 8192; found {width}x{height}")
        return _Settings(score, iou, (height, width))

    def _session(self, streams: int) -> Session:
        """The session for so many threads that call it at once, loaded when first asked for."""
        with self._lock:
            if streams not in self._sessions:
                self._sessions[streams] = open_session(self._path, self._engine, self.threads, streams, self._precision)
            return self._sessions[streams]
