"""Files that are there whole or not at all: written beside their place under a hidden name, then renamed."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onelook.errors import Error


def beside(path: Path) -> Path:
    """A hidden name in the folder of `path` that no other file, thread or process uses; with the suffix of `path`."""
    # Not the number of the process: two containers that share a folder both have a process 1.
    return path.with_name(f".onelook-{uuid.uuid4().hex}{path.suffix}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write `path` (disk full, no permission, no such folder) into an `Error` of one line."""
    try:
        yield
    except OSError as error:
        raise Error(f"cannot write {path}: {error.strerror or error}") from error


def write(path: Path, data: bytes) -> None:
    """Writes a whole file, replacing what is there. Raises Error where that fails; no part of the file stays then."""
    temporary = beside(path)
    with writing(path):
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def save(path: Path, data: bytes, kind: type[Error]) -> Path:
    """As `write`, for a file of its own: its folder is made where it is missing, and a failure is an error of `kind`."""
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)
    except Error as error:
        raise kind(f"{path}: cannot be written: {getattr(error.__cause__, 'strerror', None)}") from None
    return path
