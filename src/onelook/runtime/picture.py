"""One picture (bytes, a file, a URL, an array, a PIL image) -> RGB uint8 [H, W, 3].

The formats are OpenCV's: JPEG, PNG, WebP, TIFF, BMP, GIF (its first frame), JPEG 2000, PNM and, in most builds, AVIF.
EXIF orientation is applied. Transparency is dropped, not blended. Of 16 bits a channel the upper 8 are kept.
"""

import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.errors import SourceError

if TYPE_CHECKING:
    from http.client import HTTPResponse

Pixels = NDArray[np.uint8]

MAX_FILE = 2**30  # bytes; more than the largest picture that is decoded (see runtime/__init__.py) needs uncompressed
MAX_DOWNLOAD = 2**28  # bytes
DOWNLOAD_TIME = 60.0  # seconds in which a picture must have come
SILENCE = 10.0  # seconds after which a server that sends nothing is given up

# OpenCV >= 4.11 decodes a JPEG to RGB at once, which saves 6% of the time. Other formats go by way of BGR: asked for
# RGB, OpenCV 4.12 to 5.0 swaps the channels of an AVIF with transparency.
_JPEG_MODE = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)

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


class PILImage(Protocol):
    """What a type checker needs to know of `PIL.Image.Image`, which onelook does not depend on."""

    def convert(self, mode: str, /) -> Any:
        """The picture in another of PIL's modes."""


def read(source: str | os.PathLike[str]) -> Pixels:
    """The picture in a file or at an http(s) URL: RGB uint8 [H, W, 3].

    Raises:
        SourceError: there is no such file or page, it cannot be read, is larger than `MAX_FILE` (`MAX_DOWNLOAD`) bytes,
            takes longer than `DOWNLOAD_TIME` seconds to come, or is no whole picture.
    """
    name = os.fspath(source)
    return decode(_download(name) if is_web(name) else _read_file(name), name)


def decode(data: bytes, name: str = "bytes") -> Pixels:
    """The picture that a picture file's bytes hold: RGB uint8 [H, W, 3].

    Args:
        data: the whole file.
        name: what to call it in an error.

    Raises:
        SourceError: it is not a picture, of a format OpenCV has not got, cut short, damaged so that nothing can be
            decoded, or larger than OPENCV_IO_MAX_IMAGE_PIXELS allows (unless set otherwise, 2^28).
    """
    if not data:
        raise SourceError(f"{shown(name)}: the file is empty")
    mode = cv2.IMREAD_COLOR
    if data.startswith(b"\xff\xd8"):
        mode = _JPEG_MODE
        if not _is_whole_jpeg(data):
            raise SourceError(f"{shown(name)}: the JPEG picture is cut short; its end is missing")
    elif data.startswith(b"\x89PNG\r\n\x1a\n") and not _is_whole_png(data):
        raise SourceError(f"{shown(name)}: the PNG picture is cut short or damaged")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        raise SourceError(f"{shown(name)}: {_opencv_reason(error, data)}") from None
    if pixels is None:
        raise SourceError(f"{shown(name)}: {_decoding_reason(data)}")
    if pixels.ndim == 2:  # a grey PFM, though colour was asked for
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    elif mode == cv2.IMREAD_COLOR:
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


def is_pil(source: object) -> TypeGuard[PILImage]:
    """Whether it is a PIL image. PIL is not imported: where nobody has imported it there are none."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def is_web(name: str) -> bool:
    """Whether it is an http(s) URL, and not a path."""
    return name[:8].lower().startswith(("http://", "https://"))


def content_type(url: str) -> str:
    """The media type that a web server gives for a URL, in lower case: "image/jpeg". Raises SourceError."""
    with _opened(url) as response:
        return response.headers.get_content_type()


def shown(name: str) -> str:
    """The name as an error shows it: line ends, control characters and undecodable bytes escaped."""
    return name if name.isprintable() and name else ascii(name)


def reason(error: Exception) -> str:
    """What went wrong, in a few words on one line, without the system's numbers."""
    cause = getattr(error, "reason", error)  # a URLError wraps the error that matters
    return " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(cause).__name__


def silence_native_stderr() -> None:
    """Keep the terminal for Python: what libraries in C print to descriptor 2 goes nowhere, `sys.stderr` stays.

    libjpeg and libpng print their warnings about damaged pictures there, past OpenCV's log level. For a program, once,
    at its start; a library has no business to call it.
    """
    stderr = sys.stderr
    stderr.flush()
    terminal = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding=stderr.encoding, errors=stderr.errors)


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


def _download(url: str) -> bytes:
    deadline = time.monotonic() + DOWNLOAD_TIME
    data = bytearray()
    with _opened(url) as response:
        while chunk := response.read1(1 << 16):
            data += chunk
            if len(data) > MAX_DOWNLOAD:
                raise SourceError(f"{shown(url)}: too large for a picture; at most {MAX_DOWNLOAD} bytes are downloaded")
            if time.monotonic() > deadline:
                raise SourceError(f"{shown(url)}: the server is too slow; given up after {DOWNLOAD_TIME:.0f} s")
        expected = response.headers.get("Content-Length")
        if expected is not None and expected.isdecimal() and len(data) < int(expected):
            raise SourceError(f"{shown(url)}: the connection broke after {len(data)} of {expected} bytes")
    return bytes(data)


@contextmanager
def _opened(url: str) -> "Iterator[HTTPResponse]":
    """The server's answer; any failure, in the body of the `with` too, becomes a SourceError."""
    # Imported here because they take as long as all of numpy, and most runs never go to the web.
    import http.client
    import string
    import urllib.error
    import urllib.parse
    import urllib.request

    try:
        address = urllib.parse.quote(url, safe=string.punctuation)  # spaces and letters beyond ASCII only
        request = urllib.request.Request(address, headers={"User-Agent": "onelook"})
        with urllib.request.urlopen(request, timeout=SILENCE) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceError(f"{shown(url)}: the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(f"{shown(url)}: {reason(error)}") from None


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end-of-image marker is there; decoders fill in what is missing before it with grey.

    It need not be the last two bytes, as cameras append to their files; the thumbnail's, inside a segment, is not it.
    """
    if data.endswith(b"\xff\xd9"):
        return True
    position = 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] != b"\xda":
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return data.find(b"\xff\xd9", position) >= 0


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
