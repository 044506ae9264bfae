"""The figures of a classifier, against top_k and counting."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.metrics import classifier_result, top_k

NAMES = ("cat", "dog", "bird")


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_it_agrees_with_top_k(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    scores, right = random.random((count, 7)), random.integers(0, 3, count)
    best = np.argsort(-scores, axis=1)[:, :5]
    result = classifier_result(best, right, NAMES, columns=7)
    assert result.top1 == pytest.approx(top_k(scores, right, 1))
    assert result.top5 == pytest.approx(top_k(scores, right, 5))
    for c in range(3):
        mine = right == c
        expected = top_k(scores[mine], right[mine], 1) if mine.any() else float("nan")
        assert result.class_top1[c] == pytest.approx(expected, nan_ok=True)
    assert result.confusion.shape == (3, 7)
    assert result.confusion.sum(1).tolist() == result.pictures.tolist() == np.bincount(right, minlength=3).tolist()
    assert np.trace(result.confusion[:, :3]) == pytest.approx(result.top1 * count)


@pytest.mark.parametrize(
    ("best", "classes", "message"),
    [
        ([], [], r"found \(0,\) and \(0,\)"),
        ([[0, 1]], [0, 1], r"found \(1, 2\) and \(2,\)"),
        ([[0, 1]], [3], "classes must be from 0 to 2"),
        ([[0, 9]], [0], "those of the model to 4"),
    ],
)
def test_what_cannot_be_measured_is_refused(best: Any, classes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier_result(best, classes, NAMES, columns=5)
