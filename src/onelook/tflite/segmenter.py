"""A DeepLabv3 in TensorFlow Lite's format -> onelook's own with its weights."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from onelook.backbones import MobileNetV2
from onelook.backbones.mobilenet_v2 import BOTTLENECKS, width
from onelook.errors import CheckpointError, NetworkError
from onelook.nn.conv import ConvBlock, fill_folded
from onelook.segmenters import DeepLabV3
from onelook.tflite.classifier import ALPHAS, described, weight_and_bias
from onelook.tflite.reader import Graph, Operator, read_tflite

_IMPORTED = "onelook imports DeepLabv3 on MobileNetV2, at an output stride of 16 and without atrous pyramid"
_DILATED = " with dilation "  # how the reader calls convolutions that have one
_MEANS = ("AVERAGE_POOL_2D", "MEAN")
_DESCRIBED = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", *_MEANS)
_PAIRS = ("ADD", "CONCATENATION")  # which work on two maps


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A trained segmenter, and what must be known to use it.

    Attributes:
        network: with its weights, in evaluation mode.
        alpha: of its MobileNetV2.
        names: of the classes; None where the file does not say.
        size: height and width of the pictures it takes, pixels.
    """

    network: DeepLabV3
    alpha: float
    names: tuple[str, ...] | None
    size: tuple[int, int]


def is_segmenter(path: str | Path) -> bool:
    """Whether a file ends with the class of each pixel. Raises CheckpointError where it cannot be read."""
    operators = read_tflite(path).operators
    return bool(operators) and operators[-1].kind == "ARG_MAX"


