"""One row of the benchmark: a model with an engine and a size of its input."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error, ModelError
from onelook.loading import CONVERTED, KINDS, model_file
from onelook.runtime.resize import place
from onelook.runtime.session import open_session

SUFFIXES = (".onnx", ".cfg", *CONVERTED)

Source = str | Path | tuple[str | Path, str | Path]


class Contender:
    """A model that is loaded, and the pictures that it is shown, in turn.

    Args:
        model: what `onelook.load` takes.
        engine, threads: as of `onelook.load`.
        size: side of the input, for a detector that takes any; its own by default.

    Raises:
        Error: it cannot be loaded, does not take that size, or its engine cannot run it.
    """

    def __init__(self, model: Source, engine: str, threads: int, size: int | None):
        self.path = model_file(model)
        self.threads = threads
        self._session = open_session(self.path, engine, threads)
        self.info = self._session.info
        self.engine = self._session.engine
        self.size = self.info.size if size is None else (size, size)
        self.model: Any = KINDS[self.info.task](self.path, engine, threads, session=self._session)
        self.options: dict[str, Any] = {}
        if self.info.task == "detect":
            self.options = {"size": self.size}
        elif self.size != self.info.size:
            raise Error(f"{self.path}: a model to {self.info.task} takes pictures of its own size alone")

    def check(self, picture: NDArray[np.uint8]) -> None:
        """One run. Raises Error where the engine cannot do it."""
        try:
            self.model(picture, **self.options)
        except Error:
            raise
        except Exception as error:  # engines have no common base class for their errors
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"{self.path}: {self.engine} cannot run it: {reason}") from None

    def whole(self, pictures: Sequence[NDArray[np.uint8]]) -> Callable[[], object]:
        """A run from a picture in memory to its result: resizing, the session, mapping back."""
        queue = itertools.cycle(pictures)
        return lambda: self.model(next(queue), **self.options)

    def session(self, pictures: Sequence[NDArray[np.uint8]]) -> Callable[[], object]:
        """A run of the session alone, on inputs that are made before."""
        queue = itertools.cycle([self._input(picture) for picture in pictures])
        return lambda: self._session.run(next(queue), *self.info.thresholds)

    def stream(self, pictures: Sequence[NDArray[np.uint8]], count: int) -> Callable[[], list[float]]:
        """A turn that gives pictures a second of `count` of them or more, looked at in as many threads as there are.

        The clock runs while every thread is busy: it starts when each has given its first results, and stops while
        there is still work for all.
        """
        first = 2 * self.threads
        count = max(count, 4 * self.threads)
        some = list(itertools.islice(itertools.cycle(pictures), 2 * first + count))

        def turn() -> list[float]:
            results: Iterator[object] = self.model.stream(some, **self.options)
            for _ in itertools.islice(results, first):
                pass
            start = time.perf_counter()
            for _ in itertools.islice(results, count):
                pass
            seconds = time.perf_counter() - start
            for _ in results:  # threads that still work would be in the way of the next contender
                pass
            return [count / seconds]

        return turn

    def _input(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        canvas = np.zeros((self.info.batch or 1, *self.size, 3), np.uint8)
        place(picture, canvas[0], self.info.resize, self.info.sampling, self.info.crop)
        return canvas


def names_of(models: Sequence[Source]) -> list[str]:
    """A short name for each: that of the file without its suffix, or all that was given where two share it."""
    paths = [Path(model[0] if isinstance(model, tuple) else model) for model in models]
    short = [path.stem if path.suffix in SUFFIXES else path.name for path in paths]  # yolo-fastest-1.1 has none
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]


def family_of(name: str, size: tuple[int, int]) -> str:
    """The name without the input's own size at its end: m2det-320 and m2det-512 are two sizes of m2det."""
    found = re.fullmatch(r"(.+?)[_-]?(\d{2,4})", name)
    return found[1] if found and int(found[2]) in size else name
