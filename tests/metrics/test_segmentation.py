"""Mean IoU against counting pixel by pixel, and against the masks' sets of pixels."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelook.metrics.segmentation import mean_iou

NAMES = ("background", "cat", "dog", "bird")
Maps = list[NDArray[np.integer]]


def random(seed: int, pictures: int, classes: int = 4) -> tuple[Maps, Maps]:
    """Truths, of which some pixels are undecided, and masks that are mostly right; some classes may not be there."""
    rng = np.random.default_rng(seed)
    truths: Maps = []
    masks: Maps = []
    for _ in range(pictures):
        truth = rng.integers(0, classes, rng.integers(1, 8, 2)).astype(np.uint8)
        mask = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, classes, truth.shape))
        truths.append(np.where(rng.random(truth.shape) < 0.2, 255, truth).astype(np.uint8))
        masks.append(mask.astype(rng.choice([np.uint8, np.int64])))
    return truths, masks


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(1, 4))
def test_it_is_what_counting_pixel_by_pixel_gives(seed: int, pictures: int, classes: int) -> None:
    truths, masks = random(seed, pictures, classes)
    pairs = [
        (t, m)
        for truth, mask in zip(truths, masks, strict=True)
        for t, m in zip(truth.ravel().tolist(), mask.ravel().tolist(), strict=True)
        if t != 255
    ]
    result = mean_iou(truths, masks, NAMES)
    for i in range(4):
        assert result.confusion[i].tolist() == [pairs.count((i, j)) for j in range(4)]
        either = [pair for pair in pairs if i in pair]
        expected = sum(pair == (i, i) for pair in either) / len(either) if either else float("nan")
        assert result.class_iou[i] == pytest.approx(expected, nan_ok=True)
    known = [x for x in result.class_iou.tolist() if not math.isnan(x)]
    assert result.mean_iou == pytest.approx(sum(known) / len(known) if known else float("nan"), nan_ok=True)
    right = sum(t == m for t, m in pairs) / len(pairs) if pairs else float("nan")
    assert result.pixel_accuracy == pytest.approx(right, nan_ok=True)


def test_by_hand() -> None:
    truth = np.array([[1, 1, 0, 255], [1, 1, 0, 0]], np.uint8)
    mask = np.array([[1, 1, 1, 2], [1, 0, 0, 0]], np.uint8)
    result = mean_iou([truth], [mask], NAMES)
    assert result.class_iou[:2].tolist() == [2 / 4, 3 / 5]
    assert np.isnan(result.class_iou[2:]).all()  # a dog was seen where it does not count
    assert (result.mean_iou, result.pixel_accuracy) == (pytest.approx(0.55), 5 / 7)


def test_the_pixels_of_all_pictures_are_counted_together() -> None:
    truths, masks = random(3, 5)
    joined = [np.concatenate([x.ravel() for x in maps])[None] for maps in (truths, masks)]
    apart, together = mean_iou(truths, masks, NAMES), mean_iou([joined[0]], [joined[1]], NAMES)
    assert apart.confusion.tolist() == together.confusion.tolist()
    assert apart.mean_iou == together.mean_iou


def test_pictures_may_come_one_by_one() -> None:
    truths, masks = random(4, 3)
    assert mean_iou(iter(truths), iter(masks), NAMES).mean_iou == mean_iou(truths, masks, NAMES).mean_iou


ONE = np.ones((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("truths", "masks", "message"),
    [
        ([ONE], [], "shorter"),
        ([ONE, ONE], [ONE, ONE.T], r"picture 1: the truth is of shape \(2, 3\), the mask of \(3, 2\)"),
        ([4 * ONE], [ONE], "picture 0: classes must be from 0 to 3, or 255 in the truth"),
        ([ONE], [255 * ONE], "picture 0: classes must be from 0 to 3"),
        ([ONE], [-ONE.astype(np.int64)], "picture 0: classes must be from 0 to 3"),
    ],
)
def test_what_cannot_be_measured_is_refused(truths: Any, masks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_iou(truths, masks, NAMES)
