"""Outlines along the borders of pixels: filled by COCO's tools, and by a plain loop, they give back the mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from skimage.measure import label

from onelook.data.polygons import fill
from onelook.metrics.masks import encode
from onelook.runtime.outlines import polygons

Polygon = NDArray[np.int64]
masks = nps.arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def filled(outlines: list[Polygon], shape: tuple[int, int]) -> dict[str, object]:
    """As COCO's tools do: the union of the polygons, in run lengths."""
    return coco_mask.merge(coco_mask.frPyObjects([one.ravel().astype(float).tolist() for one in outlines], *shape))


def inside(outline: Polygon, x: float, y: float) -> bool:
    """Whether a ray from the point to the right crosses the outline an odd number of times."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(outline.tolist(), np.roll(outline, -1, 0).tolist(), strict=True):
        crossings += x1 == x2 > x and min(y1, y2) < y < max(y1, y2)
    return crossings % 2 == 1


def area(outline: Polygon) -> float:
    x, y = outline.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@given(masks)
def test_filling_the_outlines_gives_back_any_mask_with_all_its_holes(mask: NDArray[np.bool_]) -> None:
    outlines = polygons(mask)
    if mask.any():
        assert filled(outlines, mask.shape) == coco_mask.encode(np.asfortranarray(mask, np.uint8))
        np.testing.assert_array_equal(fill(outlines, mask.shape), mask)
        own = tuple(outline.astype(np.float32) for outline in outlines)  # as a dataset's labels
        assert encode(own, mask.shape)["counts"] == encode(mask, mask.shape)["counts"]
    else:
        assert outlines == []
    for y, x in np.ndindex(mask.shape):
        assert sum(inside(outline, x + 0.5, y + 0.5) for outline in outlines) == mask[y, x]


@given(masks)
def test_each_part_has_one_outline_of_exactly_its_area(mask: NDArray[np.bool_]) -> None:
    parts = label(mask, connectivity=1)
    areas = sorted(np.bincount(parts.ravel())[1:].tolist())
    assert sorted(area(outline) for outline in polygons(mask)) == areas


@given(masks)
def test_outlines_have_corners_alone_and_go_along_the_pixels(mask: NDArray[np.bool_]) -> None:
    for outline in polygons(mask):
        assert outline.min() >= 0
        assert (outline.max(0) <= mask.shape[::-1]).all()
        steps = np.roll(outline, -1, 0) - outline
        assert ((steps != 0).sum(1) == 1).all()
        turned = (steps != 0)[:, 0] != np.roll(steps != 0, -1, 0)[:, 0]
        back = (np.sign(steps) == -np.sign(np.roll(steps, -1, 0))).all(1)
        assert (turned | back).all()


def test_a_rectangle_is_its_four_corners() -> None:
    mask = np.zeros((40, 50), bool)
    mask[20:30, 7:27] = True
    (outline,) = polygons(mask)
    assert sorted(map(tuple, outline.tolist())) == [(7, 20), (7, 30), (27, 20), (27, 30)]
    assert area(outline) == 200


def test_a_hole_is_cut_open_from_its_upper_left_corner() -> None:
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    (outline,) = polygons(mask)
    assert area(outline) == 8
    assert len(outline) == 10
    rows = outline.tolist()
    assert [rows.count(corner) for corner in ([1, 0], [1, 1], [2, 2])] == [2, 1, 1]


def test_pixels_that_touch_at_a_corner_are_two_parts() -> None:
    assert [area(outline) for outline in polygons(np.eye(2, dtype=bool))] == [1, 1]
