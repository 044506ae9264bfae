"""What detectors and classifiers share: a model file, and pictures that go through it."""

import itertools
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error, ModelError, SourceError
from onelook.runtime.picture import Pixels, Reduce, Reduced, decode, decode_reduced
from onelook.runtime.resize import Placement, place, reduction
from onelook.runtime.result import is_file
from onelook.runtime.session import ModelInfo, Session, open_session, processors
from onelook.runtime.sources import Picture, is_endless, is_single, pictures

Result = TypeVar("Result")
Loaded = tuple[Placement, Pixels | None] | SourceError
# One run of the model: session, pictures, whether results keep their pixels (None: where they are in no file) -> a result
# or an error for each picture.
Work = Callable[[Session, list[Picture], bool | None], list[Any]]


class Model(ABC, Generic[Result]):
    """A model file that runs.

    Args:
        path: of the model file.
        engine: "auto", "onnxruntime" or "openvino"; see `onelook.runtime.session.open_session`.
        threads: of the processor to use; all of them by default.
        streams: pictures to look at at once: 1 puts all threads on one picture. `stream` opens a session of its own with
            as many as there are threads; say so here if it is all that will be called.
        precision: "float32", or "fastest" to let the engine trade the last digits for speed; see `open_session`.
        session: of that file with these settings, where one is open already.

    Raises:
        ModelError: no such file, or not a model of onelook's format for this task.
    """

    task: ClassVar[str]

    def __init__(
        self,
        path: str | Path,
        engine: str = "auto",
        threads: int | None = None,
        streams: int = 1,
        precision: str = "float32",
        session: Session | None = None,
    ):
        check_threads(threads)
        self._path, self._engine, self._precision = Path(path), engine, precision
        self.threads = threads or processors()
        self._lock = threading.Lock()
        self._sessions: dict[int, Session] = {} if session is None else {streams: session}
        session = self.session(streams)
        self.info: ModelInfo = session.info
        self.engine = session.engine
        if self.info.task != self.task:
            raise ModelError(f"{path}: is a model to {self.info.task}, not to {self.task}")

    def __repr__(self) -> str:
        height, width = self.info.size
        name = type(self).__name__
        return f"{name}({str(self._path)!r}, {len(self.info.names)} classes, {width}x{height}, {self.engine})"

    def __call__(self, source: Any) -> Any:
        """Look at a picture, or at each of many.

        Args:
            source: a path, URL, bytes, RGB array uint8 [H, W, 3] or PIL image gives one result; a list of those, a folder,
                a pattern or a video gives a list of them. See `onelook.runtime.sources.pictures`; for long and endless
                sources see `stream`.

        Raises:
            SourceError: a picture cannot be read.
        """
        return self._call(source, self._run)

    def stream(
        self,
        source: Any,
        *,
        batch: int = 1,
        on_error: Callable[[SourceError], None] | None = None,
        keep_images: bool | None = None,
    ) -> Generator[Result]:
        """The results of picture after picture, in order and in constant memory.

        Pictures are decoded and looked at in threads while the caller works on earlier ones. A result that is there waits
        for one more picture at most, however slowly they come. Of a camera or live stream the newest frame is taken whenever
        a thread has time for it; the frames between are passed over.

        Args:
            source: as of a call; endless sources too.
            batch: pictures a run of the model; more than 1 pays on a GPU.
            on_error: called with the error of each picture that cannot be read, which is then passed over; without
                it the first such error is raised.
            keep_images: whether results hold their pictures in `image`: True for a caller that draws them all, False for
                one that draws none; None for pictures that are in no file. A result that does not hold its file's
                picture reads it again to be drawn. A large JPEG is decoded no larger than the model needs, which for
                the photographs of a phone is several times as fast; one that is held is decoded in full besides.
        """
        return self._stream(source, self._run, check_batch(batch), on_error, keep_images)

    def batch(self, some: list[Picture], session: Session) -> list[Result | SourceError]:
        """One run of the model over some pictures, which the results do not hold.

        Args:
            some: at most as many as the model file takes.
            session: as `session` gives it.

        Returns:
            For each picture its result, or why it could not be read.
        """
        return self._run(session, some, keep_images=False)

    @abstractmethod
    def _run(self, session: Session, some: list[Picture], keep_images: bool | None) -> list[Result | SourceError]:
        """See `Work`."""

    def _call(self, source: Any, work: Work) -> Any:
        """One result for a picture, else a list of them."""
        if is_endless(source):
            raise SourceError(f"{source!r} has no end; use stream({source!r}) instead")
        queue = pictures(source)
        if not is_single(source):
            return list(self._stream(queue, work, 1, None, keep_images=False))
        picture = next(queue)
        if picture.frame is not None:
            return list(self._stream(itertools.chain([picture], queue), work, 1, None, keep_images=False))
        (result,) = work(self.session(1), [picture], None)
        if isinstance(result, SourceError):
            raise result
        return result

    def _stream(
        self,
        source: Any,
        work: Work,
        batch: int,
        on_error: Callable[[SourceError], None] | None,
        keep_images: bool | None,
    ) -> Generator[Result]:
        """The results of picture after picture, in order and in constant memory."""
        # One picture a thread, each from its bytes to its result, is faster than all threads on one picture: nothing
        # waits for the slowest part. Measured in benchmarks/end_to_end.py.
        session = self.session(self.threads)
        batch = session.info.batch or batch
        ahead = (1 if is_endless(source) else 2) * self.threads  # a live picture grows old while it waits for a thread
        pending: deque[Future[list[Result | SourceError]]] = deque()
        with closing(pictures(source)) as queue, ThreadPoolExecutor(self.threads, "onelook") as executor:
            try:
                while True:
                    while len(pending) < ahead and (some := list(itertools.islice(queue, batch))):
                        pending.append(executor.submit(work, session, some, keep_images))
                        if pending[0].done():  # the next picture may be long in coming
                            break
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

    def session(self, streams: int) -> Session:
        """The session of this model for so many threads that call it at once, loaded when first asked for."""
        with self._lock:
            if streams not in self._sessions:
                self._sessions[streams] = open_session(self._path, self._engine, self.threads, streams, self._precision)
            return self._sessions[streams]


