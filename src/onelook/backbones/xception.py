"""Xception (Chollet, 2017, arXiv:1610.02357)."""

from itertools import pairwise

from torch import Tensor, nn

from onelook.backbones.backbone import Backbone, Row, check_reduction, classifier
from onelook.nn.attention import attention
from onelook.nn.conv import ConvBlock
from onelook.nn.init import glorot_uniform

# Figure 5. Channels of the separable convolutions of each module, and its stride; where that is 2, a pooling ends the
# module and its shortcut is a convolution.
ENTRY = (((128, 128), 2), ((256, 256), 2), ((728, 728), 2))
MIDDLE = (((728, 728, 728), 1),) * 8
EXIT = (((728, 1024), 2),)
LAST = (1536, 2048)  # behind the last module, each followed by a ReLU


class Separable(nn.Sequential):
    """Xception's separable convolution: depthwise, pointwise, batch normalisation, nothing in between (section 4.7).

    `forward`: [B, channels[0], H, W] -> [B, channels[1], H, W].
    """

    def __init__(self, channels: tuple[int, int], activation: str = "linear"):
        super().__init__(
            nn.Conv2d(channels[0], channels[0], 3, padding=1, groups=channels[0], bias=False),
            ConvBlock(channels, 1, activation=activation),
        )


class Module(nn.Module):
    """Two or three separable convolutions, each behind a ReLU, and a shortcut around them.

    Args:
        channels: of the input, then of each convolution's output.
        stride: 2 ends with a max pooling and makes the shortcut a 1 x 1 convolution of that stride.
        relu: whether one stands before the first convolution.
        reduction: of the squeeze-and-excitation before the sum; 0 puts none there.

    `forward`: [B, channels[0], H, W] -> [B, channels[-1], H / stride, W / stride], rounded up.
    """

    def __init__(self, channels: tuple[int, ...], stride: int, relu: bool = True, reduction: int = 0):
        super().__init__()
        self.branch = nn.Sequential()
        for i, pair in enumerate(pairwise(channels)):
            if i or relu:
                self.branch.append(nn.ReLU())
            self.branch.append(Separable(pair))
        if stride > 1:
            self.branch.append(nn.MaxPool2d(3, stride, padding=1))
        self.attention = attention(channels[-1], reduction)
        self.shortcut = ConvBlock((channels[0], channels[-1]), 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.shortcut(x) + self.attention(self.branch(x))


class Xception(Backbone):
    """Xception: depthwise-separable convolutions with shortcuts.

    Args:
        classes: outputs of the classifier; 0 leaves it off.
        reduction: of the squeeze-and-excitation in each module, before the sum; 0 puts none there.

    Attributes, `forward` and `features`: see `Backbone`. The image is in [-1, 1], of 299 x 299 pixels in the paper;
    `features` wants multiples of 32. Half of the means are left out in training (section 4.3). Weights are drawn as by
    the author's framework.

    Raises:
        NetworkError: a number of classes out of range.
    """

    size = 299

    def __init__(self, classes: int = 1000, reduction: int = 0):
        check_reduction(reduction)
        rows = [
            Row(ConvBlock((3, 32), 3, 2, activation="relu"), 32, 2),
            Row(ConvBlock((32, 64), 3, activation="relu"), 64, 1),
        ]
        channels = 64
        for widths, stride in (*ENTRY, *MIDDLE, *EXIT):
            module = Module((channels, *widths), stride, relu=len(rows) > 2, reduction=reduction)
            channels = widths[-1]
            rows.append(Row(module, channels, stride))
        for width in LAST:
            rows.append(Row(Separable((channels, width), "relu"), width, 1))
            channels = width
        super().__init__(rows, classifier(channels, classes, dropout=0.5))
        glorot_uniform(self)
