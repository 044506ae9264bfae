"""The block of convolutions against naive loops in float64 and ONNX Runtime; gradients and folding of all blocks."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from onelook.backbones.darknet import Residual
from onelook.backbones.resnet import Bottleneck
from onelook.backbones.xception import Module
from onelook.nn.attention import SqueezeExcitation
from onelook.nn.conv import ConvBlock, fill_folded, fold_batch_norm
from onelook.nn.separable import DepthwiseSeparable, InvertedResidual, LinearBottleneck, regular
from onelook.nn.spatial import SpatiallySeparable

Array = NDArray[np.float64]

# Channels of the input, and the block: small ones of every kind.
BLOCKS: Mapping[str, tuple[int, Callable[[], nn.Module]]] = {
    "conv": (2, lambda: ConvBlock((2, 3), (3, 2), (2, 1), (1, 0), activation="leaky")),
    "conv same": (2, lambda: ConvBlock((2, 2), 3, 2, "same", dilation=2, groups=2, activation="mish")),
    "conv without norm": (2, lambda: ConvBlock((2, 3), 1, batch_norm=False, activation="relu")),
    "regular": (2, lambda: regular((2, 3))),
    "separable": (2, lambda: DepthwiseSeparable((2, 3), stride=2)),
    "linear bottleneck": (3, lambda: LinearBottleneck((3, 2), stride=2)),
    "inverted residual": (2, lambda: InvertedResidual((2, 3), 2, expansion=2)),
    "inverted residual with shortcut": (2, lambda: InvertedResidual((2, 2), 1, 2, SqueezeExcitation(2, 1))),
    "inverted residual without expansion": (2, lambda: InvertedResidual((2, 2), expansion=1)),
    "squeeze-excitation": (4, lambda: SqueezeExcitation(4, 2)),
    "spatially separable": (2, lambda: SpatiallySeparable((2, 3), (3, 2), 2, stride=(1, 2), padding=1)),
    "xception": (2, lambda: Module((2, 3, 2), 2, reduction=1)),
    "xception middle": (2, lambda: Module((2, 2, 2, 2), 1)),
    "resnet": (4, lambda: Bottleneck((4, 1))),
    "resnet with projection": (3, lambda: Bottleneck((3, 1), 2, reduction=2)),
    "darknet": (4, lambda: Residual(4, reduction=2)),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def filled(make: Callable[[], nn.Module]) -> nn.Module:
    """A block in float64 with random weights and statistics."""
    module, random = make().double(), np.random.default_rng(4)
    for name, tensor in module.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.copy_(torch.from_numpy(random.uniform(0.5, 2, tensor.shape)))
        elif tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(random.normal(0, 0.7, tensor.shape)))
    return module


def picture(channels: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(5).normal(size=(2, channels, 3, 4)))


def same_conv(x: Array, weight: Array, stride: tuple[int, int], dilation: int, groups: int) -> Array:
    """TensorFlow's "SAME" as its documentation has it, pixel by pixel: x [M, H, W], weight [N, M / groups, k_y, k_x]."""
    (_, height, width), (n, m, k_y, k_x) = x.shape, weight.shape
    before = []
    for side, k, s in ((height, k_y, stride[0]), (width, k_x, stride[1])):
        window = (k - 1) * dilation + 1
        before.append(max(window - (side % s or s), 0) // 2)  # an odd zero goes behind
    out = np.zeros((n, -(-height // stride[0]), -(-width // stride[1])))
    for channel, row, column in np.ndindex(out.shape):
        first = channel // (n // groups) * m
        for a, b in np.ndindex(k_y, k_x):
            y, z = row * stride[0] - before[0] + a * dilation, column * stride[1] - before[1] + b * dilation
            if 0 <= y < height and 0 <= z < width:
                out[channel, row, column] += weight[channel, :, a, b] @ x[first : first + m, y, z]
    return out


sides, kernels, strides = (st.tuples(st.integers(1, n), st.integers(1, n)) for n in (8, 5, 3))


@settings(max_examples=60)
@given(side=sides, kernel=kernels, stride=strides, dilation=st.integers(1, 2), groups=st.integers(1, 2))
def test_padding_same_agrees_with_the_naive_loop(
    side: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], dilation: int, groups: int
) -> None:
    block = ConvBlock((2, 2), kernel, stride, "same", dilation, groups, batch_norm=False).double()
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(2, *side)), random.normal(size=(2, 2 // groups, *kernel))
    with torch.no_grad():
        block.conv.weight.copy_(torch.from_numpy(weight))
        block.conv.bias.zero_()  # type: ignore[union-attr]
        found = block(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(found, same_conv(x, weight, stride, dilation, groups), atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_padding_same_agrees_with_onnx_runtime(kernel: int, stride: int) -> None:
    block = ConvBlock((2, 3), kernel, stride, "same", batch_norm=False)
    float_map = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None, None, None]) for name in "xy"
    ]
    weights = [onnx.numpy_helper.from_array(p.detach().numpy(), name) for name, p in block.conv.named_parameters()]
    node = onnx.helper.make_node("Conv", ["x", "weight", "bias"], ["y"], auto_pad="SAME_UPPER", strides=[stride] * 2)
    graph = onnx.helper.make_graph([node], "same", float_map[:1], float_map[1:], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for side in range(kernel, 9):
        x = torch.from_numpy(np.random.default_rng(side).normal(size=(1, 2, side, 9)).astype(np.float32))
        (expected,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(block(x).detach().numpy(), expected, atol=1e-5)


@settings(max_examples=60)
@given(kernel=st.integers(1, 5), stride=st.integers(1, 3), padding=st.integers(0, 3), dilation=st.integers(1, 2))
def test_a_padding_of_pixels_gives_the_size_of_the_docstring(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    block = ConvBlock((1, 1), kernel, stride, padding, dilation).to("meta")
    expected = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in (9, 12)]
    assert list(block(torch.empty(2, 1, 9, 12, device="meta")).shape) == [2, 1, *expected]


def test_a_bias_is_there_exactly_where_no_normalisation_is() -> None:
    assert [name for name, _ in ConvBlock((1, 1), 1).named_parameters()] == ["conv.weight", "norm.weight", "norm.bias"]
    assert [name for name, _ in ConvBlock((1, 1), 1, batch_norm=False).named_parameters()] == [
        "conv.weight",
        "conv.bias",
    ]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_of_every_block_agree_with_finite_differences(name: str, training: bool) -> None:
    channels, make = BLOCKS[name]
    module = filled(make).train(training)
    names = [name for name, _ in module.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    leaves = [tensor.detach().clone().requires_grad_() for tensor in (picture(channels), *module.parameters())]
    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("name", BLOCKS)
def test_folding_batch_norm_leaves_the_outputs_of_every_block_and_the_block_itself_unchanged(name: str) -> None:
    channels, make = BLOCKS[name]
    module = filled(make)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    folded = fold_batch_norm(module)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    assert not folded.training
    assert module.training
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(folded(picture(channels)), module.eval()(picture(channels)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_block_filled_with_folded_weights_gives_what_the_folded_convolution_gives(groups: int) -> None:
    block = filled(lambda: ConvBlock((4, 6), 3, 2, "same", groups=groups, activation="relu6")).eval()
    random = np.random.default_rng(6)
    weight, bias, x = (random.normal(size=shape) for shape in ((6, 4 // groups, 3, 3), (6,), (4, 5, 7)))
    assert isinstance(block, ConvBlock)
    fill_folded(block, torch.from_numpy(weight), torch.from_numpy(bias))
    expected = np.clip(same_conv(x, weight, (2, 2), 1, groups) + bias[:, None, None], 0, 6)
    with torch.no_grad():
        np.testing.assert_allclose(block(torch.from_numpy(x)[None])[0].numpy(), expected, rtol=1e-12, atol=1e-12)
