"""Pictures and points through a matrix.

A matrix is [3, 3] and takes x, y of the source to x, y of the result, in pixels counted from the left top edge: a
picture W pixels wide lies between 0 and W.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.runtime.resize import GREY

Matrix = NDArray[np.floating]

_EXACT = 1e-6  # pixels; rounding errors are smaller


def moved(x: float, y: float) -> Matrix:
    """Shifts by x, y pixels."""
    return np.array(((1, 0, x), (0, 1, y), (0, 0, 1)), np.float64)


def scaled(x: float, y: float) -> Matrix:
    """Makes x times as wide and y times as high."""
    return np.array(((x, 0, 0), (0, y, 0), (0, 0, 1)), np.float64)


def through(matrix: Matrix, points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Where points [..., 2] come to lie."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def warp_nearest(classes: NDArray[np.uint8], matrix: Matrix, canvas: NDArray[np.uint8], outside: int) -> None:
    """Fill the canvas [h, w] with the numbers [H, W], those that lie nearest, and with `outside` where there are none."""
    centres = moved(-0.5, -0.5) @ matrix @ moved(0.5, 0.5)  # OpenCV's coordinates
    cv2.warpAffine(
        classes,
        centres[:2],
        canvas.shape[::-1],
        dst=canvas,
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(outside,),
    )


def warp(image: NDArray[np.uint8], matrix: Matrix, canvas: NDArray[np.uint8]) -> None:
    """Fill the canvas [h, w, 3] with the picture [H, W, 3] and with grey where the picture is not.

    Between pixels it is bilinear. What gets much smaller is averaged over whole blocks of pixels before, as bilinear
    sampling would skip pixels.
    """
    height, width = image.shape[:2]
    rows, columns = canvas.shape[:2]
    seen = through(np.linalg.inv(matrix), np.array(((0.0, 0), (columns, 0), (0, rows), (columns, rows))))
    left, top = (seen.min(0) - 2).clip(0, (width, height)).astype(int)
    right, bottom = np.ceil(seen.max(0) + 2).clip(0, (width, height)).astype(int)
    if left == right or top == bottom:
        canvas[:] = GREY
        return
    part = image[top:bottom, left:right]
    block = (1 / np.hypot(*matrix[:2, :2])).astype(int).clip(1, (right - left, bottom - top))
    if block.max() > 1:
        blocks = (right - left) // block[0], (bottom - top) // block[1]
        whole = part[: blocks[1] * block[1], : blocks[0] * block[0]]
        part = np.asarray(cv2.resize(whole, blocks, interpolation=cv2.INTER_AREA), np.uint8)
    # OpenCV's coordinates are those of the pixels' centres.
    centres = moved(-0.5, -0.5) @ matrix @ moved(left, top) @ scaled(*block) @ moved(0.5, 0.5)
    covered = (seen >= -_EXACT).all() and (seen <= np.array((width, height)) + _EXACT).all()
    border = cv2.BORDER_REPLICATE if covered else cv2.BORDER_CONSTANT  # no grey comes in from beyond the edge
    cv2.warpAffine(part, centres[:2], (columns, rows), dst=canvas, borderMode=border, borderValue=(GREY,) * 3)
