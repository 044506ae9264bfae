"""VOC's average precision, against the devkit's procedure written as loops over boxes that count whole pixels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import pictures
from onelook.data.sample import Sample
from onelook.metrics import Found, voc_ap


def overlap(a: list[float], b: list[float]) -> float:
    """IoU of boxes that include their last pixel, as the devkit reckons."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    sizes = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(sizes) - width * height)


def devkit(samples: list[Sample], detections: list[Found], kind: int, eleven_points: bool) -> float:
    """AP of a class: every detection by falling score, one after the other."""
    inclusive = np.array([1, 1, 0, 0])  # of x1, y1 from 0 to pixels counted from 1
    objects, rows = [], []
    for sample, found in zip(samples, detections, strict=True):
        mine = np.flatnonzero(sample.classes == kind)
        own = (sample.boxes.astype(float) + inclusive)[mine].tolist()
        hard = (sample.difficult | sample.crowd)[mine].tolist()
        objects.append([own, hard, [False] * len(own)])
        for box, score, k in zip(np.asarray(found.boxes, float), found.scores, found.classes, strict=True):
            if k == kind:
                rows.append((float(score), (box + inclusive).tolist(), objects[-1]))
    total = sum(not flag for _, hard, _ in objects for flag in hard)
    if not total:
        return float("nan")
    right, shown, points = 0, 0, []
    for _, box, (own, hard, taken) in sorted(rows, key=lambda row: -row[0]):
        most, which = 0.0, -1
        for j, other in enumerate(own):
            if overlap(box, other) > most:
                most, which = overlap(box, other), j
        if most >= 0.5 and hard[which]:
            continue
        shown += 1
        if most >= 0.5 and not taken[which]:
            taken[which] = True
            right += 1
        points.append((right / total, right / shown))
    if eleven_points:
        return sum(max((p for r, p in points if r >= t / 10 - 1e-12), default=0.0) for t in range(11)) / 11
    area, last = 0.0, 0.0
    for recall, _ in points:
        area += (recall - last) * max(p for r, p in points if r >= recall)
        last = recall
    return area


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_it_agrees_with_loops_on_any_pictures(seed: int, count: int, classes: int, eleven_points: bool) -> None:
    samples, detections = pictures(seed, count, classes, difficult=True)
    result = voc_ap(samples, detections, [str(i) for i in range(classes)], eleven_points)
    expected = [devkit(samples, detections, kind, eleven_points) for kind in range(classes)]
    assert result.class_ap == pytest.approx(expected, abs=1e-12, nan_ok=True)
    known = [ap for ap in expected if ap == ap]
    assert result.map == pytest.approx(np.mean(known) if known else float("nan"), nan_ok=True)


def one_class(truth: list[list[int]], found: list[list[int]], difficult: list[bool]) -> float:
    boxes = np.array(truth, np.float32)
    sample = Sample(Path("x.jpg"), 100, 100, boxes, np.zeros(len(boxes), int), difficult=np.array(difficult))
    scores = np.linspace(0.9, 0.1, len(found))
    return voc_ap([sample], [(np.array(found), scores, np.zeros(len(found), int))], ["cat"]).map


def test_the_second_to_find_an_object_is_wrong() -> None:
    box = [0, 0, 10, 10]
    assert one_class([box, [50, 50, 60, 60]], [box, box, [50, 50, 60, 60]], [False, False]) == pytest.approx(5 / 6)


def test_what_finds_a_difficult_object_counts_neither_way() -> None:
    box, other = [0, 0, 10, 10], [50, 50, 60, 60]
    assert one_class([box, other], [box, box, other], [True, False]) == 1


def test_an_overlap_of_exactly_a_half_is_enough() -> None:
    assert one_class([[0, 0, 10, 10]], [[0, 0, 10, 5]], [False]) == 1
    assert one_class([[0, 0, 100, 100]], [[0, 0, 100, 49]], [False]) == 0


def test_three_of_ten_is_a_recall_of_three_tenths() -> None:
    boxes = np.array([[10 * i, 0, 10 * i + 9, 9] for i in range(10)], np.float32)
    sample = Sample(Path("x.jpg"), 100, 10, boxes, np.zeros(10, int))
    found = (boxes[:3], [0.9, 0.8, 0.7], [0, 0, 0])
    assert voc_ap([sample], [found], ["cat"], eleven_points=True).map == pytest.approx(4 / 11)
