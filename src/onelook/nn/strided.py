"""Depthwise convolutions with a stride, whose gradient in bfloat16 torch computes ten times too slowly on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class _StridedDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """See `strided_depthwise`."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Of the maps, of the weight."""
        (gradient,), (x, weight), stride = gradients, ctx.saved_tensors, ctx.stride
        of_weight = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, [stride] * 2, [0, 0], [1, 1], False, [0, 0], len(weight), [False, True, False]
        )[1]
        half = weight.shape[2] // 2
        rows, columns = (slice(half, half + (side - 1) * stride + 1, stride) for side in gradient.shape[2:])
        dense = torch.zeros_like(x)
        dense[:, :, rows, columns] = gradient
        return F.conv2d(dense, weight.flip(2, 3), None, padding=half, groups=len(weight)), of_weight, None


def strided_depthwise(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """As `F.conv2d(x, weight, None, stride, groups=C)`, with the gradient of x by a convolution of stride 1.

    oneDNN has a fast kernel for the gradient of such a convolution's input with stride 1, none in bfloat16 with another.
    What the stride skipped is put back as zeros; then the gradient is a convolution with the turned kernel. Measured on a
    CPU with AVX-512, forward and backward, for 16 maps of 96 channels of 160 x 160: 58 ms, in place of 234.

    Args:
        x: maps [B, C, H, W].
        weight: [C, 1, k, k], k odd.
        stride: along both sides.

    Returns:
        Maps [B, C, (H - k) // stride + 1, (W - k) // stride + 1].
    """
    made: Tensor = _StridedDepthwise.apply(x, weight, stride)  # type: ignore[no-untyped-call]
    return made


def is_strided_depthwise(conv: nn.Conv2d) -> bool:
    """Whether a convolution is one that `strided_depthwise` computes."""
    (height, width), (down, across) = conv.kernel_size, conv.stride
    shape = height == width and height % 2 == 1 and down == across > 1
    plain = conv.bias is None and conv.padding == (0, 0) and conv.dilation == (1, 1)
    return shape and plain and conv.groups == conv.in_channels == conv.out_channels
