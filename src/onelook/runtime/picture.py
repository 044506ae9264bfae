"""One picture (bytes, a file, a URL, an array, a PIL image) -> RGB uint8 [H, W, 3].

The formats are OpenCV's: JPEG, PNG, WebP, TIFF, BMP, GIF (its first frame), JPEG 2000, PNM and, in most builds, AVIF.
EXIF orientation is applied. Transparency is dropped, not blended. Of 16 bits a channel the upper 8 are kept.
"""

import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.errors import SourceError
from onelook.runtime.header import jpeg_header

if TYPE_CHECKING:
    from http.client import HTTPResponse

Pixels = NDArray[np.uint8]

MAX_FILE = 2**30  # bytes; more than the largest picture that is decoded (see runtime/__init__.py) needs uncompressed
MAX_DOWNLOAD = 2**28  # bytes
MAX_SCANS = 100  # of a JPEG; programs write ten or so, each of which goes through the whole picture
# Pixels of a JPEG 2000 or AVIF picture, whose decoders take four times the memory of the others: here a gigabyte, which
# a file of a kilobyte can ask for.
MAX_COSTLY = 2**26
DOWNLOAD_TIME = 60.0  # seconds in which a picture must have come
SILENCE = 10.0  # seconds after which a server that sends nothing is given up

# OpenCV >= 4.11 decodes a JPEG to RGB at once, which saves 6% of the time. Other formats go by way of BGR: asked for
# RGB, OpenCV 4.12 to 5.0 swaps the channels of an AVIF with transparency.
_JPEG_MODE = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)
# Added to it: libjpeg decodes at a fraction of the size, and leaves out most of the work.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "WebP": rb"RIFF....WEBP",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "GIF": rb"GIF8",
    "BMP": rb"BM",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
}

# Where a JPEG 2000 codestream (ISO/IEC 15444-1, A.5.1) and an AVIF's property `ispe` (ISO/IEC 23008-12, 6.5.3) say the
# two sides of a picture.
_COSTLY = re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51|....ftyp", re.DOTALL)
_COSTLY_SIDES = re.compile(rb"(?:\xff\x4f\xff\x51|ispe)....(.{4})(.{4})", re.DOTALL)


class PILImage(Protocol):
    """What a type checker needs to know of `PIL.Image.Image`, which onelook does not depend on."""

    def convert(self, mode: str, /) -> Any:
        """The picture in another of PIL's modes."""


class Reduced(NamedTuple):
    """A picture, decoded at its size or at a fraction of it."""

    pixels: Pixels
    """RGB uint8 [h, w, 3], upright. Each stands for `factor` x `factor` pixels of the whole picture."""
    width: int
    """Of the whole picture, in pixels."""
    height: int
    """Of the whole picture, in pixels."""
    factor: int = 1
    """1, 2, 4 or 8."""
    left: int = 0
    """How far the pixels begin outside of the picture, in pixels of the whole, 0 to `factor` - 1. JPEG files are made of
    blocks, which go beyond the edges of a picture that has not as many pixels; where EXIF turns it, at the left."""
    top: int = 0
    """As `left`, at the top."""


Reduce = Callable[[int, int], int]  # width and height of a picture -> the most that `Reduced.factor` may be


def read(source: str | os.PathLike[str]) -> Pixels:
    """The picture in a file or at an http(s) URL: RGB uint8 [H, W, 3].

    Raises:
        SourceError: there is no such file or page, it cannot be read, is larger than `MAX_FILE` (`MAX_DOWNLOAD`) bytes,
            takes longer than `DOWNLOAD_TIME` seconds to come, or is no whole picture.
    """
    name = os.fspath(source)
    return decode(read_bytes(name), name)


def read_bytes(name: str) -> bytes:
    """The bytes of a picture file or of what is at an http(s) URL. Raises SourceError as `read` does."""
    return download(name, MAX_DOWNLOAD, DOWNLOAD_TIME) if is_web(name) else _read_file(name)


