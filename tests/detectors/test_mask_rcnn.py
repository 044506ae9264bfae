"""Mask R-CNN: the figures of the paper, its masks against loops and OpenCV, the model file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import naive
from onelook import backbones
from onelook.detectors.fast_rcnn import Sampled
from onelook.detectors.mask_rcnn import MaskRcnn, MaskRcnnLoss, within
from onelook.detectors.targets import Targets, targets
from onelook.errors import TrainingError
from onelook.export import export_detector
from onelook.nn.masks import paste
from onelook.runtime.session import open_session
from small_rcnn import ENGINES, PYRAMID_ANCHORS, SIZE, agree, awake, backbone, in_torch, with_masks

OBJECTS = torch.tensor([[10.0, 12.0, 50.0, 40.0], [60.0, 20.0, 120.0, 90.0]])
LABELS = torch.tensor([2, 0])


def disks(boxes: Tensor) -> Tensor:
    """The ellipses in boxes, as masks uint8 [M, H, W]."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    found = [
        (((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1)
        for x1, y1, x2, y2 in boxes.tolist()
    ]
    return torch.stack(found).to(torch.uint8)


def truth() -> Targets:
    none = OBJECTS[:0], LABELS[:0], torch.zeros(0, *SIZE, dtype=torch.uint8)
    return targets(*([a, b] for a, b in zip((OBJECTS, LABELS), none, strict=False)), masks=[disks(OBJECTS), none[2]])


def test_on_the_pyramid_of_resnet_50_it_has_the_parameters_of_torchvisions() -> None:
    with torch.device("meta"):
        ours = MaskRcnn(backbones.create("resnet50", classes=0), 80)
    # It has 91 classes with the background, boxes and masks for all of these, and batch normalisation that is fixed.
    expected = 44_401_393 - (91 - 81) * 1025 - (91 - 80) * (4 * 1025 + 257) + 53_120
    assert sum(p.numel() for p in ours.parameters()) == expected


def test_targets_take_their_masks_along() -> None:
    found = truth()
    assert found.masks is not None
    assert found.masks.shape == (2, *SIZE)
    plain = targets([OBJECTS, OBJECTS[:0]], [LABELS, LABELS[:0]])
    assert all(torch.equal(a, b) for a, b in zip(found[:5], plain[:5], strict=True))
    moved = found.to(torch.device("meta"))
    assert moved.masks is not None
    assert moved.masks.device.type == moved.boxes.device.type == "meta"


def test_without_masks_there_is_no_loss() -> None:
    network = with_masks()
    with pytest.raises(TrainingError, match="learns from masks"):
        MaskRcnnLoss(network)(network(torch.rand(1, 3, *SIZE)), targets([OBJECTS], [LABELS]), SIZE)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_a_mask_within_a_region_is_sampled_cell_by_cell(seed: int) -> None:
    torch.manual_seed(seed)
    masks = disks(OBJECTS)
    target = torch.tensor([0, 1, 1])
    boxes = OBJECTS[target] + torch.randn(3, 4) * 4
    found = within(masks, target, boxes)
    for r in range(3):
        x1, y1, x2, y2 = boxes[r].tolist()
        for i in range(0, 28, 5):
            for j in range(0, 28, 3):
                total = 0.0
                for a in (0.25, 0.75):
                    for b in (0.25, 0.75):
                        y, x = y1 + (i + a) / 28 * (y2 - y1) - 0.5, x1 + (j + b) / 28 * (x2 - x1) - 0.5
                        total += interpolated(masks[target[r]].double(), y, x) / 4
                if abs(total - 0.5) > 1e-4:
                    assert float(found[r, i, j]) == (total > 0.5)


def interpolated(values: Tensor, y: float, x: float) -> float:
    """Between the four values around a place, (0, 0) the first; beyond the border as at the border."""
    y, x = min(max(y, 0.0), values.shape[0] - 1), min(max(x, 0.0), values.shape[1] - 1)
    i, j = int(y), int(x)
    k, m = min(i + 1, values.shape[0] - 1), min(j + 1, values.shape[1] - 1)
    above = values[i, j] * (1 - x + j) + values[i, m] * (x - j)
    below = values[k, j] * (1 - x + j) + values[k, m] * (x - j)
    return float(above * (1 - y + i) + below * (y - i))


def test_the_loss_is_of_the_true_classs_mask_alone() -> None:
    torch.manual_seed(0)
    network = with_masks()
    logits = torch.randn(3, 3, 28, 28, requires_grad=True)
    network.mask.forward = lambda maps, boxes, picture: logits  # type: ignore[method-assign]
    found = truth()
    assert found.masks is not None
    boxes = torch.cat((OBJECTS + 3, OBJECTS[:1] - 2))
    sampled = Sampled(
        torch.cat((boxes, torch.rand(2, 4))),
        torch.zeros(5).long(),
        torch.tensor([3, 1, 3, 0, 0]),
        torch.tensor([0, 1, 0, 0, 0]),
    )
    loss = MaskRcnnLoss(network).mask([], sampled, found.masks)
    wanted = within(found.masks, sampled.target[:3], boxes)
    expected = sum(
        naive.entropy(t, y)
        for r, k in enumerate((2, 0, 2))
        for t, y in zip(logits[r, k].flatten().tolist(), wanted[r].flatten().tolist(), strict=True)
    )
    assert float(loss.detach()) == pytest.approx(expected / 3 / 28**2)
    loss.backward()
    assert logits.grad is not None
    learns = logits.grad.flatten(2).any(dim=2)
    assert learns.tolist() == [[False, False, True], [True, False, False], [False, False, True]]


def test_all_weights_learn_with_objects_and_without_and_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    network, image = with_masks(), torch.rand(2, 3, *SIZE)
    loss, optimizer = MaskRcnnLoss(network, regions=32), torch.optim.SGD(network.parameters(), 0.02, 0.9)
    none = targets([OBJECTS[:0]] * 2, [LABELS[:0]] * 2, masks=[torch.zeros(0, *SIZE, dtype=torch.bool)] * 2)
    terms = loss(network(image), none, SIZE)
    assert float(terms["mask"].detach()) == float(terms["box"].detach()) == 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    totals = []
    for _ in range(10):
        optimizer.zero_grad()
        terms = loss(network(image), truth(), SIZE)
        assert set(terms) == {"rpn_objectness", "rpn_box", "classes", "box", "mask"}
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        totals.append(float(sum(term.detach() for term in terms.values())))
    assert sum(totals[-3:]) < 0.8 * sum(totals[:3])


@given(seed=st.integers(0, 10**6))
def test_masks_are_pasted_as_opencv_resizes_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((28, 28), np.float32)
    x1, y1 = (int(random.integers(0, side - 2)) for side in (SIZE[1], SIZE[0]))
    x2, y2 = int(random.integers(x1 + 1, SIZE[1] + 1)), int(random.integers(y1 + 1, SIZE[0] + 1))
    expected = np.zeros(SIZE, np.float32)
    expected[y1:y2, x1:x2] = cv2.resize(mask, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
    found = paste(torch.from_numpy(mask)[None], torch.tensor([[x1, y1, x2, y2]], dtype=torch.float32), SIZE)
    np.testing.assert_allclose(found[0], expected, atol=1e-3)


def test_masks_of_boxes_between_pixels_are_those_of_the_naive_loop_and_lie_in_the_picture_alone() -> None:
    torch.manual_seed(0)
    masks = torch.rand(3, 28, 28, dtype=torch.float64)
    boxes = torch.tensor([[3.2, 4.7, 20.1, 30.9], [-10.5, 50.25, 12.5, 110.0], [5.0, 5.0, 5.0, 9.0]]).double()
    found = paste(masks, boxes, SIZE)
    assert found.shape == (3, *SIZE)
    for n, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        for i in range(0, SIZE[0], 3):
            for j in range(0, SIZE[1], 2):
                y, x = i + 0.5, j + 0.5
                expected = 0.0
                if x1 <= x < x2 and y1 <= y < y2:
                    place = (y - y1) / (y2 - y1) * 28 - 0.5, (x - x1) / (x2 - x1) * 28 - 0.5
                    expected = interpolated(masks[n], *place)
                assert float(found[n, i, j]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("fixed", [None, 2])
def test_the_file_gives_the_masks_that_torch_gives(tmp_path: Path, fixed: int | None) -> None:
    network = awake(with_masks(), 0.3)
    path = export_detector(network, tmp_path / "x.onnx", ("a", "b", "c"), SIZE, batch=fixed)
    sessions = [open_session(path, engine) for engine in ENGINES]
    for batch, threshold in ((1, 0.5), (3, 0.5), (2, 1.0)) if fixed is None else ((fixed, 0.5),):
        images = np.random.default_rng(batch).integers(0, 256, (batch, *SIZE, 3), np.uint8)
        detections = in_torch(network, images, threshold, 0.45)
        boxes, _, classes, batch_index = detections
        with torch.no_grad():
            raw = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
            expected = paste(network.masks(raw, boxes, classes, batch_index), boxes, SIZE)  # type: ignore[operator]
        sure = np.abs(expected.numpy() - 0.5) > 1e-3
        assert threshold == 1 or sure.mean() > 0.9
        for session in sessions:
            found = session.run(images, threshold, 0.45)
            assert (len(found[0]) > batch) == (threshold < 1)
            places = np.array(agree(found, detections), int)
            assert (found[4].dtype, found[4].shape) == (np.uint8, (len(boxes), *SIZE))
            assert np.array_equal(found[4][places][sure], (expected.numpy() > 0.5)[sure])
            assert threshold == 1 or 0.001 < found[4].mean() < 0.95


def test_the_file_gives_masks_to_the_100_best_detections_of_a_picture(tmp_path: Path) -> None:
    network = awake(MaskRcnn(backbone(), 3, 8, 16, anchors=PYRAMID_ANCHORS, proposals=60), 0.3)
    path = export_detector(network, tmp_path / "x.onnx", ("a", "b", "c"), SIZE)
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    everything = in_torch(network, images, 0.0, 1.0)
    _, scores, classes, batch_index, masks = open_session(path, "onnxruntime").run(images, 0.0, 1.0)
    assert len(masks) == len(classes) == 200
    for i in range(2):
        own = everything[1][everything[3] == i]
        assert len(own) > 150
        np.testing.assert_allclose(scores[batch_index == i], own[:100], atol=1e-4)
