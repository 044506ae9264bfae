"""Downloading one file: resumed where it broke off, verified, moved into place whole."""

import hashlib
import http.client
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import urlsplit

from onelook.errors import ZooError
from onelook.zoo.cache import is_complete
from onelook.zoo.catalogue import RemoteFile

TIMEOUT = 30.0  # seconds without a byte after which a connection counts as broken
PAUSES = (0.5, 1.0, 2.0)  # seconds before each further try
LOCK_POLL = 0.1  # seconds between looks at a lock that another process holds
CHUNK = 1 << 18  # bytes

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers of a server that may be different in a second

_log = logging.getLogger(__name__)


class _BrokenError(Exception):
    """A fault that another try may not meet."""


def download(file: RemoteFile, destination: Path, progress: bool = True) -> Path:
    """Bring `file` to `destination`, and return that.

    The bytes gather in `destination.part`, where a later call takes up what an interrupted one left; they are moved
    to `destination` once their number and SHA-256 are right. Where no SHA-256 is known, only https is used, and the
    digest found is noted in `destination.sha256` and must be met by any later download. Of several processes that
    want the same file one downloads it while the others wait.

    Args:
        file: what to download; never more than `file.size` bytes are written.
        destination: a path; its folder is made where missing.
        progress: show a progress bar on stderr, if that is a terminal.

    Raises:
        ZooError: the address is neither https nor, with a known SHA-256, http; the server cannot be reached or has not
            got the file; the bytes are not those expected; they cannot be written.
    """
    _check_address(file.url, file.sha256)
    part = _beside(destination, ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_beside(destination, ".lock"), file.name):
            if is_complete(file, destination):
                return destination  # another process has just brought it
            with part.open("ab") as stream, _progress_bar(file, progress) as show:
                _receive(file, destination, stream, show)
                stream.flush()
                os.fsync(stream.fileno())
            _verify(file, part, destination)
            part.replace(destination)
    except OSError as error:  # faults of the network have become others by now
        reason = error.strerror or error
        raise ZooError(
            f"{destination}: cannot be written: {reason}; make room, or set ONELOOK_HOME to another folder"
        ) from error
    return destination


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _check_address(url: str, sha256: str | None) -> None:
    """Refuse what is not the web (file:, ftp:), and http where nothing would betray a changed file."""
    scheme = urlsplit(url).scheme
    if scheme not in ("https", "http"):
        raise ZooError(f"{url}: only https and http addresses are downloaded, not {scheme!r}")
    if scheme == "http" and sha256 is None:
        raise ZooError(f"{url}: no SHA-256 of this file is known, so it is downloaded over https only")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to addresses that could have been asked for in the first place."""

    def __init__(self, sha256: str | None) -> None:
        self.sha256 = sha256

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            _check_address(newurl, self.sha256)
        except ZooError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(file: RemoteFile, destination: Path, stream: BinaryIO, show: Callable[[int], None]) -> None:
    """Fill `stream`, the part file opened for appending, to `file.size` bytes, in several requests if need be."""
    opener = urllib.request.build_opener(_CheckedRedirects(file.sha256))
    etag = None
    for pause in (*PAUSES, None):
        have = stream.seek(0, os.SEEK_END)
        # The digest tells in the end whether the halves of a resumed file belong together; without it, only an ETag
        # that this very call has seen does.
        if have > file.size or (have and file.sha256 is None and etag is None):
            have = stream.truncate(0)
        if have == file.size:
            return
        try:
            with _ask(opener, file, have, etag, destination) as response:
                start = _start(response, file)
                if start != have:
                    have = stream.truncate(0)
                if start != have:
                    raise _BrokenError(f"asked for the rest of the file, the server sends it from byte {start}")
                etag = _strong_etag(response)
                show(have)
                while data := _read(response):
                    have += len(data)
                    if have > file.size:
                        stream.truncate(0)
                        raise ZooError(f"{file.url}: more than the expected {file.size} bytes come; nothing was kept")
                    stream.write(data)
                    show(have)
            if have == file.size:
                return
            raise _BrokenError(f"the connection ended after {have} of {file.size} bytes")
        except _BrokenError as error:
            if pause is None:
                raise ZooError(
                    f"cannot download {file.url}: {error}; try again later, or put the file at {destination} by hand"
                ) from error
            time.sleep(pause)


def _ask(
    opener: urllib.request.OpenerDirector, file: RemoteFile, have: int, etag: str | None, destination: Path
) -> http.client.HTTPResponse:
    """Request what is missing after the first `have` bytes; the answer may yet be the whole file (`_start`)."""
    # identity: compressed in transit, the bytes could neither be counted nor resumed.
    request = urllib.request.Request(file.url, headers={"User-Agent": "onelook", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if etag:
            request.add_header("If-Range", etag)
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return _ask(opener, file, 0, None, destination)
        answer = f"the server answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
        if error.code in _PASSING:
            raise _BrokenError(answer) from error
        raise ZooError(
            f"cannot download {file.url}: {answer}; you may put the file at {destination} by hand"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _BrokenError(_reason(error)) from error
    return response


def _start(response: http.client.HTTPResponse, file: RemoteFile) -> int:
    """The offset in the file at which the body of the answer begins; -1 where a partial answer does not say.

    Raises:
        ZooError: the server's file has another size than the one expected.
    """
    start, size = 0, response.length
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)", response.headers.get("Content-Range", ""))
        if match is None:
            return -1
        start, size = int(match[1]), None if match[2] == "*" else int(match[2])
    if size not in (None, file.size):
        raise ZooError(f"{file.url}: the server has {size} bytes there, not the {file.size} of {file.name}")
    return start


def _strong_etag(response: http.client.HTTPResponse) -> str | None:
    """The server's name for exactly these bytes; a weak one (W/"…") names bytes that only mean the same."""
    etag = response.headers.get("ETag", "")
    return etag if re.fullmatch(r'"[!#-~]*"', etag) else None


