"""From a picture of any size to a network's input, and boxes and masks back."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

RESIZES = ("letterbox", "stretch", "crop")
SAMPLINGS = ("linear", "darknet")
GREY = 128  # of the bars; Darknet has 0.5
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
    image: NDArray[np.uint8], canvas: NDArray[np.uint8], resize: str, sampling: str, crop: float = 1.0
) -> Placement:
    """Draw a picture [H, W, 3] into a network's input [h, w, 3].

    Args:
        image: the picture.
        canvas: the input, overwritten.
        resize: "letterbox" keeps the picture's shape between grey bars, "stretch" fills the input, "crop" fills it with
            the middle of the picture in the shape of the input.
        sampling: "linear" between the centres of pixels, or "darknet", as Darknet does and its published figures have it:
            between the corner pixels of both pictures, without rounding the half of an odd bar when boxes are mapped
            back, and with a black last row where float32 falls short of the last row of the picture.
        crop: side of the largest part that "crop" can take, of which it takes so much, 0..1.
    """
    height, width = image.shape[:2]
    rows, columns = canvas.shape[:2]
    if resize == "crop":
        return _crop(image, canvas, sampling, crop)
    if resize == "stretch":
        inner = columns, rows
    elif columns * height < rows * width:
        inner = columns, max(1, height * columns // width)
    else:
        inner = max(1, width * rows // height), rows
    bars = columns - inner[0], rows - inner[1]
    left, top = bars[0] // 2, bars[1] // 2
    if bars != (0, 0):
        canvas[:] = GREY
    part = canvas[top : top + inner[1], left : left + inner[0]]
    if sampling == "darknet":
        _between_corners(image, part)
        offset = bars[0] / 2, bars[1] / 2
    else:
        cv2.resize(image, inner, dst=part, interpolation=cv2.INTER_LINEAR)
        offset = float(left), float(top)
    return Placement((inner[0] / width, inner[1] / height), offset, width, height)


def _crop(image: NDArray[np.uint8], canvas: NDArray[np.uint8], sampling: str, crop: float) -> Placement:
    """Fill the input with the middle of the picture."""
    height, width = image.shape[:2]
    rows, columns = canvas.shape[:2]
    unit = crop * min(height / rows, width / columns)  # picture pixels per input pixel
    part_height, part_width = max(1, round(rows * unit)), max(1, round(columns * unit))
    top, left = (height - part_height) // 2, (width - part_width) // 2
    scale = columns / part_width, rows / part_height
    place(image[top : top + part_height, left : left + part_width], canvas, "stretch", sampling)
    return Placement(scale, (-left * scale[0], -top * scale[1]), width, height)


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
