"""MobileNet (Howard et al., 2017, arXiv:1704.04861)."""

from torch import nn

from onelook.backbones.backbone import Backbone, Row, check_alpha, check_reduction, classifier
from onelook.nn.attention import attended
from onelook.nn.init import truncated_normal
from onelook.nn.separable import DepthwiseSeparable, regular

# (operation, output channels at alpha = 1, stride), top to bottom: Table 1. Each "separable" stands for two rows of the
# table, Conv dw and Conv; the last Conv dw has stride 1 here, as its printed input and output sizes ask for.
BODY = (
    ("conv", 32, 2),
    ("separable", 64, 1),
    ("separable", 128, 2), ("separable", 128, 1),
    ("separable", 256, 2), ("separable", 256, 1),
    ("separable", 512, 2), *[("separable", 512, 1)] * 5,
    ("separable", 1024, 2), ("separable", 1024, 1),
)  # fmt: skip


class MobileNetV1(Backbone):
    """MobileNet: a stack of depthwise-separable convolutions.

    Args:
        alpha: width multiplier, 0 < alpha <= 1; scales every layer's channels (section 3.3).
        classes: outputs of the classifier; 0 leaves it off.
        reduction: of the squeeze-and-excitation behind each separable convolution; 0 puts none there. 16 gives the
            SE-MobileNet of arXiv:1709.01507, Table 3.

    Attributes, `forward` and `features`: see `Backbone`. The image is in [-1, 1]; its height and width are multiples
    of 32. The resolution multiplier rho (section 3.4) is the image's side over 224. Weights are drawn as by the
    authors' code.

    Raises:
        NetworkError: an alpha or a number of classes out of range.
    """

    def __init__(self, alpha: float = 1.0, classes: int = 1000, reduction: int = 0):
        check_reduction(reduction)
        check_alpha(alpha, 1.0)
        rows, channels = [], 3
        for operation, width, stride in BODY:
            before, channels = channels, max(8, int(alpha * width))
            if operation == "conv":
                block: nn.Module = regular((before, channels), stride=stride)
            else:
                block = attended(DepthwiseSeparable((before, channels), stride=stride), channels, reduction)
            rows.append(Row(block, channels, stride))
        super().__init__(rows, classifier(channels, classes))
        truncated_normal(self, 0.09)
