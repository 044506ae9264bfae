import io
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from onelook.errors import SourceError
from onelook.runtime import picture

# Smooth, so that what JPEG loses is little; every colour channel and every direction different.
SMOOTH = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
RGB = cv2.resize(SMOOTH, (56, 40), interpolation=cv2.INTER_CUBIC)
ALPHA = np.tile(np.linspace(0, 255, 56).astype(np.uint8), (40, 1))

LOSSLESS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]
FORMATS += [format for format, feature in {"JPEG2000": "jpg_2000", "AVIF": "avif"}.items() if features.check(feature)]


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **(LOSSLESS.get(format, {}) | options))
    return buffer.getvalue()


def as_pil(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by the book (the specification's sections 5 and 11), for what PIL cannot write."""
    chunks = {b"IHDR": struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0), b"IDAT": zlib.compress(rows, 1)}
    body = (struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + bytes.fromhex("0000000049454e44ae426082")


PICTURES = {format: encoded(Image.fromarray(RGB), format) for format in FORMATS}
PICTURES["progressive"] = encoded(Image.fromarray(RGB), "JPEG", progressive=True)


def assert_close(ours: NDArray[np.uint8], reference: NDArray[np.uint8], tolerance: int = 1) -> None:
    assert ours.shape == reference.shape
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - reference).max() <= tolerance


# --- decode


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_as_pil_applies_it(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(RGB), format, exif=exif)
    ours = picture.decode(data)
    assert ours.shape == ((40, 56, 3) if orientation < 5 else (56, 40, 3))
    assert_close(ours, as_pil(data))


@pytest.mark.parametrize(
    ("mode", "format"),
    [(mode, format) for mode in ("L", "RGB") for format in FORMATS]
    + [("1", format) for format in ("PNG", "TIFF", "BMP", "GIF", "PPM")]
    + [("P", format) for format in ("PNG", "TIFF", "BMP", "GIF")]
    + [("LA", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")]
    + [("RGBA", "AVIF")] * ("AVIF" in FORMATS),
)
def test_every_kind_of_picture_decodes_to_what_pil_makes_of_it(mode: str, format: str) -> None:
    image = Image.fromarray(RGB)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(ALPHA))
    data = encoded(image.quantize(16) if mode == "P" else image.convert(mode), format)
    ours = picture.decode(data)
    assert ours.flags.c_contiguous
    assert_close(ours, as_pil(data), tolerance=2 if format == "AVIF" else 1)


def test_cmyk_and_ycck_jpegs_decode_to_what_pil_makes_of_them() -> None:
    data = bytearray(encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"))
    transform = data.index(b"Adobe") + 11  # 0: CMYK, 2: YCCK (Adobe's technical note 5116)
    for data[transform] in (0, 2):
        assert_close(picture.decode(bytes(data)), as_pil(bytes(data)))


@pytest.mark.parametrize("colour", [0, 2], ids=["grey", "rgb"])
def test_sixteen_bits_a_channel_keep_the_upper_eight(colour: int) -> None:
    wide = np.random.default_rng(1).integers(0, 65536, (40, 56, 3) if colour else (40, 56), np.uint16)
    rows = np.ascontiguousarray(wide.astype(">u2")).view(np.uint8).reshape(40, -1)
    data = png(56, 40, 16, colour, b"".join(b"\0" + row.tobytes() for row in rows))
    expected = (wide // 256).astype(np.uint8)
    expected = expected if colour else np.dstack([expected] * 3)
    assert_close(picture.decode(data), expected)
    assert_close(picture.to_rgb(wide), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_of_one_pixel_decodes(format: str) -> None:
    data = encoded(Image.new("RGB", (1, 1), (10, 200, 30)), format)
    assert_close(picture.decode(data), as_pil(data), tolerance=2)


def test_a_picture_of_a_hundred_megapixels_decodes() -> None:
    pixels = picture.decode(png(10_000, 10_000, 1, 0, (b"\0" + b"\xf0" * 1250) * 10_000))
    assert pixels.shape == (10_000, 10_000, 3)
    assert (pixels[::999, :16, 0] == [255, 255, 255, 255, 0, 0, 0, 0] * 2).all()


def test_a_header_that_claims_too_many_pixels_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000, 20_000, 8, 2, bytes(1000)))
    code = "import sys; from onelook.runtime import picture; picture.read(sys.argv[1])"
    done = run(code, str(path))  # in another process, as OpenCV reads its bound when it is loaded
    told = f"{path}: more pixels than OPENCV_IO_MAX_IMAGE_PIXELS=268435456 allows"
    assert done.stderr.splitlines()[-1] == f"onelook.errors.SourceError: {told}"


def test_a_png_chunk_that_claims_gigabytes_is_refused_before_opencv_allocates_them() -> None:
    for claimed in (len(PICTURES["PNG"]), 0x7FFFFFFF, 0xFFFFFFFF):
        data = PICTURES["PNG"]
        place = data.index(b"IDAT") - 4
        data = data[:place] + struct.pack(">I", claimed) + data[place + 4 :]
        with pytest.raises(SourceError, match=r"the PNG picture is cut short or damaged$"):
            picture.decode(data)


@pytest.mark.parametrize("format", PICTURES)
def test_a_picture_that_is_cut_short_is_refused(format: str) -> None:
    data = PICTURES[format]
    for length in (len(data) - 3, len(data) * 9 // 10, len(data) // 2, len(data) // 4, 12, 3):
        with pytest.raises(SourceError, match=r"^half\.x: .*(cut short|damaged|known format)"):
            picture.decode(data[:length], "half.x")


@pytest.mark.parametrize("format", ["JPEG", "progressive"])
def test_a_jpeg_whose_end_is_blank_is_refused_instead_of_half_grey(format: str) -> None:
    data = PICTURES[format]
    with pytest.raises(SourceError, match="cut short"):
        picture.decode(data[: len(data) // 2] + bytes(len(data)))


def test_the_end_of_a_jpegs_thumbnail_is_not_taken_for_the_end_of_the_picture() -> None:
    data = PICTURES["JPEG"]
    thumbnail = encoded(Image.fromarray(RGB[:16, :16]), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    whole = data[:2] + segment + data[2:]
    assert_close(picture.decode(whole), as_pil(data))
    with pytest.raises(SourceError, match="cut short"):
        picture.decode(whole[: -len(data) // 2] + bytes(3 * len(data)))


@pytest.mark.parametrize("format", PICTURES)
@pytest.mark.parametrize("tail", [bytes(10), b"\xff\xda" + b"maker's notes" * 99], ids=["zeros", "notes"])
def test_bytes_after_the_end_of_a_picture_do_no_harm(format: str, tail: bytes) -> None:
    assert (picture.decode(PICTURES[format] + tail) == picture.decode(PICTURES[format])).all()


def test_what_is_no_picture_is_called_so() -> None:
    for data, reason in [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "not a picture of a known format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "HEIC pictures cannot be read; convert it"),
        (b"\xff\xd8\xff\xd9", "the JPEG picture is cut short, damaged, or"),
    ]:
        with pytest.raises(SourceError, match=re.escape(f"x.jpg: {reason}")):
            picture.decode(data, "x.jpg")


def check_picture_or_error(data: bytes) -> None:
    pixels, message = None, ""
    try:
        pixels = picture.decode(data, "any\nname")
    except SourceError as error:
        message = str(error)
    if pixels is None:
        assert message.isprintable()
        assert message.startswith(r"'any\nname': ")
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.size > 0


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_thousands_of_scans_is_refused(progressive: bool) -> None:
    if progressive:
        data = PICTURES["progressive"]
        start = data.rindex(b"\xff\xda")
        scan = data[start:-2]
    else:  # one component at a time, each scan of nothing but the end of all blocks
        data = encoded(Image.fromarray(RGB), "JPEG")
        start = data.index(b"\xff\xda")
        scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(40)
    few, many = (data[: start if times else None] + scan * times + b"\xff\xd9" for times in (20, 5000))
    assert picture.decode(few).shape == RGB.shape
    assert picture.decode(data).shape == RGB.shape
    with pytest.raises(SourceError, match="the JPEG picture is made of more than 100 scans"):
        picture.decode(many)


def test_a_photograph_of_one_scan_may_hold_anything_in_it() -> None:
    data = PICTURES["JPEG"]
    comment = b"\xff\xda" * 1000  # as a profile, or bytes behind the end, could hold by chance
    marked = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:] + comment + b"\xff\xd9"
    assert (picture.decode(marked) == picture.decode(data)).all()


@pytest.mark.parametrize("format", [format for format in ("JPEG2000", "AVIF") if format in FORMATS])
def test_pictures_that_take_much_memory_to_decode_have_a_limit_of_their_own(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "MAX_COSTLY", RGB.shape[0] * RGB.shape[1])
    assert picture.decode(PICTURES[format]).shape == RGB.shape
    monkeypatch.setattr(picture, "MAX_COSTLY", RGB.shape[0] * RGB.shape[1] - 1)
    with pytest.raises(SourceError, match="bytes: more pixels than the 2239 that are decoded of JPEG 2000 and AVIF"):
        picture.decode(PICTURES[format])


def test_a_small_file_that_says_it_is_a_large_picture_is_not_decoded() -> None:
    data = bytearray(PICTURES["JPEG2000"])
    size = data.index(b"\xff\x4f\xff\x51") + 8
    for start in (0, size - 8):  # in its container, and without one
        data[size : size + 8] = struct.pack(">II", 16384, 16384)
        with pytest.raises(SourceError, match="more pixels than the 67108864 that are decoded"):
            picture.decode(bytes(data[start:]))


STARTS = [b"", b"P7\n", b"#?RADIANCE\n", *sorted({data[:12] for data in PICTURES.values()})]


@given(st.sampled_from(STARTS), st.binary())
@example(b"PF\n2 2\n-1.0\n", np.ones((2, 2, 3), np.float32).tobytes())
@example(b"Pf\n2 2\n-1.0\n", np.ones((2, 2), np.float32).tobytes())
@settings(deadline=None)
def test_random_bytes_give_a_picture_or_an_error_of_one_line(start: bytes, rest: bytes) -> None:
    check_picture_or_error(start + rest)


@given(st.sampled_from(sorted(PICTURES)), st.integers(0), st.binary(min_size=1, max_size=8), st.integers(0, 2**16))
@settings(deadline=None, max_examples=300)
def test_a_damaged_picture_gives_a_picture_or_an_error_of_one_line(
    format: str, place: int, damage: bytes, missing: int
) -> None:
    data = bytearray(PICTURES[format])
    place %= len(data)
    data[place : place + len(damage)] = damage
    check_picture_or_error(bytes(data[: len(data) - missing % len(data)] if missing % 2 else data))


# --- to_rgb


def test_arrays_of_every_accepted_kind_become_rgb() -> None:
    grey = RGB[..., 1]
    tripled = np.dstack([grey] * 3)
    assert (picture.to_rgb(grey) == tripled).all()
    assert (picture.to_rgb(grey[..., None]) == tripled).all()
    assert (picture.to_rgb(np.dstack([RGB, ALPHA])) == RGB).all()
    assert (picture.to_rgb(RGB.astype(np.uint16) * 257) == RGB).all()
    assert (picture.to_rgb(RGB.astype(">u2") * np.array(257, ">u2")) == RGB).all()
    assert (picture.to_rgb(grey > 99) == np.where(tripled > 99, 255, 0)).all()
    turned = picture.to_rgb(RGB[::-1, :, ::-1])
    assert turned.flags.c_contiguous
    assert (turned == RGB[::-1, :, ::-1]).all()


def test_an_rgb_array_is_not_copied() -> None:
    assert np.shares_memory(picture.to_rgb(RGB), RGB)


@pytest.mark.parametrize(
    ("pixels", "hint"),
    [
        (RGB / 255, r"must be uint8, uint16 or bool, not float64; for values in 0..1 give (255 * x).round()"),
        (RGB.astype(np.int32), "not int32"),
        (RGB.astype(object), "not object"),
        (RGB.transpose(2, 0, 1), "must be [H, W], [H, W, 3] or [H, W, 4], not [3, 40, 56]; channels come last"),
        (RGB[None], "not [1, 40, 56, 3]; give several pictures as a list"),
        (RGB[0, 0], "not [3]"),
        (np.dstack([RGB, RGB]), "not [40, 56, 6]"),
        (RGB[:0], "the picture has no pixels: [0, 56, 3]"),
        ("street.jpg", "expected a numpy array or a PIL image; found str"),
        (None, "found NoneType"),
    ],
)
def test_arrays_that_are_no_picture_are_refused_with_a_hint(pixels: Any, hint: str) -> None:
    with pytest.raises(SourceError, match=f"^array 3: .*{re.escape(hint)}"):
        picture.to_rgb(pixels, "array 3")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_pil_image_of_any_mode_becomes_what_pil_makes_of_it(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    assert (picture.to_rgb(image) == np.asarray(image.convert("RGB"))).all()


def test_a_pil_image_is_turned_as_its_exif_says_and_its_sixteen_bits_are_scaled() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(RGB), "PNG", exif=exif)
    assert (picture.to_rgb(Image.open(io.BytesIO(data))) == picture.decode(data)).all()
    assert (picture.to_rgb(Image.fromarray(RGB[..., 0].astype(np.uint16) * 257))[..., 2] == RGB[..., 0]).all()
    with pytest.raises(SourceError, match="not float32"):
        picture.to_rgb(Image.fromarray(RGB[..., 0].astype(np.float32)))


def test_a_pil_palette_with_transparency_raises_no_warning() -> None:
    image = Image.fromarray(RGB).quantize(16)
    image.info["transparency"] = bytes(16)
    assert (picture.to_rgb(image) == np.asarray(Image.fromarray(RGB).quantize(16).convert("RGB"))).all()


def test_a_pil_image_whose_file_is_cut_short_is_a_source_error() -> None:
    image = Image.open(io.BytesIO(PICTURES["JPEG"][:-200]))
    with pytest.raises(SourceError, match="half: PIL cannot read the picture: image file is truncated"):
        picture.to_rgb(image, "half")


# --- read: files


def test_a_file_reads_as_its_bytes_decode(tmp_path: Path) -> None:
    path = tmp_path / "ein Bild.jpg"
    path.write_bytes(PICTURES["JPEG"])
    assert (picture.read(path) == picture.decode(PICTURES["JPEG"])).all()
    assert (picture.read(str(path)) == picture.decode(PICTURES["JPEG"])).all()


def test_a_file_that_cannot_be_read_says_so_in_one_line_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "two\nlines.jpg").write_text("hello")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(picture.MAX_FILE + 1)  # takes no room on disk
    for name, reason in [
        ("missing.jpg", "missing.jpg: no such file or folder"),
        ("empty.jpg", "empty.jpg: the file is empty"),
        ("folder.jpg", "folder.jpg: expected a picture, found a folder"),
        ("two\nlines.jpg", r"two\nlines.jpg': not a picture of a known format"),
        ("huge.jpg", "huge.jpg: 1073741825 bytes are too many for a picture"),
        ("nu\0ll.jpg", "embedded null byte"),
        ("x" * 5000, "File name too long"),
        ("empty.jpg/y.jpg", "Not a directory"),
    ]:
        with pytest.raises(SourceError) as caught:
            picture.read(tmp_path / name)
        assert reason in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(SourceError, match=r"pipe\.jpg: not an ordinary file"):
        picture.read(tmp_path / "pipe.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(PICTURES["JPEG"])
    path.chmod(0)
    with pytest.raises(SourceError, match=r"secret\.jpg: Permission denied"):
        picture.read(path)


# --- read: URLs


class Server(BaseHTTPRequestHandler):
    """Answers by the path: the picture, or some misbehaviour."""

    def do_GET(self) -> None:
        data = PICTURES["JPEG"]
        if self.path == "/picture.jpg?size=1" or self.path == "/stra%C3%9Fe%20.jpg":
            self.answer(data, len(data))
        elif self.path == "/short":
            self.answer(data[:-500], len(data))
        elif self.path == "/page":
            self.answer(b"<html>", 6)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path in ("/ftp", "/around"):
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/x.jpg" if self.path == "/ftp" else "/page")
            self.end_headers()
            while self.path == "/around":
                self.wfile.write(bytes(1 << 16))
        elif self.path == "/header":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
            for _ in range(200):
                self.wfile.write(b"x")
                time.sleep(0.02)
        elif self.path == "/slow":
            self.answer(b"", 10**6)
            for _ in range(200):
                self.wfile.write(b"\xff")
                time.sleep(0.02)
        elif self.path == "/silent":
            time.sleep(1)
        elif self.path == "/endless":
            self.answer(b"", None)
            while True:
                self.wfile.write(bytes(1 << 16))
        else:
            self.send_error(404)

    def answer(self, data: bytes, length: int | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what is tested here."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Quiet(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_picture_comes_from_a_web_server(server: str) -> None:
    expected = picture.decode(PICTURES["JPEG"])
    assert (picture.read(f"{server}/picture.jpg?size=1") == expected).all()
    assert (picture.read(f"{server}/straße .jpg") == expected).all()
    assert (picture.read(f"{server}/picture.jpg?size=1".replace("http", "HTTP", 1)) == expected).all()


def test_what_a_web_server_does_wrong_is_said_in_one_line(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "MAX_DOWNLOAD", 1 << 20)
    monkeypatch.setattr(picture, "DOWNLOAD_TIME", 0.3)
    monkeypatch.setattr(picture, "SILENCE", 0.2)
    for page, reason in [
        ("/missing.jpg", "the server answers 404 Not Found"),
        ("/short", f"the connection broke after {len(PICTURES['JPEG']) - 500} of {len(PICTURES['JPEG'])} bytes"),
        ("/page", "not a picture of a known format"),
        ("/moved", "302"),
        ("/ftp", "unknown url type: ftp"),
        ("/around", "not a picture of a known format"),
        ("/header", "the server is too slow; given up after 0.3 s"),
        ("/slow", "the server is too slow"),
        ("/silent", "timed out"),
        ("/endless", "at most 1048576 bytes are downloaded"),
    ]:
        start = time.monotonic()
        with pytest.raises(SourceError) as caught:
            picture.read(server + page)
        assert str(caught.value).startswith(f"{server}{page}: ")
        assert reason in str(caught.value)
        assert str(caught.value).isprintable()
        assert time.monotonic() - start < 1


def test_a_server_that_is_slow_to_agree_on_keys_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "DOWNLOAD_TIME", 0.3)
    done = threading.Event()

    def trickle(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            client.sendall(b"\x16\x03\x03\x3f\xff")  # a record of TLS with 16383 bytes
            while not done.wait(0.02):
                client.sendall(b"\x02")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        start = time.monotonic()
        with pytest.raises(SourceError, match="too slow"):
            picture.read(f"https://127.0.0.1:{listener.getsockname()[1]}/x.jpg")
        assert time.monotonic() - start < 5
        done.set()
        thread.join()


def test_a_url_that_leads_nowhere_is_said_in_one_line() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        for url, reason in [
            (f"http://127.0.0.1:{bound.getsockname()[1]}/x.jpg", "Connection refused"),
            ("http://", "no host given"),
            ("http://[", "Invalid IPv6 URL"),
            ("http://a b/x.jpg", "a%20b|a b|Name|name|known"),
            ("http://127.0.0.1:port/", "port"),
            ("http://\udcff/", "surrogates not allowed"),
        ]:
            with pytest.raises(SourceError, match=reason) as caught:
                picture.read(url)
            assert str(caught.value).isprintable()


# --- what is printed, and what is imported


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_opencv_prints_nothing_about_a_broken_picture(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(PICTURES["TIFF"][:-100])
    code = "import sys; from onelook.runtime import picture; picture.read(sys.argv[1])"
    done = run(code, str(tmp_path / "x.tif"))
    assert done.stderr.count("Error: ") == 1
    assert "WARN" not in done.stderr
    assert "[ERROR" not in done.stderr


def test_with_native_stderr_silenced_only_python_prints(tmp_path: Path) -> None:
    data = PICTURES["JPEG"]
    (tmp_path / "x.jpg").write_bytes(data[:-2] + bytes(50) + data[-2:])
    code = """if True:
        import sys
        from onelook.runtime import picture, terminal
        if len(sys.argv) > 2:
            terminal.silence_native_stderr()
        picture.read(sys.argv[1])
        print("Größe", file=sys.stderr)
    """
    assert "extraneous bytes" in run(code, str(tmp_path / "x.jpg")).stderr
    assert run(code, str(tmp_path / "x.jpg"), "silenced").stderr == "Größe\n"


def test_reading_pictures_imports_neither_pil_nor_the_web_nor_torch() -> None:
    code = "import sys; import onelook.runtime.sources; print({'PIL', 'urllib.request', 'torch'} & set(sys.modules))"
    assert run(code).stdout == "set()\n"
