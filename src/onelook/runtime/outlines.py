"""The outlines of a mask: polygons along the borders of its pixels, as COCO's annotations mean them.

A box from 0 to 10 is ten pixels wide, so the polygon of a filled rectangle has exactly its area. `cv2.findContours` goes
from centre to centre of the outermost pixels instead, and across the corners of holes.
"""

import numpy as np
from numpy.typing import NDArray

# The sides of a pixel in the order in which its outline, clockwise, goes along them: (row, column) of the neighbour
# there, and of the corner at the end of the side.
_SIDES = (((-1, 0), (0, 1)), ((0, 1), (1, 1)), ((1, 0), (1, 0)), ((0, -1), (0, 0)))
_RIGHT, _LEFT = 1, 3


def polygons(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """One polygon for each part of a mask that hangs together by the sides of its pixels.

    A hole is cut open: the outline runs into it, around it, and back on the same line. So each polygon has the area of
    its part, and to fill all of them gives the mask.

    Args:
        mask: [H, W].

    Returns:
        Each [P, 2]: x, y of its corners, clockwise, whole numbers from 0 to W and H.
    """
    framed = np.pad(np.asarray(mask, np.bool_), 1)
    width, flat = framed.shape[1], framed.ravel()
    border = np.zeros((4, flat.size), np.bool_)  # whether the outline goes along this side of that pixel
    inner = slice(width, flat.size - width)
    for side, step in enumerate(_steps(width)):
        border[side, inner] = flat[inner] > flat[inner.start + step : inner.stop + step]
    rings = _rings(border, width)
    holes = [ring for ring in rings if _is_hole(ring)]
    for hole in holes:
        # From its upper left corner up, between two columns, to the next border.
        x, y = min(hole.tolist(), key=lambda corner: (corner[1], corner[0]))
        length = int(framed[y::-1, x : x + 2].all(1).argmin())
        cut = (y + 1) * width + x + 1 - width * np.arange(1, length + 1)
        border[_LEFT, cut] = border[_RIGHT, cut - 1] = True
    return _rings(border, width) if holes else rings


def _steps(width: int) -> list[int]:
    """From a pixel to the neighbour at each side, in pictures of that width that are one row of pixels."""
    return [row * width + column for (row, column), _ in _SIDES]


def _rings(border: NDArray[np.bool_], width: int) -> list[NDArray[np.int64]]:
    """The corners [P, 2] of each closed line of borders [4, pixels], which has the mask on its right."""
    places = np.flatnonzero(border)
    sides, pixels = np.divmod(places, border.shape[1])
    # What comes next: the next side of the same pixel, or the same side of the neighbour there, or, past that one, of
    # the pixel diagonally ahead, the side before.
    steps, turned = _steps(width), (sides + 1) % 4
    ahead = pixels + np.take(steps, turned)
    turns, straight = border[turned, pixels], border[sides, ahead]
    next_side = np.where(turns, turned, np.where(straight, sides, (sides - 1) % 4))
    next_pixel = np.where(turns, pixels, np.where(straight, ahead, ahead + np.take(steps, sides)))
    successor: list[int] = np.searchsorted(places, next_side * border.shape[1] + next_pixel).tolist()

    row, column = np.divmod(pixels, width)
    corners = np.stack([column, row], 1) - 1 + np.array([corner[::-1] for _, corner in _SIDES])[sides]
    bends = next_side != sides
    rings = []
    seen = bytearray(len(places))
    for start in np.flatnonzero(bends).tolist():
        if not seen[start]:
            ring, place = [], start
            while not seen[place]:
                seen[place] = True
                ring.append(place)
                place = successor[place]
            rings.append(corners[ring][bends[ring]])
    return rings


def _is_hole(ring: NDArray[np.int64]) -> bool:
    x, y = ring.T
    return bool(x @ np.roll(y, -1) < y @ np.roll(x, -1))
