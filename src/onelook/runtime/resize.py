"""From a picture of any size to a network's input, and boxes and masks back."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.runtime.picture import Reduced

RESIZES = ("letterbox", "stretch", "crop")
SAMPLINGS = ("linear", "darknet")
GREY = 128  # of the bars; Darknet has 0.5
ENOUGH = 1.5  # pixels a side of a reduced picture for each pixel of the input
_LONGEST = 32766  # side that OpenCV's warps take


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the network's input.

    Attributes:
        scale: input pixels per picture pixel, along x and y.
        offset: of the picture's left and top edge in the input, pixels; below 0 where the picture is cropped.
        width, height: of the picture, pixels.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    width: int
    height: int

    def to_picture(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes [N, 4] xyxy in pixels of the input -> in pixels of the picture, cut at its edges."""
        moved = (boxes - np.asarray(self.offset * 2, np.float32)) / np.asarray(self.scale * 2, np.float32)
        edge = np.asarray((self.width, self.height) * 2, np.float32)
        return np.clip(moved, 0, edge)

    def pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row and the column of the input that each row [H] and column [W] of the picture is nearest to.

        Those of the bars are not among them. Of a picture that was not cropped.
        """
        columns, rows = (
            (2 * np.arange(side) + 1) * round(side * scale) // (2 * side) + int(offset)
            for side, scale, offset in zip((self.width, self.height), self.scale, self.offset, strict=True)
        )
        return rows, columns


def place(
    image: NDArray[np.uint8] | Reduced,
    canvas: NDArray[np.uint8],
    resize: str,
    sampling: str,
    crop: float = 1.0,
) -> Placement:
    """Draw a picture [H, W, 3] into a network's input [h, w, 3].

    Args:
        image: the picture; "darknet" takes none that is reduced.
        canvas: the input, overwritten.
        resize: "letterbox" keeps the picture's shape between grey bars, "stretch" fills the input, "crop" fills it with
            the middle of the picture in the shape of the input.
        sampling: "linear" between the centres of pixels, or "darknet", as Darknet does and its published figures have it:
            between the corner pixels of both pictures, without rounding the half of an odd bar when boxes are mapped
            back, and with a black last row where float32 falls short of the last row of the picture.
        crop: side of the largest part that "crop" can take, of which it takes so much, 0..1.
    """
    if not isinstance(image, Reduced):
        image = Reduced(image, image.shape[1], image.shape[0])
    width, height = image.width, image.height
    rows, columns = canvas.shape[:2]
    (left, top, part_width, part_height), (inner_width, inner_height) = _fit(width, height, rows, columns, resize, crop)
    bars = columns - inner_width, rows - inner_height
    x, y = bars[0] // 2, bars[1] // 2
    if bars != (0, 0):
        canvas[:] = GREY
    part = canvas[y : y + inner_height, x : x + inner_width]
    if image.factor > 1:
        _from_reduced(image, (left, top, part_width, part_height), part)
    else:
        pixels = image.pixels[top : top + part_height, left : left + part_width]
        if sampling == "darknet":
            _between_corners(pixels, part)
        else:
            cv2.resize(pixels, (inner_width, inner_height), dst=part, interpolation=cv2.INTER_LINEAR)
    scale = inner_width / part_width, inner_height / part_height
    bar = (bars[0] / 2, bars[1] / 2) if sampling == "darknet" else (float(x), float(y))
    return Placement(scale, (bar[0] - left * scale[0], bar[1] - top * scale[1]), width, height)


def reduction(width: int, height: int, size: tuple[int, int], resize: str, sampling: str, crop: float = 1.0) -> int:
    """By how much a picture may be reduced before `place` draws it into an input of `size`, rows and columns: 1, 2, 4 or 8.

    Along each side there stay at least `ENOUGH` pixels for one of the input. With "darknet" nothing is reduced: pixels,
    and with them the figures, are Darknet's own.
    """
    if sampling == "darknet":
        return 1
    part, inner = _fit(width, height, *size, resize, crop)
    most = min(part[2] / inner[0], part[3] / inner[1]) / ENOUGH
    return max((n for n in (2, 4, 8) if n <= most), default=1)


def _fit(
    width: int, height: int, rows: int, columns: int, resize: str, crop: float
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """The part of a picture that is taken: left, top, width, height; and the width and height that it gets in the input."""
    if resize == "crop":
        unit = crop * min(height / rows, width / columns)  # picture pixels per input pixel
        part_height, part_width = max(1, round(rows * unit)), max(1, round(columns * unit))
        return ((width - part_width) // 2, (height - part_height) // 2, part_width, part_height), (columns, rows)
    if resize == "stretch":
        inner = columns, rows
    elif columns * height < rows * width:
        inner = columns, max(1, height * columns // width)
    else:
        inner = max(1, width * rows // height), rows
    return (0, 0, width, height), inner


def _from_reduced(image: Reduced, area: tuple[int, int, int, int], part: NDArray[np.uint8]) -> None:
    """Bilinear sampling of an area of the whole picture: left, top, width, height.

    The sides of a picture need not be multiples of the factor, so the area's edges can lie within a reduced pixel;
    `cv2.resize` takes whole ones alone.
    """
    rows, columns = part.shape[:2]
    left, top = area[0] + image.left, area[1] + image.top
    scale = area[2] / columns / image.factor, area[3] / rows / image.factor  # reduced pixels per input pixel
    matrix = (
        (scale[0], 0, left / image.factor + scale[0] / 2 - 0.5),
        (0, scale[1], top / image.factor + scale[1] / 2 - 0.5),
    )
    cv2.warpAffine(
        image.pixels,
        np.array(matrix),
        (columns, rows),
        dst=part,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _between_corners(image: NDArray[np.uint8], part: NDArray[np.uint8]) -> None:
    """Bilinear sampling that takes corner pixels to corner pixels."""
    step = -(-max(image.shape) // _LONGEST)
    image = image[::step, ::step]
    height, width = image.shape[:2]
    rows, columns = part.shape[:2]
    scale = (width - 1) / max(columns - 1, 1), (height - 1) / max(rows - 1, 1)
    cv2.warpAffine(
        image,
        np.array(((scale[0], 0, 0), (0, scale[1], 0))),
        (columns, rows),
        dst=part,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    last = np.float32(rows - 1) * (np.float32(height - 1) / np.float32(max(rows - 1, 1)))
    if rows > 1 and last < height - 1:
        part[-1] = 0
