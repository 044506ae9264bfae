"""The layers of Darknet that torch has no module for. All maps are float32 [B, C, H, W], batches of any size."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.nn.activations import activation as make_activation

LUMA = 0.299, 0.587, 0.114  # of red, green and blue: what JPEG files have as brightness, and Darknet reads of them


def grey(image: Tensor) -> Tensor:
    """RGB [B, 3, H, W] -> [B, 1, H, W]."""
    return (image * image.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


class Connected(nn.Module):
    """A fully connected layer on the flattened map: [B, C, H, W] -> [B, outputs, 1, 1]."""

    def __init__(self, inputs: int, outputs: int, batch_norm: bool, activation: str):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(outputs, eps=1e-5) if batch_norm else None
        self.activation = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.linear(x.flatten(1))
        if self.norm is not None:
            x = self.norm(x)
        return self.activation(x[:, :, None, None])


class MaxPool(nn.Module):
    """Darknet's pooling: `padding` is the sum of both sides, and the smaller half of it comes first."""

    def __init__(self, kernel: int, stride: tuple[int, int], padding: int):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.before, self.after = padding // 2, padding - padding // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H', W'], H' = (H + padding - kernel) // stride + 1."""
        if self.before == self.after <= self.kernel // 2:
            return F.max_pool2d(x, self.kernel, self.stride, self.before)
        if self.kernel == 2 and self.stride == (2, 2) and self.after == 1:  # the last window may lie half outside
            return F.max_pool2d(x, self.kernel, self.stride, ceil_mode=True)
        x = F.pad(x, (self.before, self.after, self.before, self.after), value=float("-inf"))
        return F.max_pool2d(x, self.kernel, self.stride)

    def extra_repr(self) -> str:
        """For print."""
        return f"kernel={self.kernel}, stride={self.stride}, padding=({self.before}, {self.after})"


class Route(nn.Module):
    """The maps of several layers one after another, or one of `groups` equal parts of the channels of each."""

    def __init__(self, groups: int = 1, group: int = 0):
        super().__init__()
        self.groups, self.group = groups, group

    def forward(self, *maps: Tensor) -> Tensor:
        """n maps [B, C_i, H, W] -> [B, sum of C_i / groups, H, W]."""
        if self.groups > 1:
            maps = tuple(x.chunk(self.groups, dim=1)[self.group] for x in maps)
        return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)

    def extra_repr(self) -> str:
        """For print."""
        return f"group {self.group} of {self.groups}" if self.groups > 1 else ""


class Shortcut(nn.Module):
    """The sum of maps, each with a weight of its own if `weights` is given.

    A map with fewer channels than the first is added to the first channels, one with more gives its first ones.

    Args:
        maps: how many are summed.
        weights: None, or the number of weights a map has: 1, or one a channel.
        normalization: "none", "relu" or "softmax": how the weights of the maps are brought to a sum of 1.
        activation: its name.
    """

    def __init__(self, maps: int, weights: int | None, normalization: str, activation: str):
        super().__init__()
        self.weight = None if weights is None else nn.Parameter(torch.ones(maps, weights))
        self.normalization = normalization
        self.activation = make_activation(activation)

    def forward(self, *maps: Tensor) -> Tensor:
        """n maps [B, C_i, H, W] -> [B, C_0, H, W]."""
        weight: Tensor | None = self.weight
        if weight is not None:
            if self.normalization == "relu":
                weight = weight.clamp(min=1e-3)
                weight = weight / (weight.sum(0) + 1e-4)
            elif self.normalization == "softmax":
                weight = (weight - weight.amax(0)).exp()
                weight = weight / (weight.sum(0) + 1e-4)
        total = maps[0] if weight is None else maps[0] * weight[0][:, None, None]
        for i, x in enumerate(maps[1:], start=1):
            channels = min(x.shape[1], total.shape[1])
            x = x[:, :channels]
            if weight is not None:
                x = x * weight[i][:channels, None, None]
            if channels == total.shape[1]:
                total = total + x
            else:
                total = torch.cat((total[:, :channels] + x, total[:, channels:]), dim=1)
        return self.activation(total)


class Multiply(nn.Module):
    """The product of two maps, of which one may be [B, C, 1, 1] (`scale_channels`) or [B, 1, H, W]; else `sam`."""

    def __init__(self, activation: str):
        super().__init__()
        self.activation = make_activation(activation)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two maps that broadcast -> their product."""
        return self.activation(x * y)


class Crop(nn.Module):
    """The middle of the picture, and its values from 0..1 to -1..1 unless `adjust` is off."""

    def __init__(self, size: tuple[int, int], adjust: bool):
        super().__init__()
        self.size, self.adjust = size, adjust

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, *size]."""
        height, width = self.size
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        x = x[:, :, top : top + height, left : left + width]
        return 2 * x - 1 if self.adjust else x


class Softmax(nn.Module):
    """A softmax over each of `groups` equal parts of the flattened map: [B, C, H, W] -> [B, C H W, 1, 1]."""

    def __init__(self, groups: int, temperature: float):
        super().__init__()
        self.groups, self.temperature = groups, temperature

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = x.reshape(x.shape[0], self.groups, -1) / self.temperature
        return x.softmax(-1).flatten(1)[:, :, None, None]


class Upsample(nn.Module):
    """Every pixel `stride` times in x and in y, times `scale`."""

    def __init__(self, stride: int, scale: float):
        super().__init__()
        self.stride, self.scale = stride, scale

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H stride, W stride]."""
        x = F.interpolate(x, scale_factor=float(self.stride), mode="nearest")
        return x if self.scale == 1 else x * self.scale


class Head(nn.Module):
    """Where a detector's numbers get their meaning: the raw map passes through, `decode` says what it means.

    `decode(raw, (height, width) of the input)` -> boxes [B, N, 4] and scores [B, N, C] as of `onelook.nn.decode`.
    """

    def __init__(self, decode: Callable[[Tensor, tuple[int, int]], tuple[Tensor, Tensor]], kind: str, classes: int):
        super().__init__()
        self.decode = decode
        self.kind = kind
        self.classes = classes

    def forward(self, raw: Tensor) -> Tensor:
        """The raw map, as it is."""
        return raw

    def extra_repr(self) -> str:
        """For print."""
        return f"{self.kind}, classes={self.classes}"
