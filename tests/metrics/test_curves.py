"""Curves and the best threshold, against counting anew for every threshold."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import pictures
from onelook.data.sample import Sample
from onelook.metrics.curves import curve, curves
from onelook.metrics.matching import outcome
from onelook.metrics.table import tables

scored = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), st.booleans()), min_size=1, max_size=12)


@given(scored, st.integers(0, 5))
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[float, bool]], more: int) -> None:
    scores, right = np.array([score for score, _ in rows]), np.array([hit for _, hit in rows])
    objects = int(right.sum()) + more
    found = curve(scores, right, objects).best
    if not objects:
        assert np.isnan(found.threshold)
        return

    def f1(threshold: float) -> float:
        kept = scores >= threshold
        return 2 * right[kept].sum() / (kept.sum() + objects)

    assert found.f1 == pytest.approx(max(f1(score) for score in scores))
    if not right.any():
        assert np.isnan(found.threshold)
        return
    assert f1(found.threshold) == pytest.approx(found.f1)
    assert not np.isin(found.threshold, scores)
    if found.f1:
        assert found.f1 == pytest.approx(2 * found.precision * found.recall / (found.precision + found.recall))


@given(scored, st.integers(0, 5))
def test_the_area_is_that_under_the_highest_precision_to_come(rows: list[tuple[float, bool]], more: int) -> None:
    scores, right = np.array([score for score, _ in rows]), np.array([hit for _, hit in rows])
    objects = int(right.sum()) + more
    made = curve(scores, right, objects)
    if objects:
        hits = np.flatnonzero(np.diff(made.right, prepend=0))
        expected = sum(max(made.precision[i:]) for i in hits) / objects
        assert made.ap == pytest.approx(expected)
    else:
        assert np.isnan(made.ap)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_the_classes_add_up_to_all(seed: int) -> None:
    truths, finds = tables(*pictures(seed, 4, 3, difficult=True), 3)
    together, of_class = curves(truths, finds, outcome(truths, finds), 3)
    assert together.objects == sum(one.objects for one in of_class) == (~truths.ignored).sum()
    assert len(together.scores) == sum(len(one.scores) for one in of_class)
    assert sum(one.right[-1] for one in of_class if len(one.right)) == (
        together.right[-1] if len(together.right) else 0
    )


def test_what_lies_in_a_crowd_or_on_a_difficult_object_counts_neither_way() -> None:
    boxes = np.array([[0, 0, 50, 50], [50, 0, 100, 50], [100, 0, 150, 50]], np.float32)
    sample = Sample(
        Path("x.jpg"), 150, 50, boxes, np.zeros(3, int),
        difficult=np.array([True, False, False]), crowd=np.array([False, True, False]),
    )  # fmt: skip
    found = np.array([boxes[0], boxes[0], [50, 0, 60, 10], [60, 10, 70, 20], boxes[2], boxes[2]])
    truths, finds = tables([sample], [(found, np.linspace(1, 0.5, 6), np.zeros(6, int))], 1)
    result = outcome(truths, finds)
    assert result.ignored.tolist() == [True] * 4 + [False] * 2
    assert result.truths.tolist() == [-1] * 4 + [2, -1]
