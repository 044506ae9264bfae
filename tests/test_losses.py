"""The focal loss and the cross-entropy against their formulas in plain floats."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive
from onelook.losses import OVERLAPS, cross_entropy, focal, wide

LOGITS = st.lists(st.floats(-40, 40), min_size=1, max_size=8)
GAMMAS = st.one_of(st.floats(0, 8), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))


def truth_of(logits: list[float]) -> torch.Tensor:
    return torch.arange(len(logits)) % 2


@given(logits=LOGITS, gamma=GAMMAS, alpha=st.one_of(st.none(), st.floats(0, 1)))
def test_focal_is_equation_5(logits: list[float], gamma: float, alpha: float | None) -> None:
    truth = truth_of(logits)
    found = focal(torch.tensor(logits, dtype=torch.float64), truth, gamma, alpha)
    expected = [naive.focal(t, y, gamma, alpha) for t, y in zip(logits, truth.tolist(), strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-13)


@given(logits=st.lists(st.floats(-(2**99), 2**99, width=32), min_size=1, max_size=8))
def test_without_gamma_and_alpha_it_is_exactly_the_cross_entropy(logits: list[float]) -> None:
    values, truth = torch.tensor(logits), truth_of(logits)
    assert torch.equal(focal(values, truth, gamma=0), cross_entropy(values, truth))
    reference = torch.nn.functional.binary_cross_entropy_with_logits(values, truth.float(), reduction="none")
    assert torch.equal(focal(values, truth, gamma=0), reference)


@given(logits=LOGITS, gamma=GAMMAS)
def test_it_is_never_more_than_the_cross_entropy_and_falls_with_gamma(logits: list[float], gamma: float) -> None:
    values, truth = torch.tensor(logits, dtype=torch.float64), truth_of(logits)
    whole, part, less = cross_entropy(values, truth), focal(values, truth, gamma), focal(values, truth, gamma + 0.5)
    assert (part >= 0).all()
    assert (part <= whole).all()
    assert (less <= part).all()


@given(logits=LOGITS, gamma=GAMMAS, alpha=st.floats(0, 1))
def test_alpha_weighs_ones_against_zeros_and_the_classes_can_be_swapped(
    logits: list[float], gamma: float, alpha: float
) -> None:
    values = torch.tensor(logits, dtype=torch.float64)
    one, zero = torch.ones(len(values)), torch.zeros(len(values))
    plain = focal(values, one, gamma)
    torch.testing.assert_close(focal(values, one, gamma, alpha), alpha * plain)
    torch.testing.assert_close(focal(-values, zero, gamma, alpha), (1 - alpha) * plain)


def test_the_figures_of_section_3() -> None:
    # "with gamma = 2, an example classified with p_t = 0.9 would have 100x lower loss compared with CE and with
    # p_t ~ 0.968 it would have 1000x lower loss"
    p = torch.tensor([0.9, 0.968])
    ratio = cross_entropy(p.logit(), torch.ones(2)) / focal(p.logit(), torch.ones(2), gamma=2)
    assert ratio.tolist() == pytest.approx([100, 1000], rel=0.03)


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_its_gradient_is_that_of_finite_differences(gamma: float, alpha: float | None) -> None:
    logits = torch.linspace(-6, 6, 14, dtype=torch.float64, requires_grad=True)
    truth = (torch.arange(14) // 2) % 2
    assert torch.autograd.gradcheck(lambda x: focal(x, truth, gamma, alpha), logits)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, truth * 0.7 + 0.1), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
def test_value_and_gradient_are_finite_for_any_logit(gamma: float, alpha: float | None, dtype: torch.dtype) -> None:
    largest = min(1e30, torch.finfo(dtype).max)
    points = (0.0, 1e-4, 17.0, 88.0, 100.0, 1e4, largest)
    logits = torch.tensor([sign * x for x in points for sign in (1, -1)] * 2, dtype=dtype).requires_grad_()
    truth = torch.arange(len(logits)) // (2 * len(points))
    loss = focal(logits, truth, gamma, alpha)
    loss.sum().backward()
    assert logits.grad is not None
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    wrong, right = loss[:14:2], loss[1:14:2]  # of the truth 0
    assert wrong[4:6].tolist() == pytest.approx([x * (1 if alpha is None else 0.75) for x in (100, 1e4)], rel=1e-2)
    assert right[4:].max() < 1e-40
    assert logits.grad[1].abs() > 0.01  # at 0 something is learnt, whatever gamma


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = torch.linspace(-15, 15, 40).to(dtype)
    truth = torch.arange(40) % 2
    for found, expected in (
        (focal(logits, truth, 2.0, 0.25), focal(logits.float(), truth, 2.0, 0.25)),
        (cross_entropy(logits, truth.to(dtype)), cross_entropy(logits.float(), truth)),
    ):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)
    assert (wide(logits).dtype, wide(logits.double()).dtype) == (torch.float32, torch.float64)


@given(logit=st.floats(-30, 30), truth=st.floats(0, 1))
def test_cross_entropy_takes_soft_truths_and_is_least_where_it_agrees(logit: float, truth: float) -> None:
    found = float(cross_entropy(torch.tensor(logit, dtype=torch.float64), torch.tensor(truth, dtype=torch.float64)))
    assert found == pytest.approx(naive.entropy(logit, truth), rel=1e-9, abs=1e-9)
    least = sum(-p * math.log(p) for p in (truth, 1 - truth) if p > 0)
    assert found >= least - 1e-9


def test_the_overlaps_are_all_measures_of_boxes() -> None:
    assert set(OVERLAPS) == set(naive.MEASURES)
    a, b = (0.0, 0.0, 10.0, 20.0), (5.0, 2.0, 11.0, 30.0)
    for name, measure in OVERLAPS.items():
        found = measure(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
        assert float(found) == pytest.approx(naive.MEASURES[name](a, b), rel=1e-12), name
