"""What the results of all tasks share: the picture they are of, drawn on and saved."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error

JPEG_QUALITY = 90
_IN_MEMORY = re.compile(r"(array|image|bytes)( \d+)?")  # what `sources` calls pictures that have no name


class Result(Protocol):
    """What a model found in one picture."""

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""

    @property
    def source(self) -> str:
        """Where the picture came from: a path, a URL, "camera 0", "array"."""

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """The picture itself where it was kept: RGB [H, W, 3]."""

    @property
    def frame(self) -> int | None:
        """Its number in its video or camera stream, from 0."""

    @property
    def time(self) -> float | None:
        """Seconds since the start of the video."""

    @property
    def fps(self) -> float | None:
        """Frames a second of that video."""

    def draw(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The picture with what was found on it: a copy, RGB uint8 [H, W, 3]."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pixels, ready for JSON."""


def is_file(source: str, frame: int | None) -> bool:
    """Whether a picture is in a file of its own on this machine, by the source and frame of its result."""
    from onelook.runtime.picture import is_web

    return frame is None and not _IN_MEMORY.fullmatch(source) and not is_web(source)


def picture_of(result: Result, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The picture to draw on, RGB uint8 [H, W, 3].

    Args:
        result: of a picture.
        image: that picture; by default the one that was kept, or else it is read again from its source.

    Raises:
        Error: there is no picture to draw on, or it is of another size than the one that was looked at.
    """
    from onelook.runtime import picture

    source = result.source
    if image is not None:
        image = picture.to_rgb(image)
    elif result.image is not None:
        image = result.image
    elif is_file(source, result.frame) or picture.is_web(source):
        image = picture.read(source)
    else:
        what = source if result.frame is None else f"frame {result.frame} of {source}"
        raise Error(f"{picture.shown(what)}: the picture was not kept; give it to draw: .draw(image)")
    if image.shape[:2] != (result.height, result.width):
        size = f"{image.shape[1]} × {image.shape[0]}"
        raise Error(
            f"{picture.shown(source)}: cannot draw on a picture of {size}; the result is of {result.width} × {result.height}"
        )
    return image


def describe(result: Result) -> dict[str, Any]:
    """How `to_dict` begins: "source", "frame" and "time" (seconds) for a picture of a video, "width", "height"."""
    moment = {"frame": result.frame, "time": None if result.time is None else round(result.time, 3)}
    return {
        "source": result.source,
        **{key: value for key, value in moment.items() if value is not None},
        "width": result.width,
        "height": result.height,
    }


def rounded(values: NDArray[Any], decimals: int) -> list[Any]:
    """The numbers as Python's, in float64: float32 0.9 would print as 0.8999999761581421."""
    found: list[Any] = values.astype(np.float64).round(decimals).tolist()
    return found


def flat(polygons: Iterable[NDArray[np.int64]]) -> list[list[int]]:
    """Polygons [P, 2] as COCO writes them: x, y, x, y, ..."""
    return [polygon.ravel().tolist() for polygon in polygons]


def png(values: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """A grey PNG file of values [H, W], of 8 or 16 bits."""
    import cv2

    return cv2.imencode(".png", values)[1].tobytes()


def save(result: Result, path: str | Path) -> Path:
    """Draws the picture into a file, in the format of its suffix (.jpg, .png, .webp, ...), and gives its path.

    The file appears whole or not at all; one that is there is replaced. Raises Error as `picture_of` does, for an
    unknown format, and where the file cannot be written.
    """
    from onelook.runtime import atomic

    path = Path(path)
    atomic.write(path, encode(result.draw(), path))
    return path


def encode(image: NDArray[np.uint8], path: Path) -> bytes:
    """The bytes of a picture file; the suffix of `path` names the format, JPEG is of quality 90.

    Args:
        image: RGB uint8 [H, W, 3].

    Raises:
        Error: a format that is unknown, or cannot hold a picture of that size (JPEG: 65,500 pixels a side).
    """
    import cv2

    if not cv2.haveImageWriter(path.name):
        raise Error(
            f"cannot write {path}: {path.suffix or 'no suffix'!r} is no picture format known here; try .jpg or .png"
        )
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix.lower() in {".jpg", ".jpeg"} else []
    try:
        done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    except cv2.error:
        done = False
    if not done:
        raise Error(f"cannot write {path}: the format cannot hold {image.shape[1]} × {image.shape[0]} pixels; try .png")
    return data.tobytes()
