"""Depthwise-separable convolutions: MobileNet's block, and the four that the MobileNetV2 paper compares in Figure 2.

    (a) regular                            k x k                                        `regular`
    (b) separable                          depthwise, pointwise                         `DepthwiseSeparable`
    (c) separable, linear bottleneck       depthwise, linear pointwise to few channels  `LinearBottleneck`
    (d) bottleneck with expansion layer    pointwise to many channels, then (c)         `InvertedResidual`

All maps are float32 [B, C, H, W]; with a stride, H and W are divided by it and rounded up (padding "SAME").
"""

from torch import Tensor, nn

from onelook.nn.conv import ConvBlock

# Figure 3 of the MobileNet paper has ReLU; its authors' code and weights, and MobileNetV2 (section 3.3), have ReLU6.
ACTIVATION = "relu6"


def regular(channels: tuple[int, int], kernel: int = 3, stride: int = 1, activation: str = ACTIVATION) -> ConvBlock:
    """Block (a), an ordinary convolution: [B, channels[0], H, W] -> [B, channels[1], H / stride, W / stride]."""
    return ConvBlock(channels, kernel, stride, "same", activation=activation)


def depthwise(channels: int, kernel: int = 3, stride: int = 1, activation: str = ACTIVATION) -> ConvBlock:
    """One kernel a channel (Howard et al., 2017, eq. 3): [B, C, H, W] -> [B, C, H / stride, W / stride]."""
    return ConvBlock((channels, channels), kernel, stride, "same", groups=channels, activation=activation)


def pointwise(channels: tuple[int, int], activation: str = ACTIVATION) -> ConvBlock:
    """A 1 x 1 convolution, which mixes channels: [B, channels[0], H, W] -> [B, channels[1], H, W]."""
    return ConvBlock(channels, 1, activation=activation)


class DepthwiseSeparable(nn.Sequential):
    """Block (b), MobileNet's (Howard et al., 2017, arXiv:1704.04861, section 3.1 and Figure 3): filter, then combine.

    Args:
        channels: M and N, of the input and of the output.
        kernel: D_K.
        stride: of the depthwise convolution.
        activation: behind both convolutions; a name of `onelook.nn.activations.ACTIVATIONS`.

    `forward`: [B, M, H, W] -> [B, N, H / stride, W / stride].
    """

    def __init__(self, channels: tuple[int, int], kernel: int = 3, stride: int = 1, activation: str = ACTIVATION):
        super().__init__(depthwise(channels[0], kernel, stride, activation), pointwise(channels, activation))


class LinearBottleneck(nn.Sequential):
    """Block (c): a depthwise convolution, then a pointwise one without activation to a thin map (section 3.2).

    Its input is what the expansion layer of this block, or of the next one behind it, made wide: blocks (c) and (d) are
    the same when stacked.

    Args:
        channels: of the wide input and of the thin output.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.

    `forward`: [B, channels[0], H, W] -> [B, channels[1], H / stride, W / stride].
    """

    def __init__(self, channels: tuple[int, int], kernel: int = 3, stride: int = 1):
        super().__init__(depthwise(channels[0], kernel, stride), pointwise(channels, activation="linear"))


class InvertedResidual(nn.Module):
    """Block (d), MobileNetV2's (Sandler et al., 2018, arXiv:1801.04381, section 3.3, Table 1 and Figure 4).

    Thin to wide to thin, with a shortcut between the thin ends where they have the same shape. With an expansion of 1
    there is no expansion layer, as in the authors' code.

    Args:
        channels: k and k', of the input and of the output.
        stride: s.
        expansion: t; the wide maps have t k channels.
        attention: a module for the thin output, applied before the sum; see `onelook.nn.attention`.

    `forward`: [B, k, H, W] -> [B, k', H / s, W / s].
    """

    def __init__(
        self, channels: tuple[int, int], stride: int = 1, expansion: int = 6, attention: nn.Module | None = None
    ):
        super().__init__()
        wide = expansion * channels[0]
        self.expand = pointwise((channels[0], wide)) if expansion != 1 else nn.Identity()
        self.project = LinearBottleneck((wide, channels[1]), stride=stride)
        self.attention = attention or nn.Identity()
        self.shortcut = stride == 1 and channels[0] == channels[1]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = self.attention(self.project(self.expand(x)))
        return x + y if self.shortcut else y
