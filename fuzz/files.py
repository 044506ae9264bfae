"""What the readers share: files of the bytes that they get, and what they may say of them."""

import atexit
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from onelook.data import Dataset
from onelook.errors import Error

FOLDER = Path(tempfile.mkdtemp(prefix="onelook-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def written(name: str, data: bytes) -> Path:
    """A file of these bytes under that name, which may hold folders that are there."""
    path = FOLDER / name
    path.write_bytes(data)
    return path


@contextmanager
def refusals() -> Iterator[None]:
    """Lets a reader refuse a file, in one line; not because its memory, which is limited here, was not enough."""
    try:
        yield
    except Error as error:
        if not str(error).isprintable() or "memory" in str(error).lower():
            raise AssertionError(f"said of a file: {error}") from error


def check(dataset: Dataset) -> None:
    """What must hold of every dataset that is read, whatever its files say."""
    for problem in dataset.problems:
        assert f"{problem.where}{problem.what}".isprintable(), problem
    for sample in dataset.samples:
        low, high = sample.boxes[:, :2], sample.boxes[:, 2:]
        assert (low >= 0).all(), sample
        assert (low < high).all(), sample
        assert (high <= (sample.width, sample.height)).all(), sample
        assert ((sample.classes >= 0) & (sample.classes < len(dataset.names))).all(), sample


def edited(base: bytes, places: Sequence[int], edits: bytes) -> bytes:
    """A file of which some bytes are others, so that few random bytes lead far into a large file.

    Args:
        base: the file.
        places: of the bytes that may become others.
        edits: three bytes each: which place (two bytes) and the new value. What is over is cut from the file's end.
    """
    data = bytearray(base)
    for place, value in struct.iter_unpack("<HB", edits[: len(edits) // 3 * 3]):
        data[places[place % len(places)]] = value
    return bytes(data[: len(data) - sum(edits[len(edits) // 3 * 3 :])])