def decode(data: bytes, name: str = "bytes") -> Pixels:
    """The picture that a picture file's bytes hold: RGB uint8 [H, W, 3].

    Args:
        data: the whole file.
        name: what to call it in an error.

    Raises:
        SourceError: it is not a picture, of a format OpenCV has not got, cut short, damaged so that nothing can be
            decoded, or larger than OPENCV_IO_MAX_IMAGE_PIXELS allows (unless set otherwise, 2^28) or, of JPEG 2000 and
            AVIF, than `MAX_COSTLY`.
    """
    return _decode(data, name, 1)


def decode_reduced(data: bytes, name: str, reduce: Reduce) -> Reduced:
    """As `decode`, but a JPEG is decoded at the fraction of its size that `reduce` allows: up to 4 times as fast."""
    header = jpeg_header(io.BytesIO(data))
    factor = 1 if header is None else reduce(header.width, header.height)
    if header is not None and factor > 1:
        pixels = _decode(data, name, factor)
        # Another shape is that of a header which OpenCV reads in its own way.
        if pixels.shape[:2] == (-(-header.height // factor), -(-header.width // factor)):
            left = -header.width % factor if header.orientation in (2, 3, 6, 7) else 0
            top = -header.height % factor if header.orientation in (3, 4, 7, 8) else 0
            return Reduced(pixels, header.width, header.height, factor, left, top)
    pixels = decode(data, name)
    return Reduced(pixels, pixels.shape[1], pixels.shape[0])


def _decode(data: bytes, name: str, factor: int) -> Pixels:
    """See `decode`; a JPEG at 1 / factor of its size."""
    if not data:
        raise SourceError(f"{shown(name)}: the file is empty")
    mode = cv2.IMREAD_COLOR
    if data.startswith(b"\xff\xd8"):
        mode = _JPEG_MODE | _REDUCED[factor]
        if not _is_whole_jpeg(data):
            raise SourceError(f"{shown(name)}: the JPEG picture is cut short; its end is missing")
        if not _is_one_scan(data) and data.count(b"\xff\xda") > MAX_SCANS:
            raise SourceError(f"{shown(name)}: the JPEG picture is made of more than {MAX_SCANS} scans")
    elif data.startswith(b"\x89PNG\r\n\x1a\n") and not _is_whole_png(data):
        raise SourceError(f"{shown(name)}: the PNG picture is cut short or damaged")
    elif is_costly(data) and any(width * height > MAX_COSTLY for width, height in costly_sides(data)):
        raise SourceError(f"{shown(name)}: more pixels than the {MAX_COSTLY} that are decoded of JPEG 2000 and AVIF")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise SourceError(f"{shown(name)}: {_opencv_reason(error, data)}") from None
    if pixels is None:
        raise SourceError(f"{shown(name)}: {_decoding_reason(data)}")
    if pixels.ndim == 2:  # a grey PFM, though colour was asked for
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    elif mode & cv2.IMREAD_COLOR:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return np.asarray(pixels, np.uint8)


def to_rgb(pixels: NDArray[Any] | PILImage, name: str = "array") -> Pixels:
    """An array or PIL image as RGB uint8 [H, W, 3], contiguous; the array itself where it is that already.

    Args:
        pixels: grey [H, W] or [H, W, 1], RGB [H, W, 3] or RGBA [H, W, 4], of uint8, uint16 or bool (true is white).
            Of a PIL image any mode of 8 or 16 bits; its EXIF orientation is applied as in a file's.
        name: what to call it in an error.

    Raises:
        SourceError: another shape or dtype. Floating-point pixels are refused, as 0..1 and 0..255 are both in use.
    """
    if is_pil(pixels):
        pixels = _from_pil(pixels, name)
    if not isinstance(pixels, np.ndarray):
        raise SourceError(f"{shown(name)}: expected a numpy array or a PIL image; found {type(pixels).__name__}")
    shape = pixels.shape
    if pixels.dtype.kind not in "bu" or pixels.dtype.itemsize > 2:
        hint = "; for values in 0..1 give (255 * x).round().astype('uint8')" if pixels.dtype.kind == "f" else ""
        raise SourceError(f"{shown(name)}: pixels must be uint8, uint16 or bool, not {pixels.dtype}{hint}")
    if len(shape) == 2:
        pixels = pixels[..., None]
    elif len(shape) != 3 or shape[2] not in (1, 3, 4):
        hint = ""
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            hint = "; channels come last: give x.transpose(1, 2, 0)"
        elif len(shape) == 4:
            hint = "; give several pictures as a list: list(x)"
        raise SourceError(f"{shown(name)}: a picture must be [H, W], [H, W, 3] or [H, W, 4], not {list(shape)}{hint}")
    if pixels.size == 0:
        raise SourceError(f"{shown(name)}: the picture has no pixels: {list(shape)}")
    pixels = pixels[..., :3]
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.ascontiguousarray(pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2))


def is_costly(data: bytes) -> bool:
    """Whether it is a JPEG 2000 or AVIF file, or one of a kind with that."""
    return _COSTLY.match(data) is not None


def costly_sides(data: bytes) -> Iterator[tuple[int, int]]:
    """The sides that a JPEG 2000 or AVIF file says the picture or its parts have, in whatever order its parts are."""
    for sides in _COSTLY_SIDES.finditer(data):
        yield int.from_bytes(sides[1], "big"), int.from_bytes(sides[2], "big")


def is_pil(source: object) -> TypeGuard[PILImage]:
    """Whether it is a PIL image. PIL is not imported: where nobody has imported it there are none."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def is_web(name: str) -> bool:
    """Whether it is an http(s) URL, and not a path."""
    return name[:8].lower().startswith(("http://", "https://"))


def content_type(url: str) -> str:
    """The media type that a web server gives for a URL, in lower case: "image/jpeg". Raises SourceError."""
    with _opened(url, DOWNLOAD_TIME) as response:
        return response.headers.get_content_type()


def shown(name: str) -> str:
    """The name as an error shows it: line ends, control characters and undecodable bytes escaped."""
    return name if name.isprintable() and name else ascii(name)


def reason(error: Exception) -> str:
    """What went wrong, in a few words on one line, without the system's numbers."""
    cause = getattr(error, "reason", error)  # a URLError wraps the error that matters
    return " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(cause).__name__


def _read_file(path: str) -> bytes:
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            raise SourceError(f"{shown(path)}: expected a picture, found a folder")
        if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for its other end
            raise SourceError(f"{shown(path)}: not an ordinary file")
        if info.st_size > MAX_FILE:
            raise SourceError(f"{shown(path)}: {info.st_size} bytes are too many for a picture; at most {MAX_FILE}")
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except FileNotFoundError:
        raise SourceError(f"{shown(path)}: no such file or folder") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise SourceError(f"{shown(path)}: {reason(error)}") from None


def download(url: str, most: int, within: float) -> bytes:
    """What is at an http(s) URL.

    Args:
        url: to be asked for; where it says that something has moved, that is followed.
        most: bytes.
        within: seconds in which all of it must have come.

    Raises:
        SourceError: the server cannot be reached, refuses, breaks off, sends more than that or takes longer.
    """
    data = bytearray()
    with _opened(url, within) as response:
        while chunk := response.read1(1 << 16):
            data += chunk
            if len(data) > most:
                raise SourceError(f"{shown(url)}: too large for a picture; at most {most} bytes are downloaded")
    expected = response.headers.get("Content-Length")
    if expected is not None and expected.isdecimal() and len(data) < int(expected):
        raise SourceError(f"{shown(url)}: the connection broke after {len(data)} of {expected} bytes")
    return bytes(data)


@contextmanager
def _opened(url: str, within: float) -> "Iterator[HTTPResponse]":
    """The server's answer; any failure, in the body of the `with` too, becomes a SourceError.

    After `within` seconds the connection is broken off. A limit to each wait (`SILENCE`) alone would let a server that
    sends a byte now and then, of its header even, hold its client for ever.
    """
    # Imported here because they take as long as all of numpy, and most runs never go to the web.
    import http.client
    import socket
    import string
    import threading
    import urllib.error
    import urllib.parse
    import urllib.request

    connected: list[socket.socket] = []
    late = threading.Event()

    def give_up() -> None:
        late.set()
        for own in connected:
            with suppress(OSError):
                own.shutdown(socket.SHUT_RDWR)

    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            connected.append(self.sock.dup())  # which reaches it behind TLS, too
            if late.is_set():
                raise TimeoutError

    class SecureConnection(http.client.HTTPSConnection, Connection):
        """Its `connect` goes on with that of `Connection`, then agrees on the keys."""

    class Web(urllib.request.AbstractHTTPHandler):
        http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

        def http_open(self, request: urllib.request.Request) -> "HTTPResponse":
            return self.do_open(Connection, request)

        def https_open(self, request: urllib.request.Request) -> "HTTPResponse":
            return self.do_open(SecureConnection, request)

    class Moved(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, request: Any, answer: Any, *others: Any) -> urllib.request.Request | None:
            answer.close()  # urllib would read all of it, however long it is
            return super().redirect_request(request, answer, *others)

    opener = urllib.request.OpenerDirector()
    handlers = (Web, Moved, urllib.request.ProxyHandler, urllib.request.UnknownHandler)
    for handler in (*handlers, urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor):
        opener.add_handler(handler())
    timer = threading.Timer(within, give_up)
    timer.daemon = True
    timer.start()
    try:
        address = urllib.parse.quote(url, safe=string.punctuation)  # spaces and letters beyond ASCII only
        request = urllib.request.Request(address, headers={"User-Agent": "onelook"})
        with opener.open(request, timeout=SILENCE) as response:
            yield response
            if late.is_set():  # its end was ours
                raise TimeoutError
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceError(f"{shown(url)}: the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = f"the server is too slow; given up after {within:.3g} s" if late.is_set() else reason(error)
        raise SourceError(f"{shown(url)}: {why}") from None
    finally:
        timer.cancel()
        for own in connected:
            own.close()


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end-of-image marker is there; decoders fill in what is missing before it with grey.

    It need not be the last two bytes, as cameras append to their files; the thumbnail's, inside a segment, is not it.
    """
    position = 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] not in (b"\xd9", b"\xda"):
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return data.endswith(b"\xff\xd9", position) or data.find(b"\xff\xd9", position) >= 0


def _is_one_scan(data: bytes) -> bool:
    """Whether a JPEG is sequential and has all its components in one scan, as nearly all are (ITU-T T.81, B.2.1)."""
    position, components = 2, 0
    while data[position : position + 1] == b"\xff" and position + 10 <= len(data):
        marker = data[position + 1]
        if marker == 0xDA:
            return data[position + 4] == components
        if marker in (0xC0, 0xC1):
            components = data[position + 9]
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return False


def _is_whole_png(data: bytes) -> bool:
    """Whether the chunks lie within the file, to the last. OpenCV allocates what they claim to be, up to gigabytes."""
    position = 8
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IEND":
            return position <= len(data)
    return False


def _opencv_reason(error: cv2.error, data: bytes) -> str:
    if "CV_IO_MAX_IMAGE" in str(error):
        return f"more pixels than OPENCV_IO_MAX_IMAGE_PIXELS={os.environ.get('OPENCV_IO_MAX_IMAGE_PIXELS')} allows"
    if error.code == cv2.Error.StsNoMem:
        return "there is not enough memory to decode the picture"
    return _decoding_reason(data)


def _decoding_reason(data: bytes) -> str:
    found = [name for name, signature in _SIGNATURES.items() if re.match(signature, data, re.DOTALL)]
    if not found:
        return "not a picture of a known format"
    if found == ["HEIC"]:
        return "HEIC pictures cannot be read; convert it to JPEG or PNG"
    return f"the {found[0]} picture is cut short, damaged, or of a kind that this OpenCV cannot read"


def _from_pil(image: Any, name: str) -> NDArray[Any]:
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")  # at once to RGB, PIL warns where the palette has transparent colours
        # PIL would clip 16 bits and floating point to 255 instead of scaling; to_rgb scales or refuses them.
        return np.asarray(image if image.mode.startswith(("I", "F")) else image.convert("RGB"))
    except Exception as error:  # PIL reads the file only now, and its plugins raise whatever they come across
        raise SourceError(f"{shown(name)}: PIL cannot read the picture: {reason(error)}") from None
