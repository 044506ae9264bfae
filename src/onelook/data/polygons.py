"""Polygons: cut at the edges of an area, and filled. Each is [P, 2]: x, y of its corners in pixels."""

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.floating]


def cut(polygon: Polygon, area: tuple[float, float, float, float]) -> Polygon:
    """The part of a polygon within an area (xyxy): edge by edge (Sutherland and Hodgman, 1974).

    Where it leaves the area and comes back, the parts are tied along the edge, which encloses nothing.
    """
    for axis in (0, 1):
        for sign, bound in ((1, area[axis]), (-1, area[axis + 2])):
            beyond = sign * (polygon[:, axis] - bound)  # 0 or more inside
            inside, follows = beyond >= 0, np.roll(beyond, -1)
            crosses = inside != (follows >= 0)
            share = np.divide(beyond, beyond - follows, out=np.zeros_like(beyond), where=crosses)
            crossing = polygon + share[:, None] * (np.roll(polygon, -1, axis=0) - polygon)
            corners = np.stack((polygon, crossing), axis=1)
            polygon = corners[np.stack((inside, crosses), axis=1)]
    return polygon


def fill(polygons: "tuple[Polygon, ...] | list[Polygon]", size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a picture of `size` (height, width) whose centres lie in any of the polygons: bool [H, W].

    Inside is what an odd number of borders is to the left of.
    """
    height, width = size
    inside = np.zeros(size, np.bool_)
    for polygon in polygons:
        (x, y), (next_x, next_y) = (corners.astype(np.float64).T for corners in (polygon, np.roll(polygon, -1, axis=0)))
        # Each side crosses the middles of the rows from `first` to before `last`.
        first, last = (np.ceil(end(y, next_y) - 0.5).clip(0, height).astype(int) for end in (np.minimum, np.maximum))
        side = np.repeat(np.arange(len(x)), last - first)
        row = first[side] + np.arange(len(side)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        crossing = x[side] + (row + 0.5 - y[side]) * (next_x - x)[side] / (next_y - y)[side]
        column = np.ceil(crossing - 0.5).clip(0, width).astype(int)
        borders = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
        inside |= borders.reshape(height, width + 1).cumsum(axis=1)[:, :width] % 2 == 1
    return inside