def load(path: str | Path) -> Segmenter:
    """A DeepLabv3 on MobileNetV2 with the weights of a TensorFlow Lite file, dequantized.

    In the file each batch normalisation has become part of its convolution; here it gives back what it gets, plus the
    convolution's bias.

    Raises:
        CheckpointError: the file cannot be read, or holds another network; says at which operator.
    """
    graph = read_tflite(path)
    try:
        return _match(graph)
    except NetworkError as error:
        raise CheckpointError(f"{graph.path}: {error}") from None
    except (ValueError, IndexError, KeyError, TypeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{graph.path}: is damaged: {error}") from None


def _match(graph: Graph) -> Segmenter:
    """The network that the operators are those of, filled. Its alpha shows in the channels of the mean of its map."""
    shape = graph.tensors[graph.inputs[0]].shape
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise CheckpointError(f"{graph.path}: takes {list(shape)}; expected one picture [1, height, width, 3]")
    if not graph.operators or graph.operators[-1].kind != "ARG_MAX":
        raise CheckpointError(f"{graph.path}: does not end with the class of each pixel; {_IMPORTED}")
    classes = graph.tensors[graph.operators[-1].inputs[0]].shape[-1]
    means = [graph.tensors[operator.outputs[0]].shape[-1] for operator in graph.operators if operator.kind in _MEANS]
    alphas = {width(BOTTLENECKS[-1][1], alpha): alpha for alpha in ALPHAS["mobilenet_v2"]}
    if len(means) != 1 or means[0] not in alphas:
        raise CheckpointError(
            f"{graph.path}: is another network: has {len(means)} means, of {means[:3]} channels; {_IMPORTED}"
        )
    with torch.device("meta"):
        network = DeepLabV3(MobileNetV2(alphas[means[0]], classes=0), classes)
    network.check_size(shape[1:3])
    followed = _Followed(graph)
    try:
        followed.network(network)
    except _OtherError as error:
        reason = f"{error} of alpha {alphas[means[0]]:g}"
        raise CheckpointError(f"{graph.path}: is another network: {reason}; {_IMPORTED}") from None
    return _filled(graph, followed, alphas[means[0]], classes)


class _OtherError(Exception):
    """The file holds another network; says which operator is not there."""


class _Followed:
    """A network, followed through the operators of a file: each works on what it is to work on, in any order.

    Attributes:
        convolutions: the operators of the network's convolutions, in the order of `_convolutions`.
        origins: the tensors that hold the same numbers as another, and which.
        steps: how many operators were found.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.convolutions: list[Operator] = []
        self.origins: dict[int, int] = {}
        self.steps = 0
        self._open: dict[tuple[int, ...], list[Operator]] = {}  # by what they work on
        for operator in graph.operators:
            if _is_plain(graph, operator):
                self.origins[operator.outputs[0]] = self._origin(operator.inputs[0])
            else:
                self._open.setdefault(self._data(operator), []).append(operator)

    def network(self, network: DeepLabV3) -> None:
        """Raises _OtherError where an operator is missing, or one is left at the end."""
        x = self.graph.inputs[0]
        for row in network.backbone.body:
            start = x
            for block in row.modules():
                if isinstance(block, ConvBlock):
                    x = self._convolution(block, x)
            if getattr(row, "shortcut", False):
                x = self._step("sum", *sorted((start, x)))
        local = self._convolution(network.aspp[0], x)
        whole = self._convolution(network.image_pooling, self._step("mean", x))
        both = self._step("concatenation", self._step("resize_bilinear", whole), local)
        logits = self._convolution(network.logits, self._convolution(network.project, both))
        large = self._step("resize_bilinear", logits)
        self._step("arg_max", large)
        if self.graph.tensors[large].shape[1:3] != self.graph.tensors[self.graph.inputs[0]].shape[1:3]:
            raise _OtherError("its mask has another size than the picture, unlike that")
        for operator in chain.from_iterable(self._open.values()):
            raise _OtherError(f"it has also {self._words(operator)}, unlike that")

    def _convolution(self, module: nn.Module, x: int) -> int:
        operator = self._next(_wanted(module), x)
        self.convolutions.append(operator)
        return operator.outputs[0]

    def _step(self, wanted: str, *inputs: int) -> int:
        return self._next(wanted, *inputs).outputs[0]

    def _next(self, wanted: str, *inputs: int) -> Operator:
        """The operator that this describes and that works on these tensors; it is taken out of those still open."""
        candidates = self._open.get(inputs, [])
        for operator in candidates:
            if self._words(operator) == wanted:
                candidates.remove(operator)
                self.steps += 1
                return operator
        instead = ", ".join(map(self._words, candidates[:3])) or "nothing"
        raise _OtherError(f"behind its step {self.steps} is {instead}, not the {wanted}")

    def _data(self, operator: Operator) -> tuple[int, ...]:
        """What it works on besides its weights; the two maps of a sum in the order of their numbers."""
        maps = [self._origin(i) for i in operator.inputs[: 2 if operator.kind in _PAIRS else 1]]
        return tuple(sorted(maps) if operator.kind == "ADD" else maps)

    def _origin(self, tensor: int) -> int:
        return self.origins.get(tensor, tensor)

    def _words(self, operator: Operator) -> str:
        """An operator in the words of `_wanted`."""
        kind, _, dilation = operator.kind.partition(_DILATED)
        if kind not in _DESCRIBED:
            return operator.kind.lower()
        words = described(self.graph, self.origins, replace(operator, kind=kind))
        return f"{words}, dilation {dilation}" if dilation else words


def _is_plain(graph: Graph, operator: Operator) -> bool:
    """Whether it changes no number. The authors' networks resize their logits twice, first to the size they have."""
    if operator.kind.startswith("RESIZE_BILINEAR"):
        return graph.tensors[operator.inputs[0]].shape == graph.tensors[operator.outputs[0]].shape
    return operator.kind in ("QUANTIZE", "DEQUANTIZE")


def _wanted(module: nn.Module) -> str:
    """A convolution of a network in words."""
    conv, activation = (module.conv, module.activation) if isinstance(module, ConvBlock) else (module, nn.Identity())
    assert isinstance(conv, nn.Conv2d)
    name = {nn.ReLU6: "relu6", nn.ReLU: "relu", nn.Identity: "linear"}[type(activation)]
    kind = "depthwise convolution" if conv.groups > 1 else "convolution"
    dilated = f", dilation {conv.dilation[0]}" if conv.dilation != (1, 1) else ""
    return f"{kind} {list(conv.weight.shape)}, stride {conv.stride[0]}, {name}{dilated}"


def _convolutions(network: DeepLabV3) -> Iterator[nn.Module]:
    """What has weights, in the order in which `_Followed` follows it."""
    yield from (block for block in network.backbone.body.modules() if isinstance(block, ConvBlock))
    yield from (network.aspp[0], network.image_pooling, network.project, network.logits)


def _filled(graph: Graph, followed: _Followed, alpha: float, classes: int) -> Segmenter:
    """The network with the weights, and what the file says of its input."""
    numbers = [
        weight_and_bias(graph, followed.origins, replace(operator, kind=operator.kind.partition(_DILATED)[0]))
        for operator in followed.convolutions
    ]
    # Allocated now that the file is known to have so many numbers.
    network = DeepLabV3(MobileNetV2(alpha, classes=0), classes)
    with torch.no_grad():
        for module, (weight, bias) in zip(_convolutions(network), numbers, strict=True):
            if isinstance(module, ConvBlock):
                fill_folded(module, weight, bias)
            else:
                assert isinstance(module, nn.Conv2d)
                assert module.bias is not None
                module.weight.copy_(weight)
                module.bias.copy_(bias)
    image = graph.tensors[graph.inputs[0]]
    if len(image.scale):  # the network's input is scale (pixel - zero point); signed bytes are pixels less 128
        if not 1e-6 < image.scale[0] < 1e6:  # a NaN ends here too
            raise ValueError(f"its input has the scale {image.scale[0]}")
        network.mean.fill_(float(image.zero_point.sum() + (128 if image.dtype == "i1" else 0)))
        network.std.fill_(1 / float(image.scale[0]))
    labels = graph.labels if graph.labels is not None and len(graph.labels) == classes else None
    return Segmenter(network.eval(), alpha, labels, (image.shape[1], image.shape[2]))
