"""COCO's run lengths, held against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from pycocotools import mask as coco_mask

from onelook import rle

masks = nps.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1))


@given(masks)
def test_encoded_and_compressed_as_pycocotools_does(mask: np.ndarray) -> None:
    lengths = rle.encode(mask)
    expected = coco_mask.encode(np.asfortranarray(mask))["counts"]
    assert rle.compress(lengths) == expected
    assert rle.runs(expected).tolist() == lengths.tolist()
    np.testing.assert_array_equal(rle.decode(lengths, len(mask)), mask)


@given(masks, st.data())
def test_the_run_lengths_of_any_rows_and_columns_are_those_of_the_mask_made_of_them(
    mask: np.ndarray, data: st.DataObject
) -> None:
    rows = sorted(data.draw(st.lists(st.integers(0, mask.shape[0] - 1), min_size=1, max_size=60)))
    columns = data.draw(st.lists(st.integers(0, mask.shape[1] - 1), min_size=1, max_size=60))
    found = rle.encode(mask, np.array(rows), np.array(columns))
    assert found.tolist() == rle.encode(mask[rows][:, columns]).tolist()


@given(nps.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)))
def test_all_classes_at_once_are_encoded_as_each_alone(mask: np.ndarray) -> None:
    found = rle.encode_classes(mask)
    assert set(found) == set(np.unique(mask).tolist())
    for class_id, lengths in found.items():
        assert lengths.tolist() == rle.encode(mask == class_id).tolist()


@given(st.lists(st.integers(0, 2**36), min_size=1, max_size=30))
def test_any_lengths_come_back(lengths: list[int]) -> None:
    assert rle.runs(rle.compress(np.array(lengths))).tolist() == lengths


@given(st.binary(max_size=40) | st.text("0123456789:;<=>?@PQRSTUVWXYZ_`abcdeo", max_size=20).map(str.encode))
def test_any_bytes_are_lengths_or_a_value_error(text: bytes) -> None:
    try:
        assert rle.runs(text).min() >= 0
    except ValueError as error:
        assert "not a compressed mask" in str(error)


def test_a_mask_that_breaks_off_is_refused() -> None:
    with pytest.raises(ValueError, match="not a compressed mask"):
        rle.runs(b"P")
