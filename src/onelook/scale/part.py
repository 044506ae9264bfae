"""A part: its pictures looked at, its file written; and what is done when that kills or stops the process, again and again.

Whoever begins a part says so in `tries/part-NNNNNNN.json`. After TRIES beginnings without an end the pictures are looked
at one by one, each written down before; one that was the last thing that DEATHS processes did becomes a failure. A
process that gets no picture done for PATIENCE seconds ends itself, so that a picture that hangs is one that kills.
"""

import faulthandler
import json
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

from onelook.errors import Error, SourceError
from onelook.runtime import picture
from onelook.runtime.detections import Detections
from onelook.runtime.picture import Pixels, reason, shown
from onelook.runtime.sources import Picture
from onelook.scale.folder import Folder
from onelook.scale.job import part_name
from onelook.scale.table import Row, counts, failed, found, to_parquet

TRIES = 3
DEATHS = 2
PATIENCE = 300.0
READERS = 24  # threads that wait for the network while the processors work; pyarrow has 25 connections to S3

# Pictures, and what to call with the error of each that cannot be read -> the detections of the others, in order.
Detect = Callable[[Iterator[Picture], Callable[[SourceError], None]], Generator[Detections]]


@dataclass(frozen=True)
class Part:
    """A part that is done: its number, how many pictures it has, how many of them could not be read."""

    number: int
    pictures: int
    failures: int


def do_part(
    number: int,
    pictures: Sequence[tuple[Folder, str]],
    detect: Detect,
    output: Folder,
    job: str,
    patience: float = PATIENCE,
) -> Part:
    """Look at the pictures of a part and write its file; where that is there, only say what it holds.

    Args:
        number: of the part.
        pictures: of which folder each is, and its path there.
        detect: the detector.
        output: the folder of results.
        job: the job's digest.
        patience: seconds without a picture after which the process ends itself.

    Raises:
        Error: the file cannot be written.
        RuntimeError: the detector failed; this process should end, and another try.
    """
    name, tries = part_name(number), f"tries/part-{number:07d}.json"
    written = output.read(name)
    done = None if written is None else counts(written, job)
    if done is not None:
        return Part(number, *done)
    before = _Before.of(output.read(tries))
    rows = None
    with _watch(patience) as alive:
        if before.tries < TRIES:
            output.write(tries, _Before(before.tries + 1, {}).to_json())
            try:
                rows = _look(pictures, detect, alive)
            except Exception:  # of whichever library; which picture it was is found one by one
                before.tries = TRIES
        if rows is None:
            rows = _one_by_one(pictures, detect, alive, before, lambda: output.write(tries, before.to_json()))
    output.write(name, to_parquet(rows, job))
    output.delete(tries)
    return Part(number, len(rows), sum("error" in row for row in rows))


@dataclass
class _Before:
    """What earlier processes left of a part that they did not finish."""

    tries: int
    deaths: dict[str, list[str]]
    """By the name of the picture: of each process that ended while it looked at it, the exception, if it was one."""

    @classmethod
    def of(cls, data: bytes | None) -> "_Before":
        try:
            about = json.loads(data or b'{"tries": 0, "deaths": {}}')
            return cls(int(about["tries"]), dict(about["deaths"]))
        except (ValueError, KeyError, TypeError):  # cut short by what ended the process
            return cls(TRIES, {})

    def to_json(self) -> bytes:
        return json.dumps({"tries": self.tries, "deaths": self.deaths}).encode()


def _look(pictures: Sequence[tuple[Folder, str]], detect: Detect, alive: Callable[[], None]) -> list[Row]:
    """The rows of the pictures. Raises whatever the detector does."""
    rows: list[Row] = []

    def on_error(error: SourceError) -> None:
        folder, path = pictures[len(rows)]  # results and errors come in order
        rows.append(failed(folder.name(path), str(error)))
        alive()

    with closing(_read_ahead(pictures)) as queue, closing(detect(queue, on_error)) as results:
        for detections in results:
            rows.append(found(detections))
            alive()
    return rows


def _one_by_one(
    pictures: Sequence[tuple[Folder, str]],
    detect: Detect,
    alive: Callable[[], None],
    before: _Before,
    note: Callable[[], None],
) -> list[Row]:
    rows: list[Row] = []
    for folder, path in pictures:
        name = folder.name(path)
        deaths = before.deaths.setdefault(name, [])
        if len(deaths) >= DEATHS:
            ended = f"{shown(name)}: the process ended or hung while it looked at this picture"
            rows.append(failed(name, deaths[-1] or ended))
            continue
        deaths.append("")
        note()
        try:
            rows += _look([(folder, path)], detect, alive)
        except Exception as error:  # perhaps of a process that is being ended, so it is no failure yet
            known = isinstance(error, Error)
            deaths[-1] = str(error) if known else f"{shown(name)}: {type(error).__name__} {reason(error)}"
            note()
            raise RuntimeError(deaths[-1]) from error
        del before.deaths[name]
    return rows


def _read_ahead(pictures: Sequence[tuple[Folder, str]]) -> Generator[Picture]:
    """The pictures, read from disk or network before they are asked for."""
    rest = iter(pictures)
    reading: deque[tuple[str, Future[bytes]]] = deque()
    with ThreadPoolExecutor(READERS, "onelook-read") as readers:
        try:
            while True:
                for folder, path in islice(rest, 2 * READERS - len(reading)):
                    reading.append((folder.name(path), readers.submit(folder.picture, path)))
                if not reading:
                    return
                name, data = reading.popleft()
                yield Picture(name, partial(_decode, data, name), data=data.result)
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def _decode(data: "Future[bytes]", name: str) -> Pixels:
    return picture.decode(data.result(), name)


@contextmanager
def _watch(patience: float) -> Iterator[Callable[[], None]]:
    """A function to be called again and again; if for so many seconds it is not, the process ends with status 1.

    The thread that ends it needs no lock of Python's, so that a library that hangs while it has that lock ends too.
    """

    def alive() -> None:
        faulthandler.dump_traceback_later(patience, exit=True, file=sys.__stderr__)  # type: ignore[arg-type]

    alive()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()
