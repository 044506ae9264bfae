"""Convolution, batch normalisation, activation: the block that all networks here are made of."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.fusion import fuse_conv_bn_eval

from onelook.nn.activations import activation as make_activation
from onelook.nn.strided import is_strided_depthwise, strided_depthwise

Pair = int | tuple[int, int]  # the same along y and x, or one for each


class ConvBlock(nn.Module):
    """A convolution, then batch normalisation (which replaces its bias) if wanted, then an activation.

    Args:
        channels: of the input and of the output.
        kernel: sides of the kernel, pixels.
        stride: along y and x.
        padding: zeros added on every side, pixels; or "same": as many as make the output H / stride, rounded up, high,
            an odd one of them at the bottom and right, as TensorFlow has it.
        groups: the channels are cut into so many groups that do not see each other; `groups == channels` is depthwise.
        activation: a name of `onelook.nn.activations.ACTIVATIONS`.

    `forward`: [B, channels[0], H, W] -> [B, channels[1], H', W'],
    H' = (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: Pair,
        stride: Pair = 1,
        padding: Pair | Literal["same"] = 0,
        dilation: int = 1,
        groups: int = 1,
        batch_norm: bool = True,
        activation: str = "linear",
    ):
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        even = stride in (1, (1, 1)) and all(side % 2 for side in sides)
        pixels = 0 if padding == "same" else padding
        if padding == "same" and even:  # on all sides alike, so the convolution can do it, without a copy
            pixels = dilation * (sides[0] // 2), dilation * (sides[1] // 2)
        self.same = padding == "same" and not even
        self.conv = nn.Conv2d(*channels, kernel, stride, pixels, dilation, groups, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(channels[1], eps=1e-5) if batch_norm else None
        self.activation = make_activation(activation)
        # Nobody else has the activation's input; to overwrite it saves a tenth of the time of training. Not with ReLU6,
        # for whose gradient torch would copy the input first.
        if isinstance(self.activation, nn.ReLU | nn.LeakyReLU):
            self.activation.inplace = True

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.same:
            x = pad_same(x, self.conv)
        if x.dtype is torch.bfloat16 and x.device.type == "cpu" and is_strided_depthwise(self.conv):
            x = strided_depthwise(x, self.conv.weight.to(x.dtype), self.conv.stride[0])
        else:
            x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.activation(x)


def pad_same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The zeros of TensorFlow's padding "SAME" around a map [B, C, H, W], for a convolution that adds none itself."""
    pads: list[int] = []
    for side, kernel, stride, dilation in zip(x.shape[2:], conv.kernel_size, conv.stride, conv.dilation, strict=True):
        # The last step still moves by `side % stride`, or by a whole stride: in a traced graph the same for all sides.
        total = max(dilation * (kernel - 1) + 1 - (side % stride or stride), 0)
        pads = [total // 2, total - total // 2, *pads]  # torch wants those of the last dimension first
    return F.pad(x, pads)


def fill_folded(block: ConvBlock, weight: Tensor, bias: Tensor) -> None:
    """Give a block the weights of one whose batch normalisation was folded: what is left of that adds the bias.

    Args:
        block: with batch normalisation; changed in place.
        weight: of the convolution, [N, M / groups, k_y, k_x].
        bias: [N].
    """
    norm = block.norm
    assert norm is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        block.conv.weight.copy_(weight)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.fill_(1)
        norm.bias.copy_(bias)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy for inference in which every batch normalisation behind a convolution is folded into its weights."""
    module = copy.deepcopy(module).eval()
    for block in module.modules():
        if isinstance(block, ConvBlock) and block.norm is not None:
            block.conv = fuse_conv_bn_eval(block.conv, block.norm)
            block.norm = None
    return module
