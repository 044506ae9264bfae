"""Fast R-CNN: its loss by hand, what it draws, what its numbers mean."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import naive
import onelook
from onelook.boxes import xyxy_to_cxcywh
from onelook.conversion import quantise
from onelook.detectors import fast_rcnn
from onelook.detectors.fast_rcnn import OFFSETS, FastRcnn, FastRcnnLoss, Sampled, padded
from onelook.detectors.regions import Regions
from onelook.detectors.targets import Targets, targets
from onelook.errors import MissingDependencyError
from onelook.export import export_detector
from onelook.runtime.selective_search import selective_search
from onelook.runtime.session import open_session
from small_rcnn import ENGINES, SIZE, agree, awake, backbone, in_torch

OBJECTS = torch.tensor([[10.0, 12.0, 50.0, 40.0], [60.0, 20.0, 120.0, 90.0]])
TRUTH = targets([OBJECTS, OBJECTS[:0]], [torch.tensor([2, 0]), torch.zeros(0, dtype=torch.int64)])


class Given(torch.nn.Module):
    """In place of a `BoxHead`: the numbers of each region are known."""

    def __init__(self, logits: Tensor, offsets: Tensor):
        super().__init__()
        self.logits, self.offsets = logits, offsets

    def forward(self, maps: list[Tensor], boxes: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits, self.offsets


def network(**options: object) -> FastRcnn:
    torch.manual_seed(0)
    return FastRcnn(backbone(), 3, **{"width": 16, **options})  # type: ignore[arg-type]


def around(box: Tensor, count: int, spread: float) -> Tensor:
    """Boxes whose corners lie about those of another."""
    return box + torch.randn(count, 4) * spread


def test_the_multi_task_loss_is_that_of_section_2_3() -> None:
    torch.manual_seed(0)
    logits, offsets = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, 3, 4, dtype=torch.float64) * 3
    boxes = torch.tensor([[8.0, 10.0, 52.0, 44.0], [50.0, 30.0, 110.0, 80.0], [0.0, 0.0, 20.0, 20.0], [3, 3, 30, 40]])
    sampled = Sampled(boxes, torch.tensor([0, 0, 1, 0]), torch.tensor([3, 1, 0, 0]), torch.tensor([0, 1, 0, 0]))
    found = FastRcnnLoss(Given(logits, offsets)).terms([], sampled, TRUTH)  # type: ignore[arg-type]
    classes = -sum(math.log(naive.softmax(logits[r].tolist())[u]) for r, u in enumerate((3, 1, 0, 0))) / 4
    box = 0.0
    for r, (u, one) in enumerate(((3, OBJECTS[0]), (1, OBJECTS[1]))):
        (gx1, gy1, gx2, gy2), (x1, y1, x2, y2) = one.tolist(), boxes[r].tolist()
        w, h = x2 - x1, y2 - y1
        v = (
            (gx1 + gx2 - x1 - x2) / 2 / w / 0.1,
            (gy1 + gy2 - y1 - y2) / 2 / h / 0.1,
            math.log((gx2 - gx1) / w) / 0.2,
            math.log((gy2 - gy1) / h) / 0.2,
        )
        for a, b in zip(offsets[r, u - 1].tolist(), v, strict=True):
            d = abs(a - b)
            box += (d * d / 2 if d < 1 else d - 0.5) / 4
    assert float(found["classes"]) == pytest.approx(classes)
    assert float(found["box"]) == pytest.approx(box, rel=1e-6)


def test_the_true_answer_costs_nothing_and_decodes_to_the_object() -> None:
    boxes = torch.cat((around(OBJECTS[0], 3, 2), around(OBJECTS[1], 2, 2)))
    object_of = torch.tensor([0, 0, 0, 1, 1])
    classes = 1 + TRUTH.classes[object_of]
    offsets = torch.zeros(5, 3, 4)
    offsets[torch.arange(5), classes - 1] = OFFSETS.encode(OBJECTS[object_of], xyxy_to_cxcywh(boxes))
    logits = torch.full((5, 4), -50.0).scatter(1, classes[:, None], 50.0)
    head = Given(logits, offsets)
    sampled = Sampled(boxes, torch.zeros(5, dtype=torch.int64), classes, object_of)
    assert sum(FastRcnnLoss(head).terms([], sampled, TRUTH).values()) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]
    whole = network()
    whole.head.forward = head.forward  # type: ignore[method-assign]
    found, scores = whole.head.decode([], boxes[None], torch.ones(1, 5, dtype=torch.bool), SIZE)
    sure = scores[0].amax(dim=1) > 0.5
    assert int(sure.sum()) == 5
    for box, label in zip(found[0, sure], scores[0, sure].argmax(dim=1), strict=True):
        torch.testing.assert_close(box, OBJECTS[0 if label == 2 else 1], atol=1e-3, rtol=0)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_regions_are_drawn_by_their_overlap_and_in_their_shares(seed: int) -> None:
    torch.manual_seed(seed)
    corner = torch.rand(2, 60, 2) * torch.tensor((90.0, 60.0))
    boxes = torch.cat((corner, corner + 5 + torch.rand(2, 60, 2) * 60), dim=2)
    boxes[0, :20] = torch.cat((around(OBJECTS[0], 10, 3), around(OBJECTS[1], 10, 3)))
    held = torch.rand(2, 60) < 0.8
    found = FastRcnnLoss(network().head, regions=24).sample(boxes, held, TRUTH)
    known = {tuple(box) for i in range(2) for box in boxes[i, held[i]].tolist()} | {tuple(x) for x in OBJECTS.tolist()}
    assert len({tuple(box) for box in found.boxes.tolist()}) == len(found.boxes)
    for box, picture, u, target in zip(*(x.tolist() for x in found), strict=True):
        assert tuple(box) in known
        overlaps = [naive.iou(tuple(box), tuple(one)) for one in OBJECTS.tolist()] if picture == 0 else []
        if u:
            assert overlaps[target] == pytest.approx(max(overlaps))
            assert overlaps[target] >= 0.5 - 1e-6
            assert u == 1 + int(TRUTH.classes[target])
        elif picture == 0:
            assert 0.1 - 1e-6 <= max(overlaps) < 0.5 + 1e-6
    positive = found.classes > 0
    assert int(positive.sum()) == 6  # a quarter of 24: there are enough
    assert int((found.picture == 1).sum()) == min(24, int(held[1].sum()))


def test_proposals_may_be_a_list_a_tensor_or_rows_with_the_number_of_the_picture() -> None:
    first, second = (torch.cat((x, x + 1 + torch.rand(len(x), 2)), 1) for x in (torch.rand(3, 2), torch.rand(1, 2)))
    boxes, held = padded([first, second], 2)
    assert held.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert torch.equal(boxes[0], first)
    assert torch.equal(boxes[1, :1], second)
    numbers = torch.tensor([[0.0], [1.0], [0.0], [0.0]])
    rows = torch.cat((numbers, torch.stack((first[0], second[0], first[1], first[2]))), dim=1)
    for found, wanted in zip(padded(rows, 2), (boxes, held), strict=True):
        assert torch.equal(found, wanted)
    assert padded(boxes, 2)[1].tolist() == [[1, 1, 1], [1, 0, 0]]  # what has no area is none
    assert padded([first, first[:0]], 2)[1].tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("options", [{}, {"roi": "align", "pyramid": 8}, {"roi": "align", "separable": True}], ids=str)
def test_candidates_are_those_of_each_region_alone(options: dict[str, object]) -> None:
    fast = network(**options).eval()
    with torch.no_grad():
        fast.head.logits.weight.normal_(0, 2)
        fast.head.offsets.weight.normal_(0, 2)
        image = torch.rand(2, 3, *SIZE)
        proposals = [torch.cat((around(OBJECTS[0], 3, 4), around(OBJECTS[1], 2, 4))).clamp(0, 96), OBJECTS]
        boxes, scores = fast.decode(fast(image, proposals), SIZE)
        assert (boxes.shape, scores.shape) == ((2, 15, 4), (2, 15, 3))
        for i in range(2):
            expected = []
            maps = fast.features(image[i : i + 1])
            for region in proposals[i]:
                logits, offsets = fast.head(maps, region[None], torch.tensor([0]))
                x1, y1, x2, y2 = region.tolist()
                for k, score in enumerate(naive.softmax(logits[0].tolist())[1:]):
                    tx, ty, tw, th = (v * s for v, s in zip(offsets[0, k].tolist(), (0.1, 0.1, 0.2, 0.2), strict=True))
                    w, h = x2 - x1, y2 - y1
                    x, y = (x1 + x2) / 2 + tx * w, (y1 + y2) / 2 + ty * h
                    box = naive.around(x, y, w * math.exp(tw), h * math.exp(th))
                    clipped = [min(max(v, 0), side) for v, side in zip(box, (SIZE[1], SIZE[0]) * 2, strict=True)]
                    expected.append((score, k, clipped))
            found = [(float(s.max()), int(s.argmax()), b.tolist()) for s, b in zip(scores[i], boxes[i], strict=True)]
            assert all(int((s > 0).sum()) <= 1 for s in scores[i])
            # Regions that round to the same cells have the same scores, so the order does not say which is which.
            for score, k, box in expected:
                assert score < 1e-6 or any(
                    k == label and score == pytest.approx(other, abs=1e-5) and box == pytest.approx(place, abs=1e-3)
                    for other, label, place in found
                )
            assert sum(score > 0 for score, _, _ in found) <= len(expected)
            assert [score for score, _, _ in found] == sorted((score for score, _, _ in found), reverse=True)


@pytest.mark.parametrize("options", [{}, {"roi": "align", "pyramid": 8}], ids=str)
def test_all_weights_learn_and_a_few_steps_lower_the_loss(options: dict[str, object]) -> None:
    fast = network(**options)
    proposals = [torch.cat((around(OBJECTS[0], 20, 4), around(OBJECTS[1], 20, 12))).clamp(0, 96), OBJECTS + 3]
    optimizer, loss, totals = torch.optim.SGD(fast.parameters(), 0.02, 0.9), FastRcnnLoss(fast.head), []
    image = torch.rand(2, 3, *SIZE)
    for _ in range(16):
        optimizer.zero_grad()
        terms = loss(fast(image, proposals), TRUTH, SIZE)
        assert set(terms) == {"classes", "box"}
        torch.stack(list(terms.values())).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in fast.parameters())
        optimizer.step()
        totals.append(float(sum(term.detach() for term in terms.values())))
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])


def test_the_gradient_of_the_loss_is_that_of_finite_differences() -> None:
    fast = network(roi="align").double().eval()
    maps = torch.randn(1, 8, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        fast.head.offsets.weight.normal_(0, 1)
    sampled = Sampled(OBJECTS.double() + 2, torch.tensor([0, 0]), torch.tensor([3, 0]), torch.tensor([0, 0]))
    truth = Targets(*(TRUTH.picture, TRUTH.boxes.double(), *TRUTH[2:]))
    loss = FastRcnnLoss(fast.head)
    where = torch.zeros_like(maps, dtype=torch.bool)
    where[0, ::3, 1:4, 1:3] = True

    def total(x: Tensor) -> Tensor:
        return torch.stack(list(loss.terms([x], sampled, truth).values())).sum()

    held = maps.clone()
    moving = maps[where].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: total(held.masked_scatter(where, x)), moving)


def test_dropout_is_of_the_connected_layers_without_a_pyramid() -> None:
    def count(**options: object) -> int:
        return sum(isinstance(m, torch.nn.Dropout) for m in network(**options).modules())

    assert (count(), count(pyramid=8), count(separable=True)) == (2, 0, 0)
    assert isinstance(network(pyramid=8).head.regions, Regions)


def shapes(seed: int, count: int) -> NDArray[np.uint8]:
    """Pictures of rectangles of one colour on noise: uint8 [count, H, W, 3]."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 40, (count, *SIZE, 3), np.uint8)
    for picture in pictures:
        for _ in range(4):
            y, x = random.integers(0, SIZE[0] - 20), random.integers(0, SIZE[1] - 20)
            picture[y : y + random.integers(12, 50), x : x + random.integers(12, 50)] = random.integers(60, 256, 3)
    return pictures


