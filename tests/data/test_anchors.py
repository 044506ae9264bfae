"""YOLO9000's dimension clusters."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.data import Dataset, Sample
from onelook.data.anchors import anchors, box_sizes, iou_of_sizes
from onelook.errors import DataError

RANDOM = np.random.default_rng(1)


def test_clear_clusters_are_found() -> None:
    centres = np.array([[10, 10], [20, 80], [90, 30], [200, 200]], np.float32)
    sizes = np.concatenate([centre * RANDOM.uniform(0.95, 1.05, (50, 2)) for centre in centres])
    found, iou = anchors(sizes, 4)
    np.testing.assert_allclose(found, centres, rtol=0.03)
    assert found.dtype == np.float32
    assert iou > 0.93


def test_the_same_seed_gives_the_same_anchors_from_small_to_large() -> None:
    sizes = RANDOM.lognormal(3, 1, (500, 2))
    first, second = anchors(sizes, 6, seed=3), anchors(sizes.copy(), 6, seed=3)
    assert (first[0] == second[0]).all()
    assert (np.diff(first[0].prod(1)) >= 0).all()


def test_more_anchors_fit_better_and_the_mean_iou_is_of_the_nearest() -> None:
    sizes = RANDOM.lognormal(3, 0.8, (400, 2))
    scores = []
    for count in (1, 3, 9):
        found, iou = anchors(sizes, count)
        naive = [
            max(min(w, a) * min(h, b) / (w * h + a * b - min(w, a) * min(h, b)) for a, b in found) for w, h in sizes
        ]
        assert iou == pytest.approx(np.mean(naive))
        scores.append(iou)
    assert scores == sorted(scores)


def test_one_odd_box_gets_no_anchor_of_its_own() -> None:
    sizes = np.concatenate([RANDOM.lognormal(4, 0.7, (1000, 2)), [[0.5, 0.5]]])
    assert anchors(sizes, 5)[0].min() > 5


def test_too_few_sizes_are_an_error() -> None:
    with pytest.raises(DataError, match="there are 1"):
        anchors(np.ones((50, 2)), 2)
    with pytest.raises(DataError, match="there are 0"):
        anchors(np.zeros((0, 2)), 1)
    with pytest.raises(DataError, match="greater than 0"):
        anchors(np.array([[1, np.nan]]), 1)


@given(st.lists(st.tuples(st.floats(1e-3, 1e4), st.floats(1e-3, 1e4)), min_size=1, max_size=20), st.integers(1, 5))
def test_any_sizes_have_anchors(sizes: list[tuple[float, float]], count: int) -> None:
    array = np.array(sizes)
    if len(np.unique(array, axis=0)) < count:
        return
    found, iou = anchors(array, count)
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()
    assert 0 < iou <= 1 + 1e-9


def test_sizes_are_of_the_letterboxed_picture() -> None:
    boxes = np.array([[0, 0, 100, 50], [0, 0, 10, 10]], np.float32)
    sample = Sample(Path("a.jpg"), 400, 200, boxes, np.array([0, 0]), crowd=np.array([False, True]))
    dataset = Dataset(Path(), "x", "train", ("cat",), (sample,))
    assert box_sizes(dataset, 320).tolist() == [[80, 40]]
    assert box_sizes(Dataset(Path(), "x", "train", (), ()), 320).shape == (0, 2)


def test_iou_of_sizes() -> None:
    assert iou_of_sizes(np.array([[2.0, 4.0]]), np.array([[2.0, 4.0], [4.0, 2.0]])).tolist() == [
        [1, pytest.approx(1 / 3)]
    ]
