"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381)."""

from onelook.backbones.backbone import Backbone, Row, check_alpha, check_reduction, classifier
from onelook.nn.attention import attention
from onelook.nn.init import truncated_normal
from onelook.nn.separable import InvertedResidual, pointwise, regular

# t, c, n, s of each sequence of bottlenecks: expansion, output channels at alpha = 1, how many, stride of the first.
# Table 2, between a convolution of stride 2 to 32 channels and a pointwise one to 1280.
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST, LAST = 32, 1280


def width(channels: int, alpha: float) -> int:
    """alpha times channels, to the nearest multiple of 8, but at least 8 and never more than a tenth less."""
    exact = alpha * channels
    nearest = max(8, int(exact + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * exact else nearest + 8


class MobileNetV2(Backbone):
    """MobileNetV2: inverted residuals with linear bottlenecks.

    Args:
        alpha: width multiplier, 0 < alpha <= 2 (the paper has 0.35 to 1.4); scales every layer's channels, but never
            makes the last one thinner than 1280 (section 4.1).
        classes: outputs of the classifier; 0 leaves it off.
        reduction: of the squeeze-and-excitation on each bottleneck's output, before the sum; 0 puts none there.

    Attributes, `forward` and `features`: see `Backbone`. The image is in [-1, 1]; its height and width are multiples
    of 32. Weights are drawn, and a fifth of the means are left out in training, as by the authors' code.

    Raises:
        NetworkError: an alpha or a number of classes out of range.
    """

    def __init__(self, alpha: float = 1.0, classes: int = 1000, reduction: int = 0):
        check_reduction(reduction)
        check_alpha(alpha, 2.0)
        channels = width(FIRST, alpha)
        rows = [Row(regular((3, channels), stride=2), channels, 2)]
        for t, c, n, s in BOTTLENECKS:
            for i in range(n):
                before, channels, stride = channels, width(c, alpha), s if i == 0 else 1
                block = InvertedResidual((before, channels), stride, t, attention(channels, reduction))
                rows.append(Row(block, channels, stride))
        last = width(LAST, max(1.0, alpha))
        rows.append(Row(pointwise((channels, last)), last, 1))
        super().__init__(rows, classifier(last, classes, dropout=0.2))
        truncated_normal(self, 0.09)
