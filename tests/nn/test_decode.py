"""Decoding against the loops of the papers' equations, number by number."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from networks import PARENTS
from onelook.nn.decode import decode_yolo_v1, decode_yolo_v2, decode_yolo_v3
from onelook.nn.wordtree import WordTree

Array = NDArray[np.float64]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def xyxy(x: float, y: float, w: float, h: float) -> list[float]:
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def random_map(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape)


def check(found: tuple[torch.Tensor, torch.Tensor], expected: list[tuple[list[float], Array]]) -> None:
    boxes, scores = (x[0].numpy() for x in found)
    np.testing.assert_allclose(boxes, [box for box, _ in expected], rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-6)


@pytest.mark.parametrize(("square", "logits"), [(True, False), (False, True)])
def test_yolo_v1_is_section_2_of_its_paper(square: bool, logits: bool) -> None:
    side, classes, count, size = 3, 4, 2, (96, 192)
    cells = side * side
    raw = random_map(1, cells * (classes + 5 * count))
    expected = []
    for box in range(count):
        for cell in range(cells):
            row, column = divmod(cell, side)
            values = raw[0, cell * classes : (cell + 1) * classes]
            confidence = raw[0, cells * classes + cell * count + box]
            start = cells * (classes + count) + (cell * count + box) * 4
            x, y, w, h = raw[0, start : start + 4]
            w, h = (w**2, h**2) if square else (w, h)
            place = xyxy((column + x) / side * 192, (row + y) / side * 96, w * 192, h * 96)
            expected.append((place, confidence * (softmax(values) if logits else values)))
    check(decode_yolo_v1(torch.from_numpy(raw), size, side, classes, square, logits), expected)


@pytest.mark.parametrize("logistic", [False, True])
def test_yolo_v2_is_the_direct_location_prediction_of_its_paper(logistic: bool) -> None:
    anchors, classes, size = ((1.0, 2.0), (3.0, 0.5)), 3, (64, 96)
    raw = random_map(1, 2 * (5 + classes), 2, 3)
    expected = []
    for a, (pw, ph) in enumerate(anchors):
        for row in range(2):
            for column in range(3):
                t = raw[0, a * 8 : a * 8 + 8, row, column]
                place = xyxy(
                    (sigmoid(t[0]) + column) * 32,
                    (sigmoid(t[1]) + row) * 32,
                    pw * math.exp(t[2]) * 32,
                    ph * math.exp(t[3]) * 32,
                )
                scores = np.array([sigmoid(v) for v in t[5:]]) if logistic else softmax(t[5:])
                expected.append((place, sigmoid(t[4]) * scores))
    check(decode_yolo_v2(torch.from_numpy(raw), size, anchors, softmax=not logistic), expected)


@pytest.mark.parametrize(("scale", "new_coords"), [(1.0, False), (1.2, False), (2.0, True)])
def test_yolo_v3_and_v4_decode_as_their_papers_say(scale: float, new_coords: bool) -> None:
    anchors, classes, size = ((10.0, 20.0), (30.0, 5.0)), 3, (64, 96)
    raw = np.abs(random_map(1, 2 * (5 + classes), 2, 3)) if new_coords else random_map(1, 2 * (5 + classes), 2, 3)
    expected = []
    for a, (pw, ph) in enumerate(anchors):
        for row in range(2):
            for column in range(3):
                t = raw[0, a * 8 : a * 8 + 8, row, column]
                if new_coords:
                    x, y, w, h, objectness, scores = t[0], t[1], (2 * t[2]) ** 2, (2 * t[3]) ** 2, t[4], t[5:]
                else:
                    x, y, w, h = sigmoid(t[0]), sigmoid(t[1]), math.exp(t[2]), math.exp(t[3])
                    objectness, scores = sigmoid(t[4]), np.array([sigmoid(v) for v in t[5:]])
                x, y = (v * scale - (scale - 1) / 2 for v in (x, y))
                expected.append((xyxy((x + column) * 32, (y + row) * 32, w * pw, h * ph), objectness * scores))
    found = decode_yolo_v3(torch.from_numpy(raw), size, anchors, scale, new_coords)
    check(found, expected)


def naive_class(logits: Array, parents: tuple[int, ...], threshold: float = 0.5) -> int:
    """Darknet's two steps, as loops: probabilities down the tree, then the way down along the likeliest children."""
    children: dict[int, list[int]] = {}
    for i, parent in enumerate(parents):
        children.setdefault(parent, []).append(i)
    absolute: dict[int, float] = {-1: 1.0}
    for parent, group in sorted(children.items()):
        for i, p in zip(group, softmax(logits[group]), strict=True):
            absolute[i] = absolute[parent] * p
    path, node = 1.0, -1
    while node in children:
        best = max(children[node], key=lambda i: absolute[i])
        if path * absolute[best] <= threshold and node != -1:
            break
        path *= absolute[best]
        node = best
        if path <= threshold:
            break
    return node


def test_wordtree_multiplies_and_descends_like_the_naive_loop() -> None:
    tree = WordTree(PARENTS)
    logits = np.random.default_rng(0).normal(size=(500, len(PARENTS))) * 4
    found = tree.predict(torch.from_numpy(logits))
    assert found.sum(-1).eq(1).all()
    assert found.argmax(-1).tolist() == [naive_class(row, PARENTS) for row in logits]


def test_wordtree_probabilities_of_siblings_sum_to_their_parents() -> None:
    tree = WordTree(PARENTS)
    conditional = tree.conditional(torch.from_numpy(np.random.default_rng(0).normal(size=(7, len(PARENTS)))))
    absolute = tree.absolute(conditional)
    for children, parent in (((2, 3), 0), ((4, 5, 6), 3), ((7, 8), 1)):
        torch.testing.assert_close(absolute[:, children].sum(-1), absolute[:, parent])
    torch.testing.assert_close(absolute[:, :2].sum(-1), torch.ones(7, dtype=torch.float64))


def test_wordtree_refuses_a_parent_that_comes_later() -> None:
    with pytest.raises(ValueError, match="class 1 has the parent 1"):
        WordTree((-1, 1))
