"""How weights are drawn: bounds and moments against those of the distributions."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from onelook.nn.init import glorot_uniform, he_normal, truncated_normal

# Of a normal distribution cut at two deviations: 1 / sqrt(2 pi) e^-2 is its density there, erf(sqrt(2)) what is kept.
DENSITY, KEPT = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(math.sqrt(2))
VARIANCE = 1 - 2 * 2 * DENSITY / KEPT
FOURTH = 3 - 2 * (2**3 + 3 * 2) * DENSITY / KEPT

# Layers with many weights, each with its fan-in and fan-out.
LAYERS = {
    "conv": (lambda: nn.Conv2d(64, 96, 3), 64 * 9, 96 * 9),
    "wide kernel": (lambda: nn.Conv2d(32, 128, (1, 7)), 32 * 7, 128 * 7),
    "linear": (lambda: nn.Linear(300, 200), 300, 200),
}


def draw(initialise: Callable[[nn.Module], None], make: Callable[[], nn.Module]) -> Tensor:
    torch.manual_seed(0)
    layer = make()
    initialise(nn.Sequential(layer, nn.BatchNorm2d(7)))
    assert isinstance(layer.weight, Tensor)
    return layer.weight.detach().double()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("initialise", "variance", "kurtosis", "bound"),
    [
        (he_normal, lambda fan_in, fan_out: 2 / fan_in, 3, math.inf),
        (glorot_uniform, lambda fan_in, fan_out: 2 / (fan_in + fan_out), 9 / 5, math.sqrt(3)),
        (
            partial(truncated_normal, deviation=0.09),
            lambda *_: 0.09**2 * VARIANCE,
            FOURTH / VARIANCE**2,
            2 / VARIANCE**0.5,
        ),
    ],
    ids=["he", "glorot", "truncated"],
)
def test_weights_have_the_moments_and_bounds_of_their_distribution(
    initialise: Callable[[nn.Module], None],
    variance: Callable[[int, int], float],
    kurtosis: float,
    bound: float,
    layer: str,
) -> None:
    make, fan_in, fan_out = LAYERS[layer]
    weight = draw(initialise, make) / math.sqrt(variance(fan_in, fan_out))
    n = weight.numel()
    assert float(weight.mean()) == pytest.approx(0, abs=5 / n**0.5)
    assert float(weight.square().mean()) == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert float(weight.pow(4).mean()) == pytest.approx(kurtosis, rel=0.05)
    assert float(weight.abs().max()) <= bound * (1 + 1e-6)
    if bound < math.inf:
        assert float(weight.abs().max()) > 0.99 * bound


@pytest.mark.parametrize("initialise", [he_normal, glorot_uniform, partial(truncated_normal, deviation=0.1)])
def test_biases_are_zero_and_normalisation_is_left_alone(initialise: Callable[[nn.Module], None]) -> None:
    conv, norm, linear = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 2)
    nn.init.constant_(norm.weight, 7)
    nn.init.constant_(norm.bias, 8)
    initialise(nn.Sequential(conv, norm, linear))
    for layer in (conv, linear):
        assert layer.bias is not None
        assert not layer.bias.any()
        assert layer.bias.requires_grad
    assert norm.weight.tolist() == [7] * 3
    assert norm.bias.tolist() == [8] * 3
