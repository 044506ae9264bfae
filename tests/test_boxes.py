"""Boxes: formats and measures against plain Python in float64, values worked out by hand and finite differences."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onelook.boxes import (
    area,
    ciou,
    clip,
    cxcywh_to_xyxy,
    diou,
    giou,
    iou,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)

Measure = Callable[[Tensor, Tensor], Tensor]
Box = Sequence[float]

MEASURES = (iou, giou, diou, ciou)
NAN, INF = math.nan, math.inf

# Multiples of 1/4 in -32..32: sums and products of such numbers are exact in float32, only the last division rounds.
grid = st.integers(-128, 128).map(lambda n: n / 4)
grid_boxes = st.lists(st.tuples(grid, grid, grid, grid), min_size=1, max_size=6)
proper_boxes = grid_boxes.map(
    lambda boxes: [(min(x, u), min(y, v), max(x, u) + 1, max(y, v) + 1) for x, y, u, v in boxes]
)
special = [NAN, INF, -INF, 0.0, -0.0, 1e7, 9e17, -9e17, 1.1e18, -3e38, 3e38]
wild = st.one_of(grid, st.sampled_from(special), st.sampled_from([1e-19, -1e-19, 1e-30]))
wild_boxes = st.lists(st.tuples(wild, wild, wild, wild), min_size=1, max_size=6)


def naive_area(box: Box) -> float:
    x1, y1, x2, y2 = box
    return max(x2 - x1, 0) * max(y2 - y1, 0)


def naive_terms(a: Box, b: Box) -> tuple[float, float, float, float, float]:
    """IoU, the penalty of GIoU, the penalty of DIoU, and v and alpha of CIoU, as papers and docstring say."""
    if not all(abs(value) < 1e18 for value in (*a, *b)):
        return 0, 0, 0, 0, 0
    intersection = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = naive_area(a) + naive_area(b) - intersection
    overlap = intersection / union if union > 0 else 0
    width = max(a[0], a[2], b[0], b[2]) - min(a[0], a[2], b[0], b[2])
    height = max(a[1], a[3], b[1], b[3]) - min(a[1], a[3], b[1], b[3])
    enclosing, diagonal = width * height, math.hypot(width, height)
    empty = (enclosing - union) / enclosing if enclosing > 0 else 0
    distance = math.dist(((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2))
    away = (distance / diagonal) ** 2 if diagonal > 0 else 0
    angle_a, angle_b = (math.atan2(max(x2 - x1, 0), max(y2 - y1, 0)) for x1, y1, x2, y2 in (a, b))
    v = 4 / math.pi**2 * (angle_a - angle_b) ** 2
    alpha = v / (1 - overlap + v) if v > 0 else 0
    return overlap, empty, away, v, alpha


def naive(measure: Measure, a: Box, b: Box) -> float:
    overlap, empty, away, v, alpha = naive_terms(a, b)
    penalties = (0, empty, away, away + alpha * v)
    return overlap - penalties[MEASURES.index(measure)]


def pairwise_naive(measure: Measure, a: list[Box], b: list[Box]) -> Tensor:
    return torch.tensor([[naive(measure, one, other) for other in b] for one in a], dtype=torch.float32)


@pytest.mark.parametrize("measure", MEASURES)
@settings(deadline=None)
@given(a=grid_boxes, b=grid_boxes)
def test_measures_agree_with_the_naive_loop_on_all_pairs(measure: Measure, a: list[Box], b: list[Box]) -> None:
    found = measure(torch.tensor(a)[:, None], torch.tensor(b))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pairwise_naive(measure, a, b), rtol=0, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
@settings(deadline=None)
@given(boxes=wild_boxes)
def test_measures_and_gradients_are_finite_on_any_boxes_and_zero_where_undefined(
    measure: Measure, boxes: list[Box]
) -> None:
    a = torch.tensor(boxes, requires_grad=True)
    b = torch.tensor(boxes, requires_grad=True)
    found = measure(a[:, None], b)
    assert found.isfinite().all()
    undefined = ~(torch.tensor(boxes).abs() < 1e18).all(dim=1)
    assert not found[undefined[:, None] | undefined].any()
    found.sum().backward()  # type: ignore[no-untyped-call]
    for leaf in (a, b):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert not leaf.grad[undefined].any()


@settings(deadline=None)
@given(boxes=wild_boxes)
def test_area_agrees_with_the_naive_loop_and_is_zero_where_degenerate(boxes: list[Box]) -> None:
    tensor = torch.tensor(boxes, requires_grad=True)
    defined = [naive_area(box) if all(abs(value) < 1e18 for value in box) else 0 for box in tensor.tolist()]
    torch.testing.assert_close(area(tensor), torch.tensor(defined, dtype=torch.float32), rtol=1e-6, atol=1e-38)
    area(tensor).sum().backward()  # type: ignore[no-untyped-call]
    assert tensor.grad is not None
    assert tensor.grad.isfinite().all()
    assert not tensor.grad[torch.tensor([value == 0 for value in defined])].any()


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        ((0, 0, 2, 2), (1, 1, 1, 1)),
        # Beside it, a gap of 2: U = 8, C = 12; the centres 4 apart, the diagonal² 36 + 4.
        ((4, 0, 6, 2), (0, -4 / 12, -16 / 40, -16 / 40)),
        # Half of it: U = C = 4; the centres 1/2 apart, the diagonal² 8; v = 4 / pi² (pi / 4 - atan(1 / 2))².
        ((0, 0, 1, 2), (0.5, 0.5, 0.5 - 0.25 / 8, 0.5 - 0.25 / 8 - 0.041955**2 / (0.5 + 0.041955))),
    ],
)
def test_measures_have_the_values_worked_out_by_hand(b: Box, expected: Box) -> None:
    a = torch.tensor([0.0, 0, 2, 2])
    found = torch.stack([measure(a, torch.tensor(b)) for measure in MEASURES])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6)


POINT, LINE, SQUARE = (3, 3, 3, 3), (1, 3, 5, 3), (2, 2, 4, 4)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (POINT, POINT, (0, 0, 0, 0)),
        (LINE, LINE, (0, 0, 0, 0)),
        # U = C = 4: a point inside leaves nothing empty, and its centre is the square's. The angles are pi / 4 and 0.
        (POINT, SQUARE, (0, 0, 0, -0.25 * 0.25 / 1.25)),
        # U = 4, C = 4 * 2; the angles are pi / 4 and pi / 2.
        (LINE, SQUARE, (0, -4 / 8, 0, -0.25 * 0.25 / 1.25)),
        # A point and a square inverted in x, that spans x from 2 to 4: U = 0, C = 2 * 1.
        (POINT, (4, 2, 2, 3), (0, -1, -0.25 / 5, -0.25 / 5)),
        ((NAN, 2, 4, 4), SQUARE, (0, 0, 0, 0)),
        ((2, 2, INF, 4), SQUARE, (0, 0, 0, 0)),
        ((2, 2, INF, 4), (2, 2, INF, 4), (0, 0, 0, 0)),
    ],
)
def test_degenerate_boxes_have_the_documented_measures_in_either_place(a: Box, b: Box, expected: Box) -> None:
    for one, other in ((a, b), (b, a)):
        found = [float(measure(torch.tensor(one).float(), torch.tensor(other).float())) for measure in MEASURES]
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("box", [POINT, LINE, (3, 1, 3, 5), (4, 2, 2, 4), (4, 4, 2, 2), (NAN, 2, 4, 4)])
def test_the_iou_of_a_degenerate_box_gives_no_gradient_to_either(box: Box) -> None:
    a, b = torch.tensor(box).float().requires_grad_(), torch.tensor(SQUARE).float().requires_grad_()
    iou(a, b).backward()  # type: ignore[no-untyped-call]
    for leaf in (a, b):
        assert leaf.grad is not None
        assert not leaf.grad.any()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("side", [1e-18, 1e-20, 1e-25, 1e-38])
def test_gradients_are_finite_where_squares_leave_the_range_of_floats(measure: Measure, side: float) -> None:
    box = torch.tensor([0, 0, side, side], requires_grad=True)
    for other in ((0, 0, side, side), (0, 0, side, 2 * side), SQUARE):
        measure(box, torch.tensor(other).float()).backward()  # type: ignore[no-untyped-call]
    assert box.grad is not None
    assert box.grad.isfinite().all()


@settings(deadline=None)
@given(a=grid_boxes, b=grid_boxes)
def test_measures_are_symmetric_ordered_and_in_their_ranges(a: list[Box], b: list[Box]) -> None:
    one, other = torch.tensor(a)[:, None], torch.tensor(b)
    found = [measure(one, other) for measure in MEASURES]
    for measure, values in zip(MEASURES, found, strict=True):
        torch.testing.assert_close(values, measure(other, one), rtol=0, atol=0)
        assert (values <= found[0]).all()  # no penalty is negative
        assert (values >= {iou: 0, giou: -1, diou: -1, ciou: -1.5}[measure]).all()
    assert (found[0] <= 1).all()
    assert (found[3] <= found[2]).all()


@settings(deadline=None)
@given(boxes=proper_boxes)
def test_a_box_agrees_with_itself_by_exactly_one(boxes: list[Box]) -> None:
    tensor = torch.tensor(boxes)
    for measure in MEASURES:
        assert (measure(tensor, tensor) == 1).all()


@settings(deadline=None)
@given(a=grid_boxes, b=grid_boxes, shift=st.tuples(grid, grid), exponent=st.integers(-8, 8))
def test_measures_do_not_depend_on_place_and_scale(
    a: list[Box], b: list[Box], shift: tuple[float, float], exponent: int
) -> None:
    one, other = torch.tensor(a)[:, None], torch.tensor(b)
    for measure in MEASURES:
        moved = [(boxes + torch.tensor(shift * 2)) * 2.0**exponent for boxes in (one, other)]
        torch.testing.assert_close(measure(*moved), measure(one, other), rtol=0, atol=1e-7)


# Pairs away from the kinks: overlapping, one in the other, apart in x, in y and in both.
A = torch.tensor([[10, 20, 50, 45.0]], dtype=torch.float64)
B = torch.tensor(
    [[22, 8, 71, 39.0], [18, 24, 31, 40], [3, 7, 61, 52], [60, 22, 83, 41], [14, 60, 44, 81], [70, 71, 92, 89]],
    dtype=torch.float64,
)


@pytest.mark.parametrize("measure", [iou, giou, diou])
def test_gradients_of_measures_agree_with_finite_differences(measure: Measure) -> None:
    a = A.repeat(len(B), 1).requires_grad_()
    assert torch.autograd.gradcheck(measure, (a, B.clone().requires_grad_()))


def test_the_gradient_of_ciou_agrees_with_finite_differences_at_constant_alpha() -> None:
    a = A.repeat(len(B), 1).requires_grad_()
    ciou(a, B).sum().backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None
    box, step = A[0].tolist(), 1e-5
    for other, gradient in zip(B.tolist(), a.grad.tolist(), strict=True):
        alpha = naive_terms(box, other)[-1]
        for i in range(4):
            sides = []
            for sign in (1, -1):
                moved = [value + sign * step * (i == k) for k, value in enumerate(box)]
                overlap, _, away, v, _ = naive_terms(moved, other)
                sides.append(overlap - away - alpha * v)
            assert gradient[i] == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-9)


def test_a_box_apart_from_its_target_is_drawn_to_it_by_all_measures_but_iou() -> None:
    for measure, drawn in zip(MEASURES, (False, True, True, True), strict=True):
        box = torch.tensor([0.0, 0, 2, 2], requires_grad=True)
        measure(box, torch.tensor([5.0, 0, 7, 2])).backward()  # type: ignore[no-untyped-call]
        assert box.grad is not None
        assert (float(box.grad[2]) > 0) == drawn


@pytest.mark.parametrize("convert", [xyxy_to_cxcywh, cxcywh_to_xyxy, xyxy_to_xywh, xywh_to_xyxy])
def test_conversions_keep_shape_and_type_and_have_gradients(convert: Callable[[Tensor], Tensor]) -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        for shape in ((4,), (0, 4), (2, 3, 4)):
            converted = convert(torch.ones(shape, dtype=dtype))
            assert (converted.shape, converted.dtype) == (shape, dtype)
    assert torch.autograd.gradcheck(convert, (B.clone().requires_grad_(),))


def test_conversions_have_the_values_worked_out_by_hand() -> None:
    box = torch.tensor([10.0, 20, 50, 45])
    assert xyxy_to_cxcywh(box).tolist() == [30, 32.5, 40, 25]
    assert xyxy_to_xywh(box).tolist() == [10, 20, 40, 25]


@settings(deadline=None)
@given(boxes=grid_boxes)
def test_conversions_there_and_back_change_nothing(boxes: list[Box]) -> None:
    tensor = torch.tensor(boxes)
    assert torch.equal(cxcywh_to_xyxy(xyxy_to_cxcywh(tensor)), tensor)
    assert torch.equal(xywh_to_xyxy(xyxy_to_xywh(tensor)), tensor)


@settings(deadline=None)
@given(boxes=wild_boxes, width=st.integers(1, 40), height=st.integers(1, 40))
def test_clip_agrees_with_the_naive_loop_and_leaves_nan(boxes: list[Box], width: int, height: int) -> None:
    naive = [
        [v if math.isnan(v) else min(max(v, 0), (width, height)[i % 2]) for i, v in enumerate(box)] for box in boxes
    ]
    expected = torch.tensor(naive, dtype=torch.float32)
    torch.testing.assert_close(clip(torch.tensor(boxes), width, height), expected, rtol=0, atol=0, equal_nan=True)


def test_clip_passes_no_gradient_to_what_it_moved() -> None:
    box = torch.tensor([-3.0, 0, 12, 7], requires_grad=True)
    clip(box, 10, 7).sum().backward()  # type: ignore[no-untyped-call]
    assert box.grad is not None
    assert box.grad.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    a = torch.tensor([0, 0, 600, 600], dtype=dtype)
    b = torch.tensor([0, 0, 600, 300], dtype=dtype)
    assert float(area(a)) == pytest.approx(float(a[2]) ** 2)
    for measure in MEASURES:
        found = measure(a, b)
        assert found.dtype == torch.float32
        assert float(found) == pytest.approx(naive(measure, tuple(a.tolist()), tuple(b.tolist())), abs=1e-6)


def test_measures_of_no_boxes_are_empty() -> None:
    for measure in MEASURES:
        assert measure(torch.empty(0, 1, 4), torch.ones(3, 4)).shape == (0, 3)
        assert measure(torch.empty(0, 4), torch.empty(0, 4)).shape == (0,)
