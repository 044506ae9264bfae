"""Convolution, batch normalisation, activation: the block that all networks here are made of."""

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from onelook.nn.activations import activation as make_activation


class ConvBlock(nn.Module):
    """A convolution, then batch normalisation (which replaces its bias) if wanted, then an activation.

    Args:
        channels: of the input and of the output.
        kernel: side of the kernel, pixels.
        stride: along y and x.
        padding: zeros added on every side, pixels.
        groups: the channels are cut into so many groups that do not see each other; `groups == channels` is depthwise.
        activation: a name of `onelook.nn.activations.ACTIVATIONS`.

    `forward`: [B, channels[0], H, W] -> [B, channels[1], H', W'],
    H' = (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        stride: int | tuple[int, int] = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        batch_norm: bool = True,
        activation: str = "linear",
    ):
        super().__init__()
        self.conv = nn.Conv2d(*channels, kernel, stride, padding, dilation, groups, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(channels[1], eps=1e-5) if batch_norm else None
        self.activation = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.activation(x)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy for inference in which every batch normalisation behind a convolution is folded into its weights."""
    module = copy.deepcopy(module).eval()
    for block in module.modules():
        if isinstance(block, ConvBlock) and block.norm is not None:
            block.conv = fuse_conv_bn_eval(block.conv, block.norm)
            block.norm = None
    return module
