"""COCO's run lengths, held against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from pycocotools import mask as coco_mask

from onelook.data import masks


@given(nps.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_compressed_as_pycocotools_does(pixels: np.ndarray) -> None:
    flat = pixels.reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    lengths = np.diff(np.concatenate([[0], edges, [len(flat)]]))
    expected = coco_mask.encode(np.asfortranarray(pixels))["counts"]
    assert masks.compress(lengths) == expected
    assert masks.runs(expected).tolist() == lengths.tolist()


@given(st.lists(st.integers(0, 2**36), min_size=1, max_size=30))
def test_any_lengths_come_back(lengths: list[int]) -> None:
    assert masks.runs(masks.compress(np.array(lengths))).tolist() == lengths


@given(st.binary(max_size=40) | st.text("0123456789:;<=>?@PQRSTUVWXYZ_`abcdeo", max_size=20).map(str.encode))
def test_any_bytes_are_lengths_or_a_value_error(text: bytes) -> None:
    try:
        assert masks.runs(text).min() >= 0
    except ValueError as error:
        assert "not a compressed mask" in str(error)


def test_a_mask_that_breaks_off_is_refused() -> None:
    with pytest.raises(ValueError, match="not a compressed mask"):
        masks.runs(b"P")