def _read(response: http.client.HTTPResponse) -> bytes:
    """The bytes that have come, at most `CHUNK`; none at the end."""
    try:
        return response.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """What went wrong, in words that are not the server's: those may hold anything."""
    if isinstance(error, OSError):
        return str(getattr(error, "reason", error)) or type(error).__name__
    return f"the server's answer is not HTTP ({type(error).__name__})"


def _verify(file: RemoteFile, part: Path, destination: Path) -> None:
    """Compare the SHA-256 of `part` with the one known, or with the one noted at an earlier download, or note it."""
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    note = _beside(destination, ".sha256")
    expected = file.sha256
    if expected is None and note.exists():
        expected = note.read_text("ascii", "replace").partition(" ")[0]
    if expected is None:
        note.write_text(f"{found}  {destination.name}\n", "ascii")  # the format of sha256sum
        _log.warning(
            "%s: no SHA-256 of this file is known to compare with; found %s, noted in %s", file.url, found, note
        )
    elif found != expected:
        part.unlink()
        origin = "" if file.sha256 else f" as noted in {note} (delete that to accept the new file)"
        raise ZooError(
            f"{file.url}: not the expected bytes, so they were deleted: SHA-256 {found}, expected {expected}{origin}; "
            f"try again, or put the file at {destination} by hand"
        )


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`, once every other process has let go of it.

    A lock rather than a part file for each process: what one leaves behind the next can resume, and 250 MB travel
    once. The system gives the lock back when a process ends in whatever way; the empty file stays, for to delete it
    would let two processes lock two files of that name.
    """
    with path.open("ab") as stream:
        if not _try_lock(stream):
            _log.warning("another process is downloading %s; waiting for it", what)
            while not _try_lock(stream):
                time.sleep(LOCK_POLL)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(stream: BinaryIO) -> bool:
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(stream: BinaryIO) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def _progress_bar(file: RemoteFile, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A function to be told how many bytes are there; draws them, with rate and time left, on a terminal."""
    if not (wanted and sys.stderr and sys.stderr.isatty()):  # a windowed Python on Windows has no stderr
        yield lambda have: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(file.name, total=file.size)
        yield lambda have: bar.update(task, completed=have)
