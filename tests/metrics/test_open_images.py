"""The average precision of Open Images, against loops over dictionaries; and its rules one by one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import pictures
from onelook.data.sample import Sample
from onelook.metrics import Found, open_images_ap

ANIMAL, CAT, DOG, POODLE = range(4)
NAMES = ("animal", "cat", "dog", "poodle")
PARENTS = ((), (ANIMAL,), (ANIMAL,), (DOG,))


def box_overlap(a: list[float], b: list[float], own: bool) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area_a, area_b = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return width * height / (area_a if own else area_a + area_b - width * height)


def lineage(kind: int) -> set[int]:
    return {kind}.union(*(lineage(parent) for parent in PARENTS[kind]))


def naive(samples: list[Sample], detections: list[Found], kind: int) -> float:
    """AP of a class, picture by picture as the rules tell it."""
    outcomes: list[tuple[float, bool]] = []
    total = 0
    for sample, found in zip(samples, detections, strict=True):
        mine = [i for i in range(len(sample)) if kind in lineage(int(sample.classes[i]))]
        single = [sample.boxes[i].tolist() for i in mine if not sample.crowd[i]]
        groups = [sample.boxes[i].tolist() for i in mine if sample.crowd[i]]
        total += len(mine)
        present = any(kind in lineage(label) for label in sample.labels.tolist())
        absent = bool(lineage(kind) & set(sample.absent.tolist()))
        if not (mine or present or absent):
            continue
        boxes: dict[tuple[float, ...], float] = {}
        for box, score, own in zip(found.boxes.tolist(), found.scores, found.classes.tolist(), strict=True):
            if kind in lineage(own):
                boxes[tuple(box)] = max(float(score), boxes.get(tuple(box), 0.0))
        taken, group_scores = set(), {}
        for box, score in sorted(boxes.items(), key=lambda item: -item[1]):
            shares = [box_overlap(list(box), other, own=False) for other in single]
            which = int(np.argmax(shares)) if shares else -1
            if shares and shares[which] >= 0.5 and which not in taken:
                taken.add(which)
                outcomes.append((score, True))
                continue
            inside = [box_overlap(list(box), other, own=True) for other in groups]
            if inside and max(inside) >= 0.5:
                group = int(np.argmax(inside))
                group_scores[group] = max(score, group_scores.get(group, 0.0))
            else:
                outcomes.append((score, False))
        outcomes += [(score, True) for score in group_scores.values()]
    if not total:
        return float("nan")
    outcomes.sort(key=lambda outcome: -outcome[0])
    right = np.cumsum([hit for _, hit in outcomes])
    precision = [count / n for n, count in enumerate(right, start=1)]
    return sum(max(precision[n:]) for n, (_, hit) in enumerate(outcomes) if hit) / total


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_it_agrees_with_loops_on_any_pictures(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    samples, detections = pictures(seed, count, len(NAMES))
    said = [
        Sample(sample.image, 200, 200, sample.boxes, sample.classes, crowd=sample.crowd, labels=labels, absent=absent)
        for sample in samples
        for labels, absent in [random.integers(0, 4, (2, random.integers(0, 3)))]
    ]
    # Without ties, whose order is nobody's to say.
    unequal = [found._replace(scores=random.permutation(10**6)[: len(found.scores)] / 10**6) for found in detections]
    result = open_images_ap(said, unequal, NAMES, PARENTS)
    expected = [naive(said, unequal, kind) for kind in range(len(NAMES))]
    assert result.class_ap == pytest.approx(expected, abs=1e-12, nan_ok=True)


def one(found: list[tuple[list[int], float, int]], **labels: list) -> np.ndarray:
    """AP of each class for one picture with a dog at 0..100 and a group of cats at 100..200."""
    boxes = np.array([[0, 0, 100, 100], [100, 0, 200, 100]], np.float32)
    arrays = {key: np.array(value, int) for key, value in labels.items()}
    sample = Sample(Path("x.jpg"), 200, 100, boxes, np.array([DOG, CAT]), crowd=np.array([False, True]), **arrays)
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return open_images_ap([sample], [Found(*columns)], NAMES, PARENTS).class_ap


DOG_FOUND = ([0, 0, 100, 100], 0.9, DOG)


def test_a_dog_is_an_animal_too() -> None:
    animal, cat, dog, poodle = one([DOG_FOUND])
    assert (animal, cat, dog) == (0.5, 0, 1)
    assert np.isnan(poodle)


def test_a_model_that_says_animal_itself_is_not_wrong_for_it() -> None:
    assert one([DOG_FOUND, ([0, 0, 100, 100], 0.8, ANIMAL)])[ANIMAL] == 0.5
    assert one([([5, 0, 100, 100], 0.95, ANIMAL), DOG_FOUND, ([100, 0, 150, 90], 0.8, CAT)])[ANIMAL] < 1


def test_a_group_is_found_once_however_many_are_found_in_it() -> None:
    within = [([100 + 20 * i, 10, 120 + 20 * i, 60], 0.5 + i / 10, CAT) for i in range(4)]
    assert one([DOG_FOUND, *within]).tolist()[:3] == [1, 1, 1]


def test_what_nobody_looked_for_is_left_out() -> None:
    wrong = ([0, 0, 20, 20], 0.95, POODLE)
    assert one([DOG_FOUND, wrong])[DOG] == 0.5  # a poodle is a dog, of which the picture has one
    boxes = np.array([[0, 0, 100, 100]], np.float32)
    found = Found(np.array([[0, 0, 100, 100], [0, 0, 9, 9]]), np.array([0.5, 0.9]), np.array([CAT, DOG]))
    seen = Sample(Path("x.jpg"), 200, 100, boxes, np.array([CAT]))
    elsewhere = Sample(Path("y.jpg"), 200, 100, boxes, np.array([DOG]))
    dog = Found(boxes, np.array([0.4]), np.array([DOG]))
    assert open_images_ap([seen, elsewhere], [found, dog], NAMES).class_ap[DOG] == 1
    denied = Sample(Path("x.jpg"), 200, 100, boxes, np.array([CAT]), absent=np.array([DOG]))
    assert open_images_ap([denied, elsewhere], [found, dog], NAMES).class_ap[DOG] == 0.5


def test_no_animal_means_no_poodle() -> None:
    boxes = np.array([[0, 0, 100, 100]], np.float32)
    poodle = Found(boxes, np.array([0.9]), np.array([POODLE]))
    true = Sample(Path("x.jpg"), 200, 100, boxes, np.array([POODLE]))
    empty = Sample(Path("y.jpg"), 200, 100, absent=np.array([ANIMAL]))
    later = Found(boxes, np.array([0.5]), np.array([POODLE]))
    assert open_images_ap([true, empty], [later, poodle], NAMES, PARENTS).class_ap[POODLE] == 0.5
