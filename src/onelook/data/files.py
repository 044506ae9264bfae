"""Reading the files of a dataset, which anybody may have written: nothing blocks, grows without bound or escapes."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os.path import isdir
from pathlib import Path
from typing import BinaryIO, TypeVar

from onelook.data.sample import Problem
from onelook.errors import DataError, Error
from onelook.runtime.picture import reason, shown

LARGEST_FILE = 1 << 32  # bytes; the largest in use, the boxes of Open Images' training set, has 2.3 GB
LARGEST_LIST = 1 << 28  # bytes of a list of pictures
LARGEST_LABELS = 1 << 22  # bytes of the labels of one picture

Kept = TypeVar("Kept")

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".pgm", ".avif")


def read_bytes(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """The whole file. Raises DataError where it cannot be read, is no ordinary file or has more than `largest` bytes."""
    with opened(path, largest) as file:
        # Python allocates what it is asked to read: gigabytes, where that were the limit.
        return file.read(min(largest, os.fstat(file.fileno()).st_size))


@contextmanager
def opened(path: Path, largest: int = LARGEST_FILE) -> Iterator[BinaryIO]:
    """The file, to be read; a failure, in the body of the `with` too, is a DataError as of `read_bytes`."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for its other end
            raise DataError(f"{shown(str(path))}: not an ordinary file")
        if info.st_size > largest:
            raise DataError(f"{shown(str(path))}: too large; at most {largest} bytes are read")
        with open(path, "rb") as file:
            yield file
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null byte or a surrogate in the path
        raise DataError(f"{shown(str(path))}: {reason(error)}") from None


def read_lines(path: Path, largest: int = LARGEST_LIST) -> list[str]:
    """The lines of a text file without their ends. Bytes that are not UTF-8 stay what they are in names of files."""
    text = read_bytes(path, largest).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def listing(folder: Path, suffixes: tuple[str, ...] = PICTURES) -> list[str]:
    """The names of the files in a folder that end so, sorted; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.name.lower().endswith(suffixes) and not e.name.startswith("."))
    except (OSError, ValueError):
        return []


def folders(path: Path) -> list[Path]:
    """The folders in a folder, sorted by name, without hidden ones."""
    try:
        with os.scandir(path) as entries:
            return sorted(Path(e.path) for e in entries if isdir(e.path) and not e.name.startswith("."))
    except (OSError, ValueError):
        return []


def still(splits: Mapping[str, Kept], split: str, path: Path) -> Kept:
    """What a dataset keeps of a split. Raises DataError where the split is gone since the dataset was found."""
    if split not in splits:
        raise DataError(f"{shown(str(path))}: the split {split[:64]!r} is gone")
    return splits[split]


def why(error: Error, path: Path) -> str:
    """What is wrong with a file, for a problem that names the file already."""
    return str(error).removeprefix(f"{shown(str(path))}: ")


def is_name(name: object) -> bool:
    """Whether it can be the name of a file."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


class Problems(list[Problem]):
    """The problems of one dataset, in the order in which they were found; files are named from its folder on."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def add(self, path: Path, line: int | str | None, what: str, kind: str) -> None:
        """Note one. The line may also be what stands for it: "annotation 17"."""
        try:
            name = str(path.relative_to(self.root))
        except ValueError:
            name = str(path)
        at = f":{line}" if isinstance(line, int) else f": {line}" if line else ""
        self.append(Problem(shown(name if name != "." else path.name) + at, what, kind))
