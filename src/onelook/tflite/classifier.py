"""A classifier in TensorFlow Lite's format -> one of onelook's backbones with its weights."""

import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from onelook.backbones import Backbone, create
from onelook.checkpoint import Checkpoint
from onelook.errors import CheckpointError, NetworkError
from onelook.nn.conv import ConvBlock, fill_folded
from onelook.nn.pool import GlobalAvgPool
from onelook.nn.separable import InvertedResidual
from onelook.tflite.reader import Graph, Operator, read_tflite

# The width multipliers that there are trained weights of.
ALPHAS = {"mobilenet_v1": (0.25, 0.5, 0.75, 1.0), "mobilenet_v2": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}
CROP = 0.875  # of the pictures that the authors' figures are of

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_POOLS = ("AVERAGE_POOL_2D", "MEAN")
_PLAIN = ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE")  # which change no number


def load(path: str | Path) -> Checkpoint:
    """A MobileNetV1 or MobileNetV2 with the weights of a TensorFlow Lite file, dequantized.

    In the file each batch normalisation has become part of its convolution; here it gives back what it gets, plus the
    convolution's bias.

    Raises:
        CheckpointError: the file cannot be read, or holds another network; says at which operator.
    """
    graph = read_tflite(path)
    for operator in graph.operators:
        if operator.kind not in (*_CONVOLUTIONS, *_POOLS, *_PLAIN, "ADD", "SOFTMAX"):
            raise CheckpointError(f"{graph.path}: has an operator {operator.kind}; {_IMPORTED}")
    steps = [operator for operator in graph.operators if operator.kind not in _PLAIN]
    if steps and steps[-1].kind == "SOFTMAX":  # what is made of this network has its own
        steps.pop()
    if not steps or steps[-1].kind not in _CONVOLUTIONS or not graph.inputs:
        raise CheckpointError(f"{graph.path}: does not end with a classifier; {_IMPORTED}")
    try:
        return _match(graph, steps)
    except NetworkError as error:
        raise CheckpointError(f"{graph.path}: {error}") from None
    except (ValueError, IndexError, TypeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{graph.path}: is damaged: {error}") from None


_IMPORTED = "onelook imports classifiers of MobileNetV1 and MobileNetV2"


def _match(graph: Graph, steps: list[Operator]) -> Checkpoint:
    """The network that the operators are those of, filled; the error is that of the one that fits furthest."""
    shape = graph.tensors[graph.inputs[0]].shape
    origins = _origins(graph)
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise CheckpointError(f"{graph.path}: takes {list(shape)}; expected one picture [1, height, width, 3]")
    classes = _shape(graph, origins, steps[-1].inputs[1])[0]
    furthest, complaint = -1, ""
    for name, alphas in ALPHAS.items():
        for alpha in alphas:
            with torch.device("meta"):
                network = create(name, alpha=alpha, classes=classes)
            network.check_size(shape[1:3])
            number, difference = _compare(graph, origins, steps, network)
            if not difference:
                return _filled(graph, origins, steps, name, alpha, classes)
            if number > furthest:
                furthest, complaint = number, f"{difference} of {name} with alpha {alpha:g}"
    raise CheckpointError(f"{graph.path}: is another network: {complaint}; {_IMPORTED}")


def _origins(graph: Graph) -> dict[int, int]:
    """The tensors made by operators without weights, each with the one that it comes from."""
    origins: dict[int, int] = {}
    for operator in graph.operators:
        if operator.kind in _PLAIN:
            origins[operator.outputs[0]] = origins.get(operator.inputs[0], operator.inputs[0])
    return origins


def _compare(graph: Graph, origins: dict[int, int], steps: list[Operator], network: Backbone) -> tuple[int, str]:
    """The number of the first operator that differs from the network's, and how; "" where none does."""
    previous = graph.inputs[0]
    thin = [previous]  # results without activation: the ends of shortcuts
    for number, (expected, found) in enumerate(zip_longest(_steps(network), steps)):
        want = _wanted(expected)
        have = described(graph, origins, found)
        if want != have:
            return number, f"its step {number + 1} is {have}, not the {want}"
        ends = {thin[-1], thin[-2]} if found.kind == "ADD" else {origins.get(previous, previous)}
        data = found.inputs[:2] if found.kind == "ADD" else found.inputs[:1]
        if {origins.get(i, i) for i in data} != ends:
            return number, f"its step {number + 1}, {have}, works on another map than that"
        previous = found.outputs[0]
        if found.kind == "ADD":
            thin[-1] = previous
        elif found.activation == "linear":
            thin.append(previous)
    return len(steps), ""


def _steps(module: nn.Module) -> Iterator[nn.Module]:
    """What computes, in order: what has weights, the mean, and an InvertedResidual where it sums."""
    if isinstance(module, ConvBlock | nn.Linear | GlobalAvgPool):
        yield module
        return
    for child in module.children():
        yield from _steps(child)
    if isinstance(module, InvertedResidual) and module.shortcut:
        yield module


def _wanted(module: nn.Module | None) -> str:
    """A step of a network in words."""
    match module:
        case ConvBlock(conv=conv):
            name = {nn.ReLU6: "relu6", nn.Identity: "linear"}[type(module.activation)]
            kind = "depthwise convolution" if conv.groups > 1 else "convolution"
            return f"{kind} {list(conv.weight.shape)}, stride {conv.stride[0]}, {name}"
        case nn.Linear(weight=weight):
            return f"convolution {[*weight.shape, 1, 1]}, stride 1, linear"
        case InvertedResidual():
            return "sum"
        case GlobalAvgPool():
            return "mean"
    return "end"


def described(graph: Graph, origins: dict[int, int], operator: Operator | None) -> str:
    """A step of the file in the same words."""
    if operator is None:
        return "end"
    if operator.kind == "ADD":
        return "sum" if operator.activation == "linear" else f"sum, {operator.activation}"
    if operator.kind == "SOFTMAX":
        return "softmax"
    if operator.kind in _POOLS:
        shape = graph.tensors[operator.outputs[0]].shape
        return "mean" if math.prod(shape) == shape[-1] else f"pooling to {list(shape)}"
    shape = _shape(graph, origins, operator.inputs[1])
    strides = operator.strides
    stride = f"stride {strides[0] if strides[0] == strides[1] else strides}, {operator.activation}"
    if operator.kind == "FULLY_CONNECTED":
        return f"convolution {[*shape, 1, 1]}, {stride}"
    kind, order = (
        ("convolution", (0, 3, 1, 2)) if operator.kind == "CONV_2D" else ("depthwise convolution", (3, 0, 1, 2))
    )
    padding = "" if operator.same or shape[1:3] == (1, 1) else ", no padding"
    return f"{kind} {[shape[i] for i in order]}, {stride}{padding}"


def _shape(graph: Graph, origins: dict[int, int], tensor: int) -> tuple[int, ...]:
    """Of a kernel, which must be that of the numbers it is dequantized from."""
    shape, stored = graph.tensors[tensor].shape, graph.tensors[origins.get(tensor, tensor)].shape
    if shape != stored:
        raise ValueError(f"a tensor of shape {list(shape)} comes from one of shape {list(stored)}")
    return shape


def _filled(
    graph: Graph, origins: dict[int, int], steps: list[Operator], name: str, alpha: float, classes: int
) -> Checkpoint:
    """The network with the weights, and what the file says of its input."""
    numbers = [weight_and_bias(graph, origins, operator) for operator in steps if operator.kind in _CONVOLUTIONS]
    network = create(name, alpha=alpha, classes=classes)  # allocated now that the file is known to have so many numbers
    modules = [module for module in _steps(network) if isinstance(module, ConvBlock | nn.Linear)]
    with torch.no_grad():
        for module, (weight, bias) in zip(modules, numbers, strict=True):
            if isinstance(module, ConvBlock):
                fill_folded(module, weight, bias)
            else:
                assert isinstance(module, nn.Linear)
                module.weight.copy_(weight.view(module.weight.shape))
                module.bias.copy_(bias)
    tensor = graph.tensors[graph.inputs[0]]
    mean, std = network.mean, network.std
    if len(tensor.scale):  # the network's input is scale (pixel - zero point); signed bytes are pixels less 128
        offset = 128 if tensor.dtype == "i1" else 0
        mean = (float(tensor.zero_point.sum() + offset),) * 3
        std = (1 / float(tensor.scale[0]),) * 3
        if not 1e-6 < std[0] < 1e6:  # a NaN ends here too
            raise ValueError(f"its input has the scale {tensor.scale[0]}")
    labels = graph.labels if graph.labels is not None and len(graph.labels) == classes else None
    return Checkpoint(
        network=network.eval(),
        name=name,
        options={"alpha": alpha, "classes": classes},
        names=labels,
        size=(tensor.shape[1], tensor.shape[2]),
        mean=mean,
        std=std,
        crop=CROP,
    )


def weight_and_bias(graph: Graph, origins: dict[int, int], operator: Operator) -> tuple[Tensor, Tensor]:
    """A kernel in torch's order, [N, M, k_y, k_x], and its bias [N]."""
    order = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1)}[operator.kind]
    weight, *bias = (graph.tensors[origins.get(i, i)].real() for i in operator.inputs[1:3] if i >= 0)
    kernel = torch.from_numpy(weight.transpose(order).copy())
    if bias and bias[0].shape != (len(kernel),):
        raise ValueError(f"a bias of shape {list(bias[0].shape)} for {len(kernel)} channels")
    return kernel, torch.from_numpy(bias[0]) if bias else torch.zeros(len(kernel))
