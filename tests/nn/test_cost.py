"""The formulas of the papers against counting on the modules, and against each other in exact fractions."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from onelook.nn import cost, count
from onelook.nn.attention import SqueezeExcitation
from onelook.nn.cost import Cost
from onelook.nn.separable import DepthwiseSeparable, InvertedResidual, LinearBottleneck, depthwise, pointwise, regular
from onelook.nn.spatial import SpatiallySeparable

channels = st.integers(2, 24)
maps = st.integers(1, 6)
# What makes a block, and its cost, of D_K, M, N, D_F, the stride and the expansion, rank or reduction.
BLOCKS: dict[str, tuple[Callable[..., nn.Module], Callable[..., Cost]]] = {
    "convolution": (
        lambda k, m, n, f, s, t: regular((m, n), k, s),
        lambda k, m, n, f, s, t: cost.convolution(k, m, n, f),
    ),
    "depthwise": (lambda k, m, n, f, s, t: depthwise(m, k, s), lambda k, m, n, f, s, t: cost.depthwise(k, m, f)),
    "pointwise": (lambda k, m, n, f, s, t: pointwise((m, n)), lambda k, m, n, f, s, t: cost.pointwise(m, n, f * s)),
    "depthwise separable": (
        lambda k, m, n, f, s, t: DepthwiseSeparable((m, n), k, s),
        lambda k, m, n, f, s, t: cost.depthwise_separable(k, m, n, f),
    ),
    "linear bottleneck": (
        lambda k, m, n, f, s, t: LinearBottleneck((m, n), k, s),
        lambda k, m, n, f, s, t: cost.linear_bottleneck(k, m, n, f),
    ),
    "inverted residual": (
        lambda k, m, n, f, s, t: InvertedResidual((m, n), s, t),
        lambda k, m, n, f, s, t: cost.inverted_residual(t, m, n, f, s),
    ),
    "spatially separable": (
        lambda k, m, n, f, s, t: SpatiallySeparable((m, n), k, t, padding=k // 2, bias=False),
        lambda k, m, n, f, s, t: cost.spatially_separable(k, m, n, t, f * s),
    ),
    "squeeze-excitation": (
        lambda k, m, n, f, s, t: SqueezeExcitation(m, t),
        lambda k, m, n, f, s, t: cost.squeeze_excitation(m, t),
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=25)
@given(k=st.sampled_from([1, 3, 5]), m=channels, n=channels, f=maps, s=st.integers(1, 2), t=st.integers(1, 6))
def test_the_formula_of_a_block_is_what_its_module_has(
    name: str, k: int, m: int, n: int, f: int, s: int, t: int
) -> None:
    make, formula = BLOCKS[name]
    with torch.device("meta"):
        module = make(k, m, n, f, s, t)
    size = (f * s, f * s)
    found = Cost(count.numbers(module).weights, count.multiply_adds(module, size, channels=m))
    assert found == formula(k, m, n, f, s, t)


@given(k=st.integers(1, 11), m=st.integers(1, 2048), n=st.integers(1, 2048), f=st.integers(1, 224))
def test_a_separable_convolution_costs_exactly_1_over_n_plus_1_over_d_k_squared_of_a_full_one(
    k: int, m: int, n: int, f: int
) -> None:
    expected = Fraction(1, n) + Fraction(1, k**2)
    for separable, full in zip(cost.depthwise_separable(k, m, n, f), cost.convolution(k, m, n, f), strict=True):
        assert Fraction(separable, full) == expected
    assert cost.depthwise_separable(k, m, n, f) == cost.linear_bottleneck(k, m, n, f)


@pytest.mark.parametrize(
    ("found", "parameters", "multiply_adds"),
    [
        (cost.convolution(3, 512, 512, 14), "2.36", "462"),
        (cost.depthwise_separable(3, 512, 512, 14), "0.27", "52.3"),
        (cost.depthwise_separable(3, 384, 384, 14), "0.15", "29.6"),  # alpha = 0.75
        (cost.depthwise_separable(3, 384, 384, 10), "0.15", "15.1"),  # and rho = 0.714
    ],
)
def test_the_costs_of_an_inner_layer_are_the_millions_of_mobilenets_table_3(
    found: Cost, parameters: str, multiply_adds: str
) -> None:
    for value, printed in zip(found, (parameters, multiply_adds), strict=True):
        assert f"{value / 1e6:.{len(printed.partition('.')[2])}f}" == printed


def test_costs_are_those_worked_out_by_hand() -> None:
    # h w d' t (d' + k^2 + d''), section 3.3 of the MobileNetV2 paper.
    assert cost.inverted_residual(6, 64, 96, 14) == (64 * 6 * (64 + 9 + 96), 14 * 14 * 64 * 6 * (64 + 9 + 96))
    # At stride 2 the expansion layer works on 28 x 28; with t = 1 there is none.
    assert cost.inverted_residual(6, 32, 64, 14, stride=2) == (192 * 105, 28 * 28 * 32 * 192 + 14 * 14 * 192 * (9 + 64))
    assert cost.inverted_residual(1, 32, 16, 112) == (32 * (9 + 16), 112 * 112 * 32 * (9 + 16))
    assert cost.squeeze_excitation(512, 16) == (2 * 512**2 // 16, 2 * 512**2 // 16)
