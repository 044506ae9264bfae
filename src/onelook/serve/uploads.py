"""The pictures of a request, within limits."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from onelook.runtime import picture
from onelook.runtime.sources import Picture, from_bytes
from onelook.serve.pixels import claimed
from onelook.serve.problems import BusyError, ProblemError
from onelook.serve.settings import Settings

MAX_FIELDS = 100  # of a form, beside the files; they are passed over
BRIEF = 1 << 17  # bytes of a request that only names something
JSON = "application/json"

Result = TypeVar("Result")


async def pictures(request: Request, settings: Settings, within: float) -> list[Picture]:
    """What a client has sent to be looked at: at least one picture, not decoded yet.

    Args:
        request: with a picture, a form with some, or the URL of one, which is fetched.
        settings: their limits hold.
        within: seconds in which what is at a URL must have come.

    Raises:
        ProblemError: 400 where there is none, 413 where they are too many or too large, 415 where they are of no known type.
        SourceError: a URL cannot be fetched.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        found = await _files(request, settings)
    elif kind == JSON:
        url = await _url(request, settings)
        found = [(url, await _in_own_thread(partial(picture.download, url, settings.max_bytes, within)))]
    elif kind.startswith("image/") or kind in ("application/octet-stream", ""):
        found = [("picture", await body(request, settings.max_bytes))]
    else:
        raise ProblemError(
            415, f"expected a picture (image/*), a form with files or JSON with a URL; found {kind[:100]!r}"
        )
    for name, data in found:
        pixels = claimed(data)
        if pixels > settings.max_pixels:
            limit = f"a picture may have {settings.max_pixels} pixels; it has {pixels}"
            raise ProblemError(413, f"{picture.shown(name)}: {limit}")
    return [from_bytes(data, name) for name, data in found]


def media_type(request: Request) -> str:
    """That of the body, in lower case and without parameters; "" where none is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def announced(request: Request, most: int) -> int:
    """The bytes of a body: as many as its head says, or `most`. Raises ProblemError 413 where it says more than that."""
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else most
    if size > most:
        raise _too_long(most)
    return size


class Budget:
    """Bytes that all requests together may hold, so that many large ones do not fill the memory."""

    def __init__(self, total: int):
        self._free = total

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Within it so many bytes are held. Raises ProblemError 429 where there is no room for them now."""
        if size > self._free:
            raise BusyError
        self._free -= size
        try:
            yield
        finally:
            self._free += size


async def body(request: Request, most: int) -> bytes:
    """The body of a request. Raises ProblemError 413 as soon as it is longer than `most` bytes."""
    return b"".join([part async for part in _parts(request, most)])


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of some work for a client, whose body has been read; where the client goes, the work is cancelled.

    Raises:
        ProblemError: it has gone, and nobody reads this.
    """
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(_leaving(request))
    try:
        await asyncio.wait([working, going], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _gone()
        return working.result()
    finally:
        working.cancel()
        going.cancel()


async def _leaving(request: Request) -> None:
    """Ends when the client goes."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _parts(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """A body as it comes. Raises as `body`."""
    total = 0
    try:
        async for part in request.stream():
            total += len(part)
            if total > most:
                raise _too_long(most)
            yield part
    except ClientDisconnect:
        raise _gone() from None


def _gone() -> ProblemError:
    return ProblemError(400, "the client has gone")


def _too_long(most: int) -> ProblemError:
    # The rest is not read, so the connection cannot serve another request.
    return ProblemError(413, f"a request may have {most} bytes", Connection="close")


async def _files(request: Request, settings: Settings) -> list[tuple[str, bytes]]:
    """The names and contents of a form's files."""
    most = min(settings.max_files, settings.queue)  # more would not fit into an empty queue
    parts = _parts(request, settings.max_bytes)
    parser = MultiPartParser(request.headers, parts, max_files=most, max_fields=MAX_FIELDS)
    parser.spool_max_size = settings.max_bytes + 1  # all of it stays in memory
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many files") else 400
        raise ProblemError(status, f"the form cannot be read: {error.message}", Connection="close") from None
    except (MultipartParseError, KeyError, ValueError) as error:
        raise ProblemError(400, f"the form cannot be read: {error}", Connection="close") from None
    found = []
    for _, value in form.multi_items():
        if isinstance(value, UploadFile):
            found.append((value.filename or "picture", await value.read()))
            await value.close()
    if not found:
        raise ProblemError(400, "the form has no file")
    return found


async def _url(request: Request, settings: Settings) -> str:
    if not settings.allow_urls:
        raise ProblemError(415, "this server fetches no URLs; send the picture itself", Connection="close")
    message: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(await body(request, BRIEF))
    url = message.get("url") if isinstance(message, dict) else None
    if not isinstance(url, str) or not picture.is_web(url):
        raise ProblemError(400, 'expected {"url": "https://..."}')
    return url


async def _in_own_thread(work: Callable[[], Result]) -> Result:
    """As `asyncio.to_thread`, whose few threads others need; nor does the process wait for this one at its end."""
    result: Future[Result] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(work())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=run, name="onelook-fetch", daemon=True).start()
    return await asyncio.wrap_future(result)
