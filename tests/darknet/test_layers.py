"""Each layer against plain loops over the formula of Darknet's C code."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onelook.darknet.layers import Connected, Crop, MaxPool, Multiply, Route, Shortcut, Softmax, Upsample
from onelook.nn.activations import ACTIVATIONS, activation

Array = NDArray[np.float64]


def image(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def run(layer: torch.nn.Module, *maps: Array) -> Array:
    with torch.no_grad():
        return layer.double()(*(torch.from_numpy(x) for x in maps)).numpy()


@pytest.mark.parametrize("size", range(1, 6))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_maxpool_pads_and_rounds_as_darknet(size: int, stride: int) -> None:
    for padding, side in product({0, size - 1, size // 2}, (6, 7)):
        x = image(1, 2, side, side)
        out = (side + padding - size) // stride + 1
        expected = np.full((1, 2, out, out), -np.inf)
        for c, i, j, di, dj in product(range(2), range(out), range(out), range(size), range(size)):
            row, column = i * stride - padding // 2 + di, j * stride - padding // 2 + dj
            if 0 <= row < side and 0 <= column < side:
                expected[0, c, i, j] = max(expected[0, c, i, j], x[0, c, row, column])
        np.testing.assert_array_equal(run(MaxPool(size, (stride, stride), padding), x), expected)


def test_connected_reads_the_map_channel_by_channel() -> None:
    x = image(2, 3, 2, 2)
    layer = Connected(12, 5, False, "linear")
    found = run(layer, x)
    expected = x.reshape(2, 12) @ layer.linear.weight.detach().numpy().T + layer.linear.bias.detach().numpy()
    np.testing.assert_allclose(found[:, :, 0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("normalization", ["none", "relu", "softmax"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_weighted_shortcut_normalises_as_darknet(normalization: str, per_channel: bool) -> None:
    maps = [image(1, 3, 2, 2, seed=seed) for seed in range(3)]
    layer = Shortcut(3, 3 if per_channel else 1, normalization, "linear")
    with torch.no_grad():
        layer.weight.normal_()
    found = run(layer, *maps)
    weights = layer.weight.detach().numpy()
    for c in range(3):
        w = [float(row[c if per_channel else 0]) for row in weights]
        if normalization == "relu":
            w = [max(v, 0.001) for v in w]
            w = [v / (sum(w) + 1e-4) for v in w]
        elif normalization == "softmax":
            e = [math.exp(v - max(w)) for v in w]
            w = [v / (sum(e) + 1e-4) for v in e]
        expected = sum(v * x[:, c] for v, x in zip(w, maps, strict=True))
        np.testing.assert_allclose(found[:, c], expected, rtol=1e-9)


def test_shortcut_adds_the_channels_that_both_have() -> None:
    wide, narrow = image(1, 4, 2, 2), image(1, 3, 2, 2, seed=1)
    plain = Shortcut(2, None, "none", "linear")
    expected = wide.copy()
    expected[:, :3] += narrow
    np.testing.assert_array_equal(run(plain, wide, narrow), expected)
    np.testing.assert_array_equal(run(plain, narrow, wide), narrow + wide[:, :3])


def test_route_takes_one_group_of_each_map() -> None:
    a, b = image(1, 4, 2, 2), image(1, 6, 2, 2, seed=1)
    np.testing.assert_array_equal(run(Route(2, 1), a, b), np.concatenate((a[:, 2:], b[:, 3:]), axis=1))


def test_upsample_multiply_crop_and_softmax() -> None:
    x = image(1, 2, 4, 6)
    np.testing.assert_array_equal(run(Upsample(3, 0.5), x), 0.5 * x.repeat(3, axis=2).repeat(3, axis=3))
    gate = image(1, 2, 1, 1, seed=1)
    np.testing.assert_array_equal(run(Multiply("linear"), gate, x), gate * x)
    np.testing.assert_array_equal(run(Crop((2, 3), adjust=True), x), 2 * x[:, :, 1:3, 1:4] - 1)
    groups = np.exp(x.reshape(2, 24) / 2)
    expected = (groups / groups.sum(1, keepdims=True)).reshape(1, 48, 1, 1)
    np.testing.assert_allclose(run(Softmax(2, temperature=2.0), x), expected, rtol=1e-12)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


FORMULAS = {
    "linear": lambda x: x,
    "relu": lambda x: x * (x > 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "relie": lambda x: x if x > 0 else 0.01 * x,
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "logistic": lambda x: 1 / (1 + math.exp(-x)),
    "loggy": lambda x: 2 / (1 + math.exp(-x)) - 1,
    "tanh": lambda x: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507 * x if x >= 0 else 1.0507 * 1.6732 * (math.exp(x) - 1),
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(0.797885 * x + 0.035677 * x**3)),
    "swish": lambda x: x / (1 + math.exp(-x)),
    "mish": lambda x: x * math.tanh(softplus(x)),
    "hard_mish": lambda x: x if x > 0 else x * x / 2 + x if x > -2 else 0,
    "hardtan": lambda x: min(max(x, -1), 1),
    "lhtan": lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x,
    "plse": lambda x: 0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5,
    "stair": lambda x: math.floor(x / 2) + (0 if math.floor(x) % 2 == 0 else x - math.floor(x)),
}


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_activation_is_darknets_formula(name: str) -> None:
    values = np.linspace(-9, 9, 145) + 0.003
    found = activation(name)(torch.from_numpy(values)).numpy()
    # Darknet's constants of selu and gelu have five digits, torch's are exact.
    np.testing.assert_allclose(found, [FORMULAS[name](v) for v in values], rtol=1e-4, atol=2e-5)


def test_activations_over_channels_sum_to_one_at_every_pixel() -> None:
    x = torch.from_numpy(image(1, 4, 3, 3))
    positive = x.clamp(min=0)
    expected = positive / (positive.sum(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(activation("normalize_channels")(x), expected)
    for name in ("normalize_channels_softmax", "normalize_channels_softmax_maxval"):
        torch.testing.assert_close(activation(name)(x), x.exp() / x.exp().sum(1, keepdim=True))


def test_every_activation_is_tested() -> None:
    assert {name for name in ACTIVATIONS if not name.startswith("normalize")} == set(FORMULAS)
