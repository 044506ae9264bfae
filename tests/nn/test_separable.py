"""The four blocks of Figure 2 of the MobileNetV2 paper: their layers, their equations in plain numpy, their shortcuts."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onelook.nn.conv import ConvBlock
from onelook.nn.separable import DepthwiseSeparable, InvertedResidual, LinearBottleneck, depthwise, pointwise, regular

Array = NDArray[np.float64]
Layers = list[tuple[str, int, int, str]]


def filled(module: nn.Module, spread: float = 2.0) -> nn.Module:
    """In float64, for inference, with random weights and statistics that reach both ends of ReLU6."""
    random = np.random.default_rng(2)
    for name, tensor in module.double().eval().state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.copy_(torch.from_numpy(random.uniform(1, 4, tensor.shape)))
        elif tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(random.normal(0, spread, tensor.shape)))
    return module


def picture(channels: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(size=(2, channels, 6, 5)))


def outputs(module: nn.Module, x: Tensor) -> Array:
    with torch.no_grad():
        return module(x).numpy()


def blocks(module: nn.Module) -> list[ConvBlock]:
    return [block for block in module.modules() if isinstance(block, ConvBlock)]


def normalised(x: Array, block: ConvBlock) -> Array:
    assert block.norm is not None
    mean, variance, gamma, beta = (
        tensor.detach().numpy()[:, None, None]
        for tensor in (block.norm.running_mean, block.norm.running_var, block.norm.weight, block.norm.bias)
        if tensor is not None
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def mixed(x: Array, block: ConvBlock) -> Array:
    """A pointwise convolution: a product of matrices at every place."""
    return normalised(np.einsum("nm,bmhw->bnhw", block.conv.weight.detach().numpy()[:, :, 0, 0], x), block)


def filtered(x: Array, block: ConvBlock, stride: int) -> Array:
    """A depthwise 3 x 3 convolution: eq. 3 of the MobileNet paper, padded as TensorFlow does a height of 6, a width of 5."""
    weight = block.conv.weight.detach().numpy()[:, 0]
    top = 1 if stride == 1 else 0  # (6 / 2 - 1) 2 + 3 - 6 = 1 zero, at the bottom; for the width of 5 it is 2
    padded = np.pad(x, ((0, 0), (0, 0), (top, 1), (1, 1)))
    height, width = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
    out = np.zeros((*x.shape[:2], height, width))
    for row, column in np.ndindex(height, width):
        window = padded[:, :, row * stride : row * stride + 3, column * stride : column * stride + 3]
        out[:, :, row, column] = (window * weight).sum((2, 3))
    return normalised(out, block)


def relu6(x: Array) -> Array:
    return np.clip(x, 0, 6)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (regular((4, 6)), [("regular", 3, 6, "ReLU6")]),
        (depthwise(4), [("depthwise", 3, 4, "ReLU6")]),
        (pointwise((4, 6)), [("regular", 1, 6, "ReLU6")]),
        (DepthwiseSeparable((4, 6)), [("depthwise", 3, 4, "ReLU6"), ("regular", 1, 6, "ReLU6")]),
        (DepthwiseSeparable((4, 6), 5, activation="relu"), [("depthwise", 5, 4, "ReLU"), ("regular", 1, 6, "ReLU")]),
        (LinearBottleneck((4, 2)), [("depthwise", 3, 4, "ReLU6"), ("regular", 1, 2, "Identity")]),
        (
            InvertedResidual((4, 6), expansion=5),
            [("regular", 1, 20, "ReLU6"), ("depthwise", 3, 20, "ReLU6"), ("regular", 1, 6, "Identity")],
        ),
        (InvertedResidual((4, 6), expansion=1), [("depthwise", 3, 4, "ReLU6"), ("regular", 1, 6, "Identity")]),
    ],
)
def test_the_blocks_have_the_layers_that_figure_2_draws(module: nn.Module, expected: Layers) -> None:
    found = []
    for block in blocks(module):
        conv = block.conv
        assert conv.groups in (1, conv.in_channels)
        kind = "regular" if conv.groups == 1 else "depthwise"
        found.append((kind, conv.kernel_size[0], conv.out_channels, type(block.activation).__name__))
        assert block.norm is not None
    assert found == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_separable_convolution_is_section_3_1_of_its_paper(stride: int) -> None:
    module, x = filled(DepthwiseSeparable((3, 4), stride=stride)), picture(3)
    filters, mixes = blocks(module)
    expected = relu6(mixed(relu6(filtered(x.numpy(), filters, stride)), mixes))
    np.testing.assert_allclose(outputs(module, x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("stride", "after"), [(1, 3), (1, 2), (2, 3)])
@pytest.mark.parametrize("expansion", [1, 6])
def test_an_inverted_residual_is_table_1_of_its_paper(stride: int, after: int, expansion: int) -> None:
    module, x = filled(InvertedResidual((3, after), stride, expansion)), picture(3)
    *expand, filters, project = blocks(module)
    wide = relu6(mixed(x.numpy(), expand[0])) if expansion > 1 else x.numpy()
    expected = mixed(relu6(filtered(wide, filters, stride)), project)
    if (stride, after) == (1, 3):
        expected = expected + x.numpy()
    np.testing.assert_allclose(outputs(module, x), expected, rtol=1e-9, atol=1e-9)


def test_blocks_c_and_d_are_the_same_when_stacked() -> None:
    channels = ((3, 4), (4, 2), (2, 5))
    d = nn.Sequential(*(InvertedResidual(pair, stride, 6) for pair, stride in zip(channels, (1, 2, 1), strict=True)))
    c = nn.Sequential(pointwise((3, 18)))  # the expansion layer; each later one ends block (c) before it
    for (before, after), stride in zip(channels, (1, 2, 1), strict=True):
        c.append(LinearBottleneck((6 * before, after), stride=stride))
        if after != 5:
            c.append(pointwise((after, 6 * after)))
    filled(d)
    filled(c).load_state_dict(dict(zip(c.state_dict(), d.state_dict().values(), strict=True)))
    np.testing.assert_array_equal(outputs(c, picture(3)), outputs(d, picture(3)))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("after", [2, 3, 4])
@pytest.mark.parametrize("expansion", [1, 6])
def test_the_shortcut_is_there_exactly_at_stride_1_and_equal_channels(stride: int, after: int, expansion: int) -> None:
    module, x = filled(InvertedResidual((3, after), stride, expansion)), picture(3)
    norm = blocks(module)[-1].norm
    assert norm is not None
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.zero_()
    kept = x.numpy() if stride == 1 and after == 3 else np.zeros((2, after, 6 // stride, -(-5 // stride)))
    np.testing.assert_array_equal(outputs(module, x), kept)


def test_attention_weighs_the_thin_output_before_the_sum() -> None:
    x = picture(3)
    plain, tripled = (filled(InvertedResidual((3, 3), attention=layer)) for layer in (None, Triple()))
    np.testing.assert_allclose(outputs(tripled, x), x.numpy() + 3 * (outputs(plain, x) - x.numpy()), rtol=1e-9)


class Triple(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


@pytest.mark.parametrize(
    ("module", "linear"),
    [
        (regular((3, 4)), False),
        (DepthwiseSeparable((3, 4)), False),
        (LinearBottleneck((3, 4)), True),
        (InvertedResidual((3, 4)), True),
    ],
)
def test_only_bottlenecks_end_without_an_activation(module: nn.Module, linear: bool) -> None:
    found = outputs(filled(module, spread=10), picture(3))
    if linear:
        assert found.min() < -6
        assert found.max() > 6
    else:
        assert (found.min(), found.max()) == (0, 6)
