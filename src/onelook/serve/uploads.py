"""The pictures of a request, within limits."""

import contextlib
import io
import json
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from typing import Any

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from onelook.runtime import picture
from onelook.runtime.header import size_of
from onelook.runtime.sources import Picture, from_bytes
from onelook.serve.problems import BusyError, ProblemError
from onelook.serve.settings import Settings

MAX_FIELDS = 100  # of a form, beside the files; they are passed over


async def pictures(request: Request, settings: Settings) -> list[Picture]:
    """What a client has sent to be looked at: at least one picture, not decoded yet.

    Raises:
        ProblemError: 400 where there is none, 413 where they are too many or too large, 415 where they are of no known type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _files(request.headers, await body(request, settings.max_bytes), settings.max_files)
    elif kind == "application/json":
        return [_by_url(await body(request, settings.max_bytes), settings)]
    elif kind.startswith("image/") or kind in ("application/octet-stream", ""):
        found = [("picture", await body(request, settings.max_bytes))]
    else:
        raise ProblemError(
            415, f"expected a picture (image/*), a form with files or JSON with a URL; found {kind[:100]!r}"
        )
    for name, data in found:
        size = size_of(io.BytesIO(data))
        if size is not None and size[0] * size[1] > settings.max_pixels:
            limit = f"a picture may have {settings.max_pixels} pixels; it has {size[0]} x {size[1]}"
            raise ProblemError(413, f"{picture.shown(name)}: {limit}")
    return [from_bytes(data, name) for name, data in found]


class Budget:
    """Bytes that all requests together may hold, so that many large ones do not fill the memory."""

    def __init__(self, total: int):
        self._free = total

    @contextlib.contextmanager
    def hold(self, request: Request, most: int) -> Iterator[None]:
        """Within it a request's bytes are held: as many as it announces, or `most`.

        Raises:
            ProblemError: 413 where it announces more than `most`, 429 where there is no room for them now.
        """
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else most
        if size > most:
            raise _too_long(most)
        if size > self._free:
            raise BusyError
        self._free -= size
        try:
            yield
        finally:
            self._free += size


async def body(request: Request, most: int) -> bytes:
    """The body of a request. Raises ProblemError 413 as soon as it is longer than `most` bytes."""
    parts, total = [], 0
    try:
        async for part in request.stream():
            total += len(part)
            if total > most:
                raise _too_long(most)
            parts.append(part)
    except ClientDisconnect:
        raise ProblemError(400, "the client has gone") from None
    return b"".join(parts)


def _too_long(most: int) -> ProblemError:
    # The rest is not read, so the connection cannot serve another request.
    return ProblemError(413, f"a request may have {most} bytes", Connection="close")


async def _files(headers: Headers, data: bytes, most: int) -> list[tuple[str, bytes]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield data

    parser = MultiPartParser(headers, stream(), max_files=most, max_fields=MAX_FIELDS)
    parser.spool_max_size = len(data) + 1  # it is in memory already
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many files") else 400
        raise ProblemError(status, f"the form cannot be read: {error.message}") from None
    except (MultipartParseError, KeyError, ValueError) as error:
        raise ProblemError(400, f"the form cannot be read: {error}") from None
    found = []
    for _, value in form.multi_items():
        if isinstance(value, UploadFile):
            found.append((value.filename or "picture", await value.read()))
            await value.close()
    if not found:
        raise ProblemError(400, "the form has no file")
    return found


def _by_url(data: bytes, settings: Settings) -> Picture:
    if not settings.allow_urls:
        raise ProblemError(415, "this server fetches no URLs; send the picture itself")
    message: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(data)
    url = message.get("url") if isinstance(message, dict) else None
    if not isinstance(url, str) or not picture.is_web(url):
        raise ProblemError(400, 'expected {"url": "https://..."}')
    return Picture(url, partial(picture.read, url))
