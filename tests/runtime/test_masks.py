"""Masks of run lengths are used like an array, which they are held against."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from onelook import Masks

arrays = nps.arrays(np.bool_, st.tuples(st.integers(0, 4), st.integers(1, 12), st.integers(1, 12)))


@given(arrays, st.data())
def test_they_are_indexed_like_the_array(array: NDArray[np.bool_], data: st.DataObject) -> None:
    masks, count = Masks.of(array), len(array)
    np.testing.assert_array_equal(np.asarray(masks), array)
    assert np.asarray(masks).dtype == bool
    assert (len(masks), masks.height, masks.width) == array.shape
    for i in range(-count, count):
        np.testing.assert_array_equal(masks[i], array[i])
    yes = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    numbers = data.draw(st.lists(st.integers(0, count - 1))) if count else []
    part = data.draw(st.slices(count))
    np.testing.assert_array_equal(np.asarray(masks[yes]), array[np.array(yes, bool)])
    np.testing.assert_array_equal(np.asarray(masks[numbers]), array[np.array(numbers, int)])
    np.testing.assert_array_equal(np.asarray(masks[part]), array[part])
    for one, expected in zip(masks, array, strict=True):
        np.testing.assert_array_equal(one, expected)
    assert masks.areas.tolist() == array.sum((1, 2)).tolist()


@given(arrays)
def test_each_is_as_cocos_tools_have_it(array: NDArray[np.bool_]) -> None:
    masks = Masks.of(array.astype(np.uint8))
    for i, mask in enumerate(array):
        code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        assert masks.rle(i) == {"size": list(mask.shape), "counts": code["counts"].decode()}


@given(arrays)
def test_the_part_of_each_is_the_smallest_rectangle_around_it(array: NDArray[np.bool_]) -> None:
    masks = Masks.of(array)
    for i, mask in enumerate(array):
        (x, y), part = masks.part(i)
        if not mask.any():
            assert part.size == 0
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (x, y) == (columns[0], rows[0])
        np.testing.assert_array_equal(part, mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


@given(arrays)
def test_outlines_are_in_pixels_of_the_picture(array: NDArray[np.bool_]) -> None:
    masks = Masks.of(array)
    for i, mask in enumerate(array):
        parts = [polygon.ravel().astype(float).tolist() for polygon in masks.polygons(i)]
        assert bool(parts) == mask.any()
        if parts:
            filled = coco_mask.merge(coco_mask.frPyObjects(parts, *mask.shape))
            assert filled == coco_mask.encode(np.asfortranarray(mask, np.uint8))


def test_a_photograph_full_of_objects_takes_little_memory() -> None:
    small = np.zeros((100, 64, 64), bool)
    small[:, 4:60, 4:60] = True
    rows, columns = np.arange(3000) * 64 // 3000, np.arange(4000) * 64 // 4000
    masks = Masks.of(small, rows, columns)
    assert sum(runs.nbytes for runs in masks.runs) < 12e6  # of 1.2e9 pixels
    np.testing.assert_array_equal(masks[0], small[0][rows][:, columns])


def test_an_array_of_them_is_a_copy_of_any_type() -> None:
    masks = Masks.of(np.ones((1, 2, 3), bool))
    assert np.asarray(masks, np.float32).sum() == 6
    assert repr(masks) == "Masks(1 of 3 × 2)"
    with pytest.raises(ValueError, match="always a new one"):
        np.array(masks, copy=False)
