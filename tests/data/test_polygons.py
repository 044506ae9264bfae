"""Polygons against a naive loop over pixels, and against each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelook.data.polygons import cut, fill

corner = st.tuples(st.integers(-40, 200), st.integers(-40, 200)).map(lambda xy: (xy[0] / 8, xy[1] / 8))
shapes = st.lists(corner, min_size=3, max_size=8).map(lambda corners: np.array(corners, np.float32))


def naive(polygon: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixel by pixel: how many sides a ray from its middle to the left crosses."""
    inside = np.zeros(size, np.bool_)
    for row, column in np.ndindex(*size):
        px, py = column + 0.5, row + 0.5
        for (x1, y1), (x2, y2) in zip(polygon.tolist(), np.roll(polygon, -1, axis=0).tolist(), strict=True):
            if (y1 > py) != (y2 > py) and x1 + (py - y1) * (x2 - x1) / (y2 - y1) <= px:
                inside[row, column] = not inside[row, column]
    return inside


@given(shapes)
def test_filling_agrees_with_a_ray_from_every_pixel(polygon: NDArray[np.float32]) -> None:
    assert (fill([polygon], (16, 20)) == naive(polygon, (16, 20))).all()


@given(st.lists(shapes, max_size=3))
def test_an_object_of_several_parts_has_the_pixels_of_all(polygons: list[NDArray[np.float32]]) -> None:
    expected = np.zeros((16, 20), np.bool_)
    for polygon in polygons:
        expected |= naive(polygon, (16, 20))
    assert (fill(polygons, (16, 20)) == expected).all()


def test_a_rectangle_has_exactly_its_pixels() -> None:
    mask = fill([np.array(((2, 3), (7, 3), (7, 5), (2, 5)), np.float32)], (8, 9))
    assert mask.sum() == 10
    assert mask[3:5, 2:7].all()


@given(shapes, st.tuples(*[st.integers(0, 10)] * 2), st.tuples(*[st.integers(1, 9)] * 2))
def test_what_is_cut_has_the_pixels_of_the_area_alone(
    polygon: NDArray[np.float32], low: tuple[int, int], sides: tuple[int, int]
) -> None:
    left, top, right, bottom = (*low, low[0] + sides[0], low[1] + sides[1])
    part = cut(polygon, (left, top, right, bottom))
    assert (part >= np.array((left, top)) - 1e-4).all()
    assert (part <= np.array((right, bottom)) + 1e-4).all()
    window = np.zeros((20, 20), np.bool_)
    window[top:bottom, left:right] = True
    whole, mine = fill([polygon], (20, 20)) & window, fill([part], (20, 20))
    # Rounding moves a border that meets the middle of a pixel.
    close = [
        abs((x2 - x1) * (row + 0.5 - y1) - (y2 - y1) * (column + 0.5 - x1)) < 1e-2 * np.hypot(x2 - x1, y2 - y1)
        for row, column in np.argwhere(whole != mine).tolist()
        for x1, y1, x2, y2 in [np.concatenate((a, b)) for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True)]
    ]
    assert (whole == mine).all() or any(close)


@pytest.mark.parametrize("polygon", [np.zeros((0, 2), np.float32), np.full((5, 2), 3, np.float32)])
def test_nothing_is_filled_by_what_has_no_area(polygon: NDArray[np.float32]) -> None:
    assert not fill([polygon], (6, 6)).any()
    assert cut(polygon, (10, 10, 12, 12)).shape == (0, 2)
