"""Suppression against plain Python with exact IoUs, ONNX Runtime's operator, and values worked out by hand."""

import math
from fractions import Fraction
from typing import Literal
from unittest.mock import patch

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor

from onelook.boxes import iou
from onelook.nms import BLOCK, nms, soft_nms

Box = tuple[float, float, float, float]
Row = tuple[Box, float, int, int]  # box, score, class, picture

NAN, INF = math.nan, math.inf


def overlap(a: Box, b: Box) -> Fraction:
    """The exact IoU of two boxes of whole numbers; 0 for degenerate ones."""
    if not all(abs(value) < 1e18 for value in (*a, *b)):
        return Fraction(0)
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    intersection = int(max(width, 0) * max(height, 0))
    areas = [int(max(x2 - x1, 0) * max(y2 - y1, 0)) for x1, y1, x2, y2 in (a, b)]
    return Fraction(intersection, sum(areas) - intersection) if intersection else Fraction(0)


def usable(row: Row) -> bool:
    return not any(math.isnan(value) for value in (*row[0], row[1]))


def naive_nms(rows: list[Row], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted((i for i, row in enumerate(rows) if usable(row)), key=lambda i: (-rows[i][1], i)):
        rivals = (k for k in kept if rows[k][2:] == rows[i][2:])
        if all(overlap(rows[k][0], rows[i][0]) <= threshold for k in rivals):
            kept.append(i)
    return kept


def naive_soft_nms(
    rows: list[Row], method: str, sigma: float, iou_threshold: float, score_threshold: float
) -> list[tuple[int, float]]:
    scores = {i: row[1] for i, row in enumerate(rows) if usable(row) and row[1] >= score_threshold}
    kept = []
    while scores:
        best = max(scores, key=lambda i: (scores[i], -i))
        kept.append((best, scores.pop(best)))
        for i in list(scores):
            shared = overlap(rows[i][0], rows[best][0]) if rows[i][2:] == rows[best][2:] else Fraction(0)
            value = shared.numerator / shared.denominator
            if method == "gaussian":
                scores[i] *= math.exp(-(value**2) / sigma)
            elif value >= iou_threshold:
                scores[i] *= 1 - value
            if scores[i] < score_threshold:
                del scores[i]
    return kept


def tensors(rows: list[Row], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes, scores, classes, batch_index."""
    boxes = torch.tensor([row[0] for row in rows], dtype=dtype).reshape(-1, 4)
    scores = torch.tensor([row[1] for row in rows], dtype=dtype)
    classes, pictures = (torch.tensor([row[k] for row in rows], dtype=torch.int64) for k in (2, 3))
    return boxes, scores, classes, pictures


# Whole numbers: IoUs are exact but for one division, which cannot meet a threshold of k / 8 by rounding.
whole = st.integers(-3, 9).map(float)
corner = st.one_of(whole, whole, whole, st.sampled_from([NAN, INF, -INF, 3e38]))
box = st.tuples(whole, whole, whole, whole) | st.tuples(corner, corner, corner, corner)
sound_box = st.tuples(whole, whole, whole, whole).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
label = st.sampled_from([0, 1, 9000, 2**40])
tied_score = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, NAN])
threshold = st.integers(0, 8).map(lambda n: n / 8)


def rows(scores: st.SearchStrategy[float], unique: bool = False) -> st.SearchStrategy[list[Row]]:
    row = st.tuples(st.one_of(box, sound_box, sound_box, sound_box), scores, label, label)
    return st.lists(row, max_size=30, unique_by=(lambda row: row[1]) if unique else None)


@settings(deadline=None)
@given(rows=rows(tied_score), threshold=threshold, block=st.sampled_from([1, 2, 5, BLOCK]))
def test_nms_agrees_with_the_naive_loop_on_any_boxes(rows: list[Row], threshold: float, block: int) -> None:
    boxes, scores, classes, pictures = tensors(rows)
    with patch("onelook.nms.BLOCK", block):
        kept = nms(boxes, scores, threshold, classes, pictures)
        assert kept.dtype == torch.int64
        assert kept.tolist() == naive_nms(rows, threshold)
        one_class = [(*row[:2], 0, row[3]) for row in rows]
        assert nms(boxes, scores, threshold, batch_index=pictures).tolist() == naive_nms(one_class, threshold)
        one_picture = [(*row[:3], 0) for row in rows]
        assert nms(boxes, scores, threshold, classes).tolist() == naive_nms(one_picture, threshold)
        assert nms(boxes, scores, threshold).tolist() == naive_nms([(*row[:2], 0, 0) for row in rows], threshold)


def test_nms_agrees_with_the_naive_loop_over_several_blocks() -> None:
    random = np.random.default_rng(0)
    corners = random.integers(0, 60, (3 * BLOCK, 2))
    sides = random.integers(1, 20, (3 * BLOCK, 2))
    boxes = np.concatenate((corners, corners + sides), axis=1).tolist()
    scores = (random.integers(0, 100, 3 * BLOCK) / 100).tolist()
    for classes in (1, 2, 40):
        labels = random.integers(0, classes, 3 * BLOCK).tolist()
        rows = [(tuple(box), score, label, 0) for box, score, label in zip(boxes, scores, labels, strict=True)]
        kept = nms(*tensors(rows)[:2], 0.25, tensors(rows)[2])
        assert len(kept) < len(rows)
        assert kept.tolist() == naive_nms(rows, 0.25)


def onnx_nms(boxes: Tensor, scores: Tensor, threshold: float) -> list[list[int]]:
    """ONNX Runtime's NonMaxSuppression: boxes [B, N, 4], scores [B, C, N] -> rows of picture, class, index."""
    inputs = {
        "boxes": boxes.numpy(),
        "scores": scores.numpy(),
        "most": np.array(boxes.shape[1]),
        "iou_threshold": np.array(threshold, dtype=np.float32),
        "score_threshold": np.array(0.0, dtype=np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", list(inputs), ["kept"])],
        "suppression",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, ["K", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows: list[list[int]] = session.run(None, inputs)[0].tolist()
    return rows


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.45, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("whole", [False, True])
def test_nms_agrees_with_the_operator_of_onnx_runtime(threshold: float, whole: bool) -> None:
    pictures, classes, count = 2, 3, 600
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(pictures, count, 2, generator=generator) * 300
    boxes = torch.cat((low, low + torch.rand(pictures, count, 2, generator=generator) * 80), dim=-1)
    boxes[:, ::50] = boxes[:, 1::50]  # equal boxes
    boxes[:, 2::50, 2] = boxes[:, 2::50, 0]  # boxes without a width
    if whole:
        boxes = boxes.round()
    scores = (torch.rand(pictures, count, generator=generator) * 50).ceil() / 50  # most of them tied
    label = torch.randint(classes, (pictures, count), generator=generator)
    per_class = torch.zeros(pictures, classes, count).scatter(1, label[:, None], scores[:, None])  # 0: not a candidate

    picture = torch.arange(pictures).repeat_interleave(count)
    kept = nms(boxes.flatten(0, 1), scores.flatten(), threshold, label.flatten(), picture).tolist()
    ours = [[i // count, int(label.flatten()[i]), i % count] for i in kept]
    theirs = onnx_nms(boxes, per_class, threshold)
    assert len(theirs) > 10
    # Theirs lie picture by picture and class by class, each by descending score.
    assert sorted(ours, key=lambda row: row[:2]) == theirs


def test_a_suppressed_box_suppresses_no_other() -> None:
    # Each of the row overlaps the next by 2/3 of its width, IoU 1/2, and the one after by 1/3, IoU 1/5.
    boxes = torch.tensor([[x, 0, x + 3, 1] for x in range(600)]).float()
    scores = torch.linspace(1, 0, 600)
    assert nms(boxes, scores, 0.4).tolist() == list(range(0, 600, 2))
    assert nms(boxes, scores, 0.1).tolist() == list(range(0, 600, 3))


def test_an_iou_equal_to_the_threshold_suppresses_nothing() -> None:
    boxes, scores = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 2]]), torch.tensor([0.5, 0.5])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.4999).tolist() == [0]


def test_classes_are_kept_apart_where_an_offset_per_class_would_lose_the_coordinates() -> None:
    # Half a pixel wide: moved by 9000 * 4096 px, where float32 counts in steps of 4, they would have no width left.
    boxes = torch.tensor([[4000.0, 0, 4000.5, 1]]).repeat(3, 1)
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5, torch.tensor([9000, 9000, 8999])).tolist() == [0, 2]


def test_memory_grows_with_the_number_of_boxes_and_not_with_its_square() -> None:
    count = 10 * BLOCK
    corner = torch.arange(count).float()[:, None] * 10
    boxes = torch.cat((corner, corner, corner + 5, corner + 5), dim=1)  # none suppressed
    with patch("onelook.nms.iou", wraps=iou) as spy:
        assert len(nms(boxes, torch.ones(count), 0.5)) == count
    pairs = [len(call.args[0]) * len(call.args[1]) for call in spy.call_args_list]
    assert max(pairs) <= count * BLOCK


def test_suppression_of_no_boxes_keeps_none() -> None:
    boxes, scores, none = torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.int64)
    assert nms(boxes, scores, 0.5).tolist() == []
    assert nms(boxes, scores, 0.5, none, none).tolist() == []
    for labels in ((), (none, none)):
        kept, new_scores = soft_nms(boxes, scores, *labels)
        assert (kept.tolist(), kept.dtype, new_scores.tolist()) == ([], torch.int64, [])


def test_boxes_and_scores_that_are_nan_are_never_kept() -> None:
    boxes, scores = torch.tensor([[0, 0, 2, 2], [NAN, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([NAN, 1, 0.5])
    assert nms(boxes, scores, 0.5).tolist() == [2]
    kept, new_scores = soft_nms(boxes, scores)
    assert (kept.tolist(), new_scores.tolist()) == ([2], [0.5])


def test_nms_takes_boxes_that_need_gradients_and_half_precision() -> None:
    boxes = torch.tensor([[0, 0, 600, 600], [0, 0, 600, 590], [0, 0, 20, 20]], dtype=torch.float16, requires_grad=True)
    assert nms(boxes, torch.tensor([0.5, 0.6, 0.7], dtype=torch.float16), 0.5).tolist() == [2, 1]


@settings(deadline=None)
@given(rows=rows(tied_score), iou_threshold=threshold, score_threshold=st.sampled_from([0.0, 0.001, 0.2]))
def test_linear_soft_nms_agrees_with_the_naive_loop_on_any_boxes(
    rows: list[Row], iou_threshold: float, score_threshold: float
) -> None:
    kept, scores = soft_nms(*tensors(rows, torch.float64), iou_threshold=iou_threshold, score_threshold=score_threshold)
    naive = naive_soft_nms(rows, "linear", 0, iou_threshold, score_threshold)
    assert list(zip(kept.tolist(), scores.tolist(), strict=True)) == naive


@settings(deadline=None)
@given(rows=rows(st.integers(10, 1000).map(lambda n: n / 1000), unique=True), sigma=st.sampled_from([0.1, 0.5, 2.0]))
def test_gaussian_soft_nms_agrees_with_the_naive_loop_on_any_boxes(rows: list[Row], sigma: float) -> None:
    boxes, scores, classes, pictures = tensors(rows, torch.float64)
    kept, new_scores = soft_nms(boxes, scores, classes, pictures, method="gaussian", sigma=sigma)
    naive = naive_soft_nms(rows, "gaussian", sigma, 0, 0.001)
    assert kept.tolist() == [i for i, _ in naive]
    assert new_scores.tolist() == pytest.approx([score for _, score in naive], rel=1e-12)


def test_soft_nms_has_the_scores_worked_out_by_hand() -> None:
    # IoU 1/2 and 1/4 with the first, which has the best score; the third has IoU 1/2 with the second.
    boxes = torch.tensor([[0.0, 0, 4, 1], [0, 0, 2, 1], [0, 0, 1, 1]])
    scores = torch.tensor([0.9, 0.8, 0.6])
    kept, new_scores = soft_nms(boxes, scores, iou_threshold=0.3)
    # 0.8 * (1 - 1/2) = 0.4; the third, untouched by the first at 1/4, is taken before it, and halves it again.
    assert kept.tolist() == [0, 2, 1]
    assert new_scores.tolist() == pytest.approx([0.9, 0.6, 0.2])
    # At a threshold of 1/4 the first lowers the third too.
    assert soft_nms(boxes, scores, iou_threshold=0.25)[1].tolist() == pytest.approx([0.9, 0.45, 0.2])
    kept, new_scores = soft_nms(boxes, scores, method="gaussian", sigma=0.5)
    first = [0.8 * math.exp(-0.5), 0.6 * math.exp(-0.125)]
    assert kept.tolist() == [0, 2, 1]
    assert new_scores.tolist() == pytest.approx([0.9, first[1], first[0] * math.exp(-0.5)])


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_the_new_scores_have_gradients_that_agree_with_finite_differences(
    method: Literal["linear", "gaussian"],
) -> None:
    boxes = torch.tensor([[0, 0, 9, 9], [1, 2, 10, 11], [2, 1, 8, 7], [30, 30, 40, 40.0]], dtype=torch.float64)
    scores = torch.tensor([0.9, 0.8, 0.7, 0.3], dtype=torch.float64)
    inputs = (boxes.requires_grad_(), scores.requires_grad_())
    assert torch.autograd.gradcheck(lambda boxes, scores: soft_nms(boxes, scores, method=method)[1], inputs)


def test_soft_nms_refuses_a_method_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="'linear' or 'gaussian', not 'hard'"):
        soft_nms(torch.ones(1, 4), torch.ones(1), method="hard")  # type: ignore[arg-type]
