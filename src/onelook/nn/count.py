"""What a network is made of, counted on its modules: layer by layer, without computing anything."""

from collections import Counter
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from onelook.nn.conv import ConvBlock
from onelook.nn.pool import GlobalAvgPool

Shape = tuple[int, ...]  # channels, height, width of a map; length of a vector

_POOLS = {
    GlobalAvgPool: "Avg Pool",
    nn.AdaptiveAvgPool2d: "Avg Pool",
    nn.AvgPool2d: "Avg Pool",
    nn.MaxPool2d: "Max Pool",
}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that a picture goes through, once for each time it does.

    Attributes:
        name: of the module, as in `named_modules`; of the `ConvBlock` that a convolution is in.
        type: "Conv", "Conv dw" (depthwise), "FC", "Avg Pool", "Max Pool".
        stride: along y.
        kernel: height and width of the window; () for a fully connected layer.
        input, output: channels, height, width; or the length of a vector.
        weights, biases, scale_shift: numbers that training changes; the last are of the batch normalisation behind a
            convolution.
        multiply_adds: of one picture, as papers count: convolutions and fully connected layers alone, without biases.
    """

    name: str
    type: str
    stride: int
    kernel: Shape
    input: Shape
    output: Shape
    weights: int = 0
    biases: int = 0
    scale_shift: int = 0
    multiply_adds: int = 0

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.weights + self.biases + self.scale_shift


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many numbers a network has, by what they are: papers differ in which they count.

    Attributes:
        weights: of convolutions and fully connected layers.
        biases: of the same.
        scale_shift: gamma and beta of batch normalisation.
        statistics: its running mean and variance, which training does not learn by gradient.
    """

    weights: int
    biases: int
    scale_shift: int
    statistics: int

    @property
    def parameters(self) -> int:
        """Those that training learns by gradient; what is called parameters throughout onelook."""
        return self.weights + self.biases + self.scale_shift

    @property
    def folded(self) -> int:
        """Those of a model file, where each batch normalisation has become a bias."""
        return self.weights + self.biases + self.scale_shift // 2


def numbers(module: nn.Module) -> Numbers:
    """How many numbers a module has; on the device "meta" too."""
    found: Counter[str] = Counter()
    for layer in module.modules():
        if isinstance(layer, _NORMS):
            found["scale_shift"] += sum(x.numel() for x in layer.parameters())
            found["statistics"] += 2 * layer.num_features
        else:
            for parameter in layer.parameters(recurse=False):
                found["biases" if parameter.ndim == 1 else "weights"] += parameter.numel()
    return Numbers(found["weights"], found["biases"], found["scale_shift"], found["statistics"])


def layers(module: nn.Module, size: tuple[int, int], channels: int = 3) -> list[Layer]:
    """The layers that a picture goes through, in order.

    Args:
        module: of torch; its weights may be on any device and are not touched.
        size: height and width of the picture.
        channels: of the picture.
    """
    found: list[Layer] = []
    names: dict[nn.Module, str] = {layer: name for name, layer in module.named_modules()}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(_layer(names[layer], layer, tuple(inputs[0].shape[1:]), tuple(output.shape[1:])))

    blocks = [layer for layer in names if isinstance(layer, ConvBlock)]  # which pad what their convolution then sees
    alone = set(names).difference(block.conv for block in blocks)
    counted = [*blocks, *(layer for layer in alone if isinstance(layer, (nn.Conv2d, nn.Linear, *_POOLS)))]
    hooks = [layer.register_forward_hook(note) for layer in counted]
    state = {name: x.to("meta") for name, x in (*module.named_parameters(), *module.named_buffers())}
    pictures = torch.empty(
        2, channels, *size, device="meta"
    )  # two, as batch normalisation in training wants more than one
    try:
        torch.func.functional_call(module, state, (pictures,))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def multiply_adds(module: nn.Module, size: tuple[int, int], channels: int = 3) -> int:
    """Of one picture of that height and width, as papers count."""
    return sum(layer.multiply_adds for layer in layers(module, size, channels))


def _layer(name: str, layer: nn.Module, before: Shape, after: Shape) -> Layer:
    scale_shift = 0
    if isinstance(layer, ConvBlock):
        scale_shift = 2 * after[0] if layer.norm is not None else 0
        layer = layer.conv
    match layer:
        case nn.Conv2d(weight=weight, bias=bias):
            depthwise = layer.groups == layer.in_channels > 1
            kind, kernel, stride = "Conv dw" if depthwise else "Conv", layer.kernel_size, layer.stride[0]
            uses = prod(after[1:])
        case nn.Linear(weight=weight, bias=bias):
            kind, kernel, stride, uses = "FC", (), 1, 1
        case GlobalAvgPool() | nn.AdaptiveAvgPool2d():
            return Layer(name, _POOLS[type(layer)], 1, before[1:], before, after)
        case _:
            assert isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)
            size, step = layer.kernel_size, layer.stride
            square = (size, size) if isinstance(size, int) else tuple(size)
            return Layer(name, _POOLS[type(layer)], step if isinstance(step, int) else step[0], square, before, after)
    biases = 0 if bias is None else bias.numel()
    count = weight.numel()
    return Layer(name, kind, stride, kernel, before, after, count, biases, scale_shift, count * uses)
