"""ResNet-50 and -101 (He et al., 2016, arXiv:1512.03385), and with squeeze-and-excitation."""

from torch import Tensor, nn

from onelook.backbones.backbone import Backbone, Row, check_reduction, classifier
from onelook.errors import NetworkError
from onelook.nn.attention import attention
from onelook.nn.conv import ConvBlock
from onelook.nn.init import he_normal

# Blocks in conv2_x to conv5_x, by the number of layers: Table 1. Their inner channels are 64, 128, 256, 512.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4  # of a block's output over its inner channels


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 and a shortcut (Figure 5, right), which is a projection where the shape changes (option B).

    Args:
        channels: of the input and of the inner maps; the output has four times as many as those.
        stride: of the first convolution and the projection.
        reduction: of the squeeze-and-excitation before the sum; 0 puts none there.

    `forward`: [B, channels[0], H, W] -> [B, 4 channels[1], H / stride, W / stride].
    """

    def __init__(self, channels: tuple[int, int], stride: int = 1, reduction: int = 0):
        super().__init__()
        before, width = channels
        after = EXPANSION * width
        self.branch = nn.Sequential(
            ConvBlock((before, width), 1, stride, activation="relu"),
            ConvBlock((width, width), 3, padding=1, activation="relu"),
            ConvBlock((width, after), 1),
            attention(after, reduction),
        )
        self.shortcut = ConvBlock((before, after), 1, stride) if stride > 1 or before != after else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.relu(self.branch(x) + self.shortcut(x))


class ResNet(Backbone):
    """ResNet of bottlenecks.

    Args:
        depth: 50 or 101.
        classes: outputs of the classifier; 0 leaves it off.
        reduction: of the squeeze-and-excitation in each block; 0 puts none there, 16 gives the SE-ResNet of
            arXiv:1709.01507, Table 1.

    Attributes, `forward` and `features`: see `Backbone`. The mean of the training pictures is taken from each pixel
    (section 3.4); height and width are multiples of 32. Weights are drawn as in He et al., 2015.

    Raises:
        NetworkError: another depth, or a number of classes out of range.
    """

    mean = (123.68, 116.779, 103.939)
    std = (1.0, 1.0, 1.0)

    def __init__(self, depth: int = 50, classes: int = 1000, reduction: int = 0):
        check_reduction(reduction)
        if depth not in BLOCKS:
            raise NetworkError(f"depth of a ResNet must be one of {', '.join(map(str, BLOCKS))}; found {depth}")
        channels = WIDTHS[0]
        rows = [
            Row(ConvBlock((3, channels), 7, 2, padding=3, activation="relu"), channels, 2),
            Row(nn.MaxPool2d(3, 2, padding=1), channels, 2),
        ]
        for width, blocks in zip(WIDTHS, BLOCKS[depth], strict=True):
            for i in range(blocks):
                stride = 2 if i == 0 and width != WIDTHS[0] else 1
                rows.append(Row(Bottleneck((channels, width), stride, reduction), EXPANSION * width, stride))
                channels = EXPANSION * width
        super().__init__(rows, classifier(channels, classes))
        he_normal(self)
