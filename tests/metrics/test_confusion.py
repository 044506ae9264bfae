"""The confusion matrix and the mistakes, on pictures small enough to count by hand; sums on any."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import pictures
from onelook.data.sample import Sample
from onelook.metrics import confusion, mistakes
from onelook.metrics.matching import outcome
from onelook.metrics.mistakes import KINDS, counts
from onelook.metrics.table import Finds, Truths, tables

CAT, DOG = 0, 1
TRUTHS = np.array([[0, 0, 50, 50], [100, 0, 150, 50], [0, 100, 50, 150], [100, 100, 180, 180]], np.float32)


def scene() -> tuple[Truths, Finds]:
    """Two cats, two dogs; a find of each kind, and one below the threshold."""
    sample = Sample(Path("x.jpg"), 200, 200, TRUTHS, np.array([CAT, CAT, DOG, DOG]))
    found = (
        np.array([TRUTHS[0], TRUTHS[0] + 2, TRUTHS[1], [0, 100, 50, 115], [160, 0, 190, 30], TRUTHS[3]]),
        np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1]),
        np.array([CAT, CAT, DOG, DOG, CAT, DOG]),
    )
    return tables([sample], [found], 2)


def test_each_wrong_detection_is_of_its_kind() -> None:
    truths, finds = scene()
    found = mistakes(truths, finds, outcome(truths, finds), threshold=0.3)
    kinds = [(mistake.kind, mistake.find, mistake.truth) for mistake in found]
    assert kinds == [
        ("duplicate", 1, 0),
        ("confusion", 2, 1),
        ("localisation", 3, 2),
        ("background", 4, -1),
        ("missed", -1, 3),
        ("missed", -1, 1),
        ("missed", -1, 2),
    ]
    assert found[2].iou == 0.3
    assert counts(found) == {"duplicate": 1, "confusion": 1, "localisation": 1, "background": 1, "missed": 3}


def test_the_matrix_has_the_background_last() -> None:
    truths, finds = scene()
    expected = [
        [1, 1, 0],  # cats: one found, one taken for a dog
        [0, 0, 2],  # dogs: both missed
        [2, 1, 0],  # on nothing: the second on the first cat and the one in the corner; the ill-fitting dog
    ]
    assert confusion(truths, finds, 2, threshold=0.3).tolist() == expected


def test_the_better_overlap_wins_whatever_its_class() -> None:
    sample = Sample(Path("x.jpg"), 200, 200, TRUTHS[:1], np.array([CAT]))
    found = (np.array([TRUTHS[0] + 5, TRUTHS[0] + 1]), np.array([0.9, 0.2]), np.array([CAT, DOG]))
    truths, finds = tables([sample], [found], 2)
    assert confusion(truths, finds, 2, threshold=0).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_nothing_is_counted_twice_or_forgotten(seed: int, threshold: float) -> None:
    truths, finds = tables(*pictures(seed, 3, 3, difficult=True), 3)
    table = confusion(truths, finds, 3, threshold)
    objects = np.bincount(truths.classes[~truths.ignored], minlength=3)
    assert table[:3].sum(1).tolist() == objects.tolist()
    shown = finds.classes[finds.scores >= threshold]
    assert (table[:, :3].sum(0) <= np.bincount(shown, minlength=3)).all()
    matched = outcome(truths, finds)
    found = mistakes(truths, finds, matched, threshold)
    right = (matched.truths >= 0) & (finds.scores >= threshold)
    wrong = (finds.scores >= threshold) & ~matched.ignored & ~right
    number = counts(found)
    assert number["missed"] == objects.sum() - right.sum()
    assert sum(number[kind] for kind in KINDS if kind != "missed") == wrong.sum()
