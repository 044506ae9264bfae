"""What runs on each machine: the model, and parts that go through it."""

import socket
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from onelook.errors import Error, SourceError
from onelook.runtime.detections import Detections
from onelook.runtime.detector import Detector
from onelook.runtime.sources import Picture, pictures
from onelook.scale.folder import Folder
from onelook.scale.job import Settings, read_manifest, read_part
from onelook.scale.part import Part, do_part


@dataclass(frozen=True)
class Order:
    """What a machine is told of a job.

    Attributes:
        digest: of the job.
        sources, output: addresses.
        engine, threads, batch: as of `onelook.load` and `Detector.stream`.
    """

    digest: str
    sources: list[str]
    output: str
    engine: str
    threads: int
    batch: int


class Worker:
    """A model in the memory of one process, ready for parts of a job.

    Args:
        order: what it is told.
        weights: the bytes of the model file.

    Raises:
        Error: this machine does not see the job's folders, or cannot run the model.
    """

    def __init__(self, order: Order, weights: bytes):
        self._order = order
        self._output = Folder.open(order.output)
        manifest = read_manifest(self._output)
        if manifest is None or manifest["digest"] != order.digest:
            raise _unseen(self._output)
        sources = [Folder.open(source) for source in order.sources]
        for source in sources:
            if not source.exists():
                raise _unseen(source)
        self._pictures = read_part(self._output, sources)
        self._settings = Settings(**manifest["settings"])
        cv2.setNumThreads(1)  # each picture has a thread
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(weights)
            precision = self._settings.precision
            self._detector = Detector(path, order.engine, order.threads, order.threads, precision)
        black = np.zeros((32, 32, 3), np.uint8)
        list(self._detect(pictures(black), _fail))  # a model that cannot run is not the fault of the first picture

    def do(self, number: int) -> Part:
        """Do a part. See `do_part`."""
        return do_part(number, self._pictures(number), self._detect, self._output, self._order.digest)

    def _detect(self, queue: Iterator[Picture], on_error: Callable[[SourceError], None]) -> Generator[Detections]:
        settings = self._settings
        height, width = settings.size
        results: Generator[Detections] = self._detector.stream(
            queue,
            settings.score_threshold,
            settings.iou_threshold,
            (height, width),
            batch=self._order.batch,
            on_error=on_error,
            keep_images=False,
        )
        return results if settings.classes is None else (found.filter(names=settings.classes) for found in results)


def _fail(error: SourceError) -> None:
    raise error


def _unseen(folder: Folder) -> Error:
    where = "give a folder of a disk that all machines share, or a prefix of an object store"
    return Error(f"{folder}: the machine {socket.gethostname()} does not see it; {where}")
