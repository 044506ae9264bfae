"""Folders of pictures and of results: on a disk, or prefixes of an object store, through `pyarrow.fs`."""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, cast

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from onelook.errors import Error, SourceError
from onelook.runtime.picture import MAX_FILE, reason, shown
from onelook.runtime.sources import PICTURE_SUFFIXES

# A file appears in these when all of it is there; elsewhere it is written beside its place and renamed.
OBJECT_STORES = frozenset({"s3", "gs", "gcs", "abfs", "abfss"})
LISTINGS = 16  # folders that are listed at a time
READS = 5  # of a picture over a network that fails; the pauses between them are of 1, 2, 4 and 8 seconds


@dataclass(frozen=True)
class Folder:
    """A folder, or a prefix of an object store.

    Attributes:
        address: from which any machine can open it; may hold credentials, and goes into no file.
        scheme: "s3"; empty for a disk.
        path: as `pyarrow.fs` wants it: "bucket/prefix", "/data/pictures".
        files: the file system.
    """

    address: str
    scheme: str
    path: str
    files: FileSystem

    @classmethod
    def open(cls, address: str) -> Self:
        """The folder of an absolute or relative path or of an address. Raises Error for an address of no known kind."""
        if "://" not in address:
            path = os.path.abspath(address)
            return cls(path, "", path, LocalFileSystem())
        try:
            files, path = FileSystem.from_uri(address)
        except (OSError, ValueError, NotImplementedError, ImportError) as error:
            raise Error(f"{shown(address)}: cannot be opened: {reason(error)}") from None
        local = isinstance(files, LocalFileSystem)
        return cls(address, "" if local else address.partition("://")[0].lower(), path.rstrip("/"), files)

    def __str__(self) -> str:
        return self.name(self.path)

    def name(self, path: str) -> str:
        """What results and messages call a file: "s3://bucket/prefix/1.jpg", "/data/pictures/1.jpg"."""
        return f"{self.scheme}://{path}" if self.scheme else path

    def exists(self) -> bool:
        """Whether it is there, as a folder."""
        found: Any = self.files.get_file_info(self.path)
        return found.type == FileType.Directory

    def pictures(self) -> Iterator[str]:
        """The paths of the pictures in it and below, by their suffix, sorted by name; hidden ones are left out.

        The folders that come next are listed at the same time, and held in memory. Links to folders are followed, and no
        folder is entered twice.

        Raises:
            SourceError: a folder cannot be read, or holds a name that is not UTF-8.
        """
        pending: list[tuple[str, Future[Any] | None]] = [(self.path, None)]
        entered = set()
        with ThreadPoolExecutor(LISTINGS, "onelook-list") as executor:
            while pending:
                for i in range(max(0, len(pending) - LISTINGS), len(pending)):
                    folder, listing = pending[i]
                    if listing is None:
                        pending[i] = folder, executor.submit(self.files.get_file_info, FileSelector(folder))
                folder, listing = pending.pop()
                if not self.scheme:
                    real = os.path.realpath(folder)
                    if real in entered:
                        continue
                    entered.add(real)
                try:
                    found = [e for e in cast("Future[Any]", listing).result() if not e.base_name.startswith(".")]
                except UnicodeDecodeError:  # of pyarrow, as of Parquet
                    raise SourceError(f"{shown(self.name(folder))}: a name in this folder is not UTF-8") from None
                except OSError as error:
                    raise SourceError(f"{shown(self.name(folder))}: {reason(error)}") from None
                entries = sorted(found, key=lambda entry: entry.base_name)
                pending += [(e.path, None) for e in reversed(entries) if e.type == FileType.Directory]
                for entry in entries:
                    if entry.type != FileType.Directory and _suffix(entry.base_name) in PICTURE_SUFFIXES:
                        yield entry.path

    def picture(self, path: str) -> bytes:
        """The bytes of a picture. A network that fails is tried again. Raises SourceError."""
        name = shown(self.name(path))
        if not self.scheme and os.path.exists(path) and not os.path.isfile(path):  # a pipe would wait for its other end
            raise SourceError(f"{name}: not an ordinary file")
        for pause in range(READS):
            try:
                with self.files.open_input_file(path) as file:
                    # pyarrow allocates as much as it is asked for.
                    data: bytes = file.read(min(file.size(), MAX_FILE + 1))
                break
            except FileNotFoundError:
                raise SourceError(f"{name}: no such file") from None
            except OSError as error:
                if not self.scheme or pause == READS - 1:
                    raise SourceError(f"{name}: {reason(error)}") from None
                time.sleep(2**pause)
        if len(data) > MAX_FILE:
            raise SourceError(f"{name}: too large for a picture; it may have {MAX_FILE} bytes")
        return data

    def names(self, below: str, least: int = 0) -> list[str]:
        """The names of the files of so many bytes or more in a folder below it; none where that is not there."""
        found = self.files.get_file_info(FileSelector(f"{self.path}/{below}", allow_not_found=True))
        return [entry.base_name for entry in found if entry.type == FileType.File and entry.size >= least]

    def read(self, name: str) -> bytes | None:
        """A file in it, None where that is not there. Raises Error."""
        try:
            with self.files.open_input_stream(f"{self.path}/{name}") as stream:
                data: bytes = stream.read()
                return data
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Error(f"cannot read {self}/{name}: {reason(error)}") from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file in it, whole or not at all; one that is there is replaced. Raises Error."""
        path = f"{self.path}/{name}"
        folder, _, last = path.rpartition("/")
        # The number of the process would do on one machine alone.
        written = path if self.scheme in OBJECT_STORES else f"{folder}/.{last}-{uuid.uuid4().hex}"
        try:
            if written != path:
                self.files.create_dir(folder)
            with self.files.open_output_stream(written) as stream:
                stream.write(data)
            if not self.scheme:  # else after a power failure the name may be there without the bytes
                with open(written, "rb+") as file:
                    os.fsync(file)
            if written != path:
                self.files.move(written, path)
        except OSError as error:
            if written != path:
                with contextlib.suppress(OSError):
                    self.files.delete_file(written)
            raise Error(f"cannot write {self}/{name}: {reason(error)}") from None

    def delete(self, name: str) -> None:
        """Delete a file in it, if it is there."""
        try:
            self.files.delete_file(f"{self.path}/{name}")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Error(f"cannot delete {self}/{name}: {reason(error)}") from None


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