def test_without_proposals_it_searches_for_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def count(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(image)
        return selective_search(image)

    monkeypatch.setattr(fast_rcnn, "selective_search", count)
    pictures = shapes(1, 2)
    image = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    fast = network(proposals=30).eval()
    for _ in range(2):
        *_, boxes, held = fast(image)
        for own, there, picture in zip(boxes, held, pictures, strict=True):
            expected = selective_search(picture)[:30]
            assert torch.equal(own[: len(expected)], torch.from_numpy(expected))
            assert there.tolist() == [1.0] * len(expected) + [0.0] * (len(own) - len(expected))
    assert [one.tobytes() for one in asked] == [one.tobytes() for one in pictures]


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_rcnn, "_proposals", {})
    monkeypatch.setattr(fast_rcnn, "REMEMBERED", 2)
    monkeypatch.setattr(fast_rcnn, "selective_search", lambda image: image[0, :1, :1].astype(np.float32))
    for value in (1, 2, 3, 1):
        assert fast_rcnn.remembered(np.full((2, 2, 3), value, np.uint8)) == value
        assert len(fast_rcnn._proposals) <= 2


@pytest.mark.parametrize("options", [{}, {"roi": "align", "pyramid": 8}], ids=str)
def test_file_and_torch_find_the_same_in_any_batch(options: dict[str, object], tmp_path: Path) -> None:
    """The file has no search in it: what runs it makes the proposals.

    Nothing is suppressed: regions that round to the same cells have the same scores, so any of them may suppress the others.
    """
    fast = awake(network(proposals=40, **options), 1.5)
    path = export_detector(fast, tmp_path / "model.onnx", ["a", "b", "c"], SIZE)
    taken = {value.name for value in onnx.load(path).graph.input}
    assert taken == {"image", "score_threshold", "iou_threshold", "proposals"}
    for engine in ENGINES:
        session = open_session(path, engine)
        assert session.info.proposals == 40
        for batch in (1, 3):
            images = shapes(batch, batch)
            expected = in_torch(fast, images, 0.4, 1.0)
            assert len(expected[0]) > 10 * batch
            agree(session.run(images, 0.4, 1.0), expected)


def test_it_detects_and_becomes_int8_as_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = awake(network(proposals=40), 1.5)
    path = export_detector(fast, tmp_path / "model.onnx", ["a", "b", "c"], SIZE, score_threshold=0.4)
    pictures = list(shapes(5, 3))
    detector = onelook.load(path)
    found = detector(pictures, iou_threshold=1.0)
    assert sum(map(len, found)) == len(in_torch(fast, np.stack(pictures), 0.4, 1.0)[0])
    report = quantise(path, pictures, tmp_path / "int8.onnx")
    assert report.quantised > 0
    assert len(onelook.load(report.path)(pictures)) == 3
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'needs scikit-image; pip install "onelook\[rcnn\]"'):
        open_session(path)
