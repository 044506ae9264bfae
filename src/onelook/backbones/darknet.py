"""The authors' own: YOLO's first layers, Darknet-19 and Darknet-53.

Redmon et al., 2016 (arXiv:1506.02640), Redmon and Farhadi, 2017 (arXiv:1612.08242) and 2018 (arXiv:1804.02767).
"""

from torch import Tensor, nn

from onelook.backbones.backbone import Backbone, Row, check_classes, check_reduction, classifier
from onelook.nn.attention import attended, attention
from onelook.nn.conv import ConvBlock
from onelook.nn.init import he_normal
from onelook.nn.pool import GlobalAvgPool

# Figure 3 of the YOLO paper, what is trained on ImageNet first (section 2.2): (channels, kernel, stride), in stages that end
# with a pooling of stride 2 (the last without). Darknet calls the network "extraction".
STAGES_EXTRACTION = (
    ((64, 7, 2),),
    ((192, 3, 1),),
    ((128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1)),
    (*((256, 1, 1), (512, 3, 1)) * 4, (512, 1, 1), (1024, 3, 1)),
    ((512, 1, 1), (1024, 3, 1)) * 2,
)

# Table 6 of the YOLO9000 paper: (channels, kernel) of the convolutions, in stages that begin with a pooling of stride 2
# (the first without). The last convolution, to the classes, is the head.
STAGES_19 = (
    ((32, 3),),
    ((64, 3),),
    ((128, 3), (64, 1), (128, 3)),
    ((256, 3), (128, 1), (256, 3)),
    ((512, 3), (256, 1), (512, 3), (256, 1), (512, 3)),
    ((1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3)),
)

# Table 1 of the YOLOv3 paper: residual blocks in each stage, behind a convolution of stride 2 to twice the channels.
STAGES_53 = (1, 2, 8, 8, 4)


def leaky(channels: tuple[int, int], kernel: int, stride: int = 1) -> ConvBlock:
    """Darknet's convolution, with a leaky ReLU of slope 0.1 (arXiv:1506.02640, eq. 2)."""
    return ConvBlock(channels, kernel, stride, padding=kernel // 2, activation="leaky")


class Extraction(Backbone):
    """The 20 convolutions that YOLO begins with, and a classifier on their mean.

    Args:
        classes: outputs of the classifier; 0 leaves it off.
        reduction: of the squeeze-and-excitation behind each convolution; 0 puts none there.

    Attributes, `forward` and `features`: see `Backbone`. The image is in [0, 1]; its height and width are multiples of 32.
    Weights are drawn as Darknet does.

    Raises:
        NetworkError: a number of classes out of range.
    """

    mean = (0.0, 0.0, 0.0)
    std = (255.0, 255.0, 255.0)

    def __init__(self, classes: int = 1000, reduction: int = 0):
        check_reduction(reduction)
        rows, channels = [], 3
        for i, stage in enumerate(STAGES_EXTRACTION):
            if i:
                rows.append(Row(nn.MaxPool2d(2), channels, 2))
            for width, kernel, stride in stage:
                block = leaky((channels, width), kernel, stride)
                rows.append(Row(attended(block, width, reduction), width, stride))
                channels = width
        super().__init__(rows, classifier(channels, classes))
        he_normal(self)


class Darknet19(Backbone):
    """Darknet-19, the backbone of YOLOv2.

    Args:
        classes: outputs of the classifier; 0 leaves it off.
        reduction: of the squeeze-and-excitation behind each convolution; 0 puts none there.

    Attributes, `forward` and `features`: see `Backbone`; without its classifier, `forward` gives the mean of the last
    map. The image is in [0, 1]; its height and width are multiples of 32. Weights are drawn as Darknet does.

    Raises:
        NetworkError: a number of classes out of range.
    """

    mean = (0.0, 0.0, 0.0)
    std = (255.0, 255.0, 255.0)

    def __init__(self, classes: int = 1000, reduction: int = 0):
        check_classes(classes)
        check_reduction(reduction)
        rows, channels = [], 3
        for i, stage in enumerate(STAGES_19):
            if i:
                rows.append(Row(nn.MaxPool2d(2), channels, 2))
            for width, kernel in stage:
                rows.append(Row(attended(leaky((channels, width), kernel), width, reduction), width, 1))
                channels = width
        super().__init__(
            rows, nn.Sequential(nn.Conv2d(channels, classes, 1) if classes else nn.Identity(), GlobalAvgPool())
        )
        he_normal(self)


class Residual(nn.Module):
    """1 x 1 to half the channels, 3 x 3 back, and a shortcut: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, channels: int, reduction: int = 0):
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            leaky((channels, half), 1), leaky((half, channels), 3), attention(channels, reduction)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + self.branch(x)


class Darknet53(Backbone):
    """Darknet-53, the backbone of YOLOv3.

    Args:
        classes: outputs of the classifier; 0 leaves it off.
        reduction: of the squeeze-and-excitation in each residual block, before the sum; 0 puts none there.

    Attributes, `forward` and `features`: see `Backbone`. The image is in [0, 1], of 256 x 256 pixels in the paper; its
    height and width are multiples of 32. Weights are drawn as Darknet does.

    Raises:
        NetworkError: a number of classes out of range.
    """

    size = 256
    mean = (0.0, 0.0, 0.0)
    std = (255.0, 255.0, 255.0)

    def __init__(self, classes: int = 1000, reduction: int = 0):
        check_reduction(reduction)
        rows, channels = [Row(leaky((3, 32), 3), 32, 1)], 32
        for blocks in STAGES_53:
            rows.append(Row(leaky((channels, 2 * channels), 3, 2), 2 * channels, 2))
            channels *= 2
            rows += [Row(Residual(channels, reduction), channels, 1) for _ in range(blocks)]
        super().__init__(rows, classifier(channels, classes))
        he_normal(self)
