"""The share of right classes among the first k, against a loop over plain lists."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.metrics import top_k


def naive(scores: list[list[float]], classes: list[int], k: int) -> float:
    """A class is among the first k where fewer than k stand before it: the better ones, and equal ones with a lower id."""
    hits = 0
    for row, right in zip(scores, classes, strict=True):
        before = [j for j, score in enumerate(row) if score > row[right] or (score == row[right] and j < right)]
        hits += len(before) < k
    return hits / len(classes)


@st.composite
def scored(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    count, classes = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    score = st.sampled_from([-1.0, 0.0, 0.25, 0.5]) | st.floats(-1e6, 1e6, width=32)
    rows = [[draw(score) for _ in range(classes)] for _ in range(count)]
    return rows, [draw(st.integers(0, classes - 1)) for _ in range(count)]


@given(scored(), st.integers(1, 10))
def test_it_agrees_with_a_loop_on_any_scores_and_ties(case: tuple[list[list[float]], list[int]], k: int) -> None:
    scores, classes = case
    assert top_k(scores, classes, k) == pytest.approx(naive(scores, classes, k))
    if k >= len(scores[0]):
        assert top_k(scores, classes, k) == 1


def test_one_of_three_is_first_and_two_are_among_two() -> None:
    scores = [[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]
    found = [top_k(scores, [0, 1, 2], k) for k in (1, 2, 3)]
    assert found == pytest.approx([1 / 3, 2 / 3, 1])
    assert top_k(scores, [0, 1, 2]) == found[0]
    assert isinstance(found[0], float)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int8, np.int64, np.uint8, np.uint16])
def test_scores_of_any_type_are_ranked_by_their_value(kind: type) -> None:
    scores = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]).astype(kind)
    assert top_k(scores, [1, 0, 2], 1) == 1
    assert top_k(scores, [0, 1, 0], 1) == 0
    if kind is np.int8:
        assert top_k(np.array([[-128, 5]], np.int8), [1], 1) == 1


@pytest.mark.parametrize(
    ("scores", "classes", "k", "message"),
    [
        ([], [], 1, r"expected scores \[N, C\] and classes \[N\]; found \(0,\) and \(0,\)"),
        (np.zeros((0, 5)), [], 1, "expected scores"),
        (np.zeros((2, 0)), [0, 0], 1, "classes must be from 0"),
        ([0.1, 0.9], [1], 1, r"found \(2,\) and \(1,\)"),
        (np.zeros((2, 3, 1)), [0, 1], 1, "expected scores"),
        (np.zeros((2, 3)), [0], 1, r"found \(2, 3\) and \(1,\)"),
        (np.zeros((2, 3)), [[0], [1]], 1, "expected scores"),
        (np.zeros((2, 3)), 1, 1, "expected scores"),
        (np.zeros((2, 3)), [0, 3], 1, "classes must be from 0 to 2"),
        (np.zeros((2, 3)), [-1, 0], 1, "classes must be from 0 to 2"),
        (np.zeros((2, 3)), [0, 1], 0, "k must be 1 or more; found 0"),
        (np.zeros((2, 3)), [0, 1], -2, "k must be 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores: Any, classes: Any, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        top_k(scores, classes, k)
