"""Who gets whom, against loops over lists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import pictures
from onelook.metrics import matching
from onelook.metrics.matching import Pairs, best, closest, equal, greedy, overlaps
from onelook.metrics.table import tables

matrix = st.integers(1, 8).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([0.0, 0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), min_size=width, max_size=width),
        min_size=1,
        max_size=8,
    )
)


def pairs_of(table: list[list[float]]) -> Pairs:
    iou = np.array(table)
    i, j = np.nonzero(iou)
    return Pairs(i, j, iou[i, j], iou[i, j])


@given(matrix)
def test_taking_turns_gives_each_the_best_free_object(table: list[list[float]]) -> None:
    free, expected = set(range(len(table[0]))), []
    for row in table:
        choice = max(free, key=lambda j: (row[j], -j), default=-1)
        expected.append(choice if free and row[choice] > 0 else -1)
        free -= {expected[-1]}
    assert greedy(pairs_of(table), len(table)).tolist() == expected


@given(matrix)
def test_the_closest_pairs_come_first(table: list[list[float]]) -> None:
    expected = [-1] * len(table)
    cells = [(-iou, i, j) for i, row in enumerate(table) for j, iou in enumerate(row) if iou]
    taken: set[int] = set()
    for _, i, j in sorted(cells):
        if expected[i] < 0 and j not in taken:
            expected[i] = j
            taken.add(j)
    assert closest(pairs_of(table), len(table)).tolist() == expected


@given(matrix)
def test_the_best_pair_of_each(table: list[list[float]]) -> None:
    pairs = pairs_of(table)
    for row, at in zip(table, best(pairs, len(table)), strict=True):
        assert (at < 0) == (max(row) == 0)
        if at >= 0:
            assert pairs.truths[at] == row.index(max(row))


@given(st.lists(st.integers(0, 4)), st.lists(st.integers(0, 4)))
def test_equal_finds_all_pairs(left: list[int], right: list[int]) -> None:
    expected = [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a == b]
    i, j = equal(np.array(left, int), np.array(right, int))
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.booleans())
def test_overlaps_are_those_of_every_two_boxes(seed: int, any_class: bool) -> None:
    truths, finds = tables(*pictures(seed, 3, 2), 2)
    expected = {}
    for i, a in enumerate(finds.boxes):
        for j, b in enumerate(truths.boxes):
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            same = finds.pictures[i] == truths.pictures[j] and (any_class or finds.classes[i] == truths.classes[j])
            if same and width > 0 and height > 0:
                area_a, area_b = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
                common = width * height
                expected[i, j] = common / (area_a + area_b - common), common / area_a
    found = overlaps(truths, finds, any_class)
    assert list(zip(found.finds.tolist(), found.truths.tolist(), strict=True)) == list(expected)
    assert np.stack((found.iou, found.ioa), 1).ravel() == pytest.approx(np.array(list(expected.values())).ravel())


@pytest.mark.parametrize("block", [1, 7, 60])
def test_pairs_are_the_same_however_many_are_looked_at_at_once(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    truths, finds = tables(*pictures(1, 9, 2), 2)
    expected = overlaps(truths, finds)
    assert len(expected.iou) > 20
    monkeypatch.setattr(matching, "BLOCK", block)
    for a, b in zip(overlaps(truths, finds), expected, strict=True):
        np.testing.assert_array_equal(a, b)