def load_pictures(
    some: list[Picture], info: ModelInfo, size: tuple[int, int], keep_images: bool | None
) -> tuple[NDArray[np.uint8], list[Loaded]]:
    """Decodes pictures into the input of a model.

    Args:
        some: the pictures.
        info: of the model; one that takes a fixed number of pictures gets black ones for those that are missing.
        size: of the input, height and width.
        keep_images: see `Work`.

    Returns:
        The input, uint8 [B, H, W, 3], and for each picture where it lies and its pixels if they are kept, or why it
        cannot be read.
    """
    canvas = np.zeros((info.batch or len(some), *size, 3), np.uint8)
    loaded: list[Loaded] = []

    def reduce(width: int, height: int) -> int:
        return reduction(width, height, size, info.resize, info.sampling, info.crop)

    for one, part in zip(some, canvas, strict=False):
        keep = not is_file(one.name, one.frame) if keep_images is None else keep_images
        try:
            image, whole = _decoded(one, reduce, keep)
        except SourceError as error:
            loaded.append(error)
        else:
            loaded.append((place(image, part, info.resize, info.sampling, info.crop), whole))
    return canvas, loaded


def _decoded(one: Picture, reduce: Reduce, keep: bool) -> tuple[Pixels | Reduced, Pixels | None]:
    """A picture as the model needs it, and the whole of it if that is to be kept."""
    if one.data is None:
        pixels = one.load()
        return pixels, pixels if keep else None
    data = one.data()
    image = decode_reduced(data, one.name, reduce)
    if not keep:
        return image, None
    # Decoded twice where it is large, so that no result depends on whether its picture is kept.
    return image, image.pixels if image.factor == 1 else decode(data, one.name)


def collect(
    some: list[Picture],
    loaded: list[Loaded],
    result: Callable[[int, Placement, dict[str, Any]], Result],
) -> list[Result | SourceError]:
    """The result of each picture of a run, or the error of one that could not be read.

    Args:
        some, loaded: as of `load_pictures`.
        result: makes that of picture i from its placement and what all kinds of results say of a picture.
    """
    found: list[Result | SourceError] = []
    for i, (picture, one) in enumerate(zip(some, loaded, strict=True)):
        if isinstance(one, SourceError):
            found.append(one)
            continue
        placement, image = one
        about = {
            "width": placement.width,
            "height": placement.height,
            "source": picture.name,
            "image": image,
            "frame": picture.frame,
            "time": picture.time,
            "fps": picture.fps,
        }
        found.append(result(i, placement, about))
    return found


def check_threads(threads: int | None) -> None:
    """Raises Error for a number of threads that is none."""
    if threads is not None and threads < 1:
        raise Error(f"threads must be 1 or more; found {threads}")


def check_batch(batch: int) -> int:
    """Raises Error for a number of pictures a run that is none; else gives it back."""
    if batch < 1:
        raise Error(f"batch must be 1 or more; found {batch}")
    return batch
