"""The labels of a batch, and the best overlaps with them, against plain loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive
from onelook.detectors.targets import best_overlap, targets


def test_targets_number_the_pictures_and_keep_the_order() -> None:
    boxes = [torch.rand(2, 4), torch.zeros(0, 4), torch.rand(1, 4, dtype=torch.float64)]
    classes = [torch.tensor([4, 2], dtype=torch.int32), torch.zeros(0), torch.tensor([7])]
    found = targets(boxes, classes, {1: 5})
    assert found.picture.tolist() == [0, 0, 2]
    assert found.classes.tolist() == [4, 2, 7]
    assert torch.equal(found.boxes, torch.cat([x.float() for x in boxes]))
    assert (found.labelled.tolist(), found.labels.tolist()) == ([1], [5])
    assert [x.dtype for x in found[:5]] == [torch.int64, torch.float32, *[torch.int64] * 3]


def test_pictures_without_objects_are_targets_too() -> None:
    found = targets([torch.zeros(0, 4)] * 3, [torch.zeros(0, dtype=torch.int64)] * 3)
    assert [tuple(x.shape) for x in found[:5]] == [(0,), (0, 4), (0,), (0,), (0,)]
    assert [x.dtype for x in found[:5]] == [torch.int64, torch.float32, *[torch.int64] * 3]


def test_an_empty_list_without_columns_is_no_boxes() -> None:
    assert targets([torch.zeros(0), torch.ones(1, 4)], [torch.zeros(0), torch.zeros(1)]).boxes.shape == (1, 4)


def test_to_moves_every_tensor() -> None:
    moved = targets([torch.rand(2, 4)], [torch.tensor([0, 1])], {0: 1}).to(torch.device("meta"))
    assert {x.device.type for x in moved[:5]} == {"meta"}


@given(seed=st.integers(0, 10**6))
def test_best_overlap_is_the_naive_loop(seed: int) -> None:
    things = naive.things((64, 96), 3, seed)
    torch.manual_seed(seed)
    corner = torch.rand(4, 2, 5, 2, dtype=torch.float64) * 80
    boxes = torch.cat((corner, corner + torch.rand(4, 2, 5, 2) * 60 + 1), dim=-1)
    found = best_overlap(boxes, naive.as_targets(things))
    assert found.shape == (4, 2, 5)
    for i in range(4):
        own = [one.box for one in things if one.picture == i]
        for box, overlap in zip(boxes[i].reshape(-1, 4).tolist(), found[i].flatten().tolist(), strict=True):
            assert overlap == pytest.approx(max((naive.iou(box, other) for other in own), default=0), abs=1e-12)


def test_best_overlap_is_a_constant_for_the_gradient() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0]]], requires_grad=True)
    found = best_overlap(boxes, targets([boxes.detach()[0]], [torch.tensor([0])]))
    assert found.tolist() == [[1.0]]
    assert not found.requires_grad
