"""SSDLite (Sandler et al., 2018, arXiv:1801.04381, section 6.2): SSD of depthwise-separable convolutions."""

from collections.abc import Sequence

from torch import Tensor, nn

from onelook.backbones import Backbone, MobileNetV2
from onelook.detectors.priors import Priors, multibox_shapes
from onelook.detectors.ssd import VARIANCES, Multibox, check_scales
from onelook.nn.init import truncated_normal
from onelook.nn.separable import DepthwiseSeparable, InvertedResidual, depthwise, pointwise

LAYER_15 = 14  # its place in MobileNetV2's body, counted from 0: the first block of stride 32
EXPANSION = 6  # t of that block

# Behind the backbone's two maps: channels of a 1 x 1 convolution and of the separable one of stride 2 that follows it.
# These, the scales and the deviation of new weights are of the authors' code.
EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # s_k of the six maps, and one more
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2, 3))
DEVIATION = 0.03


class SsdLite(Multibox):
    """SSDLite: six maps from stride 16 on, and separable convolutions in place of SSD's regular ones.

    Args:
        backbone: gives the maps at the strides 16 and 32. Of MobileNetV2 the first is "the expansion of layer 15".
        classes: C, without the background.
        scales: s_k of each map and one more, 7 numbers. The finest map has but three priors a place, as in the authors'
            code: a square of s_1 / 2, and the ratio 2 both ways.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1, H and W multiples of 32 (320 in the paper) -> as of `Ssd`.

    Raises:
        NetworkError: another number of scales, or one not above 0.
    """

    def __init__(self, backbone: Backbone, classes: int, scales: Sequence[float] | None = None):
        scales = check_scales(scales, SCALES)
        (_, _, *both_ways), *others = multibox_shapes(scales, RATIOS)
        shapes = (((scales[0] / 2,) * 2, *both_ways), *others)
        super().__init__(backbone, classes, Priors(shapes, variances=VARIANCES))
        _, fine, coarse = backbone.channels
        channels = [EXPANSION * fine if isinstance(backbone, MobileNetV2) else fine, coarse]
        self.extras = nn.ModuleList()
        for thin, after in EXTRAS:
            shrink = DepthwiseSeparable((thin, after), stride=2)
            self.extras.append(nn.Sequential(pointwise((channels[-1], thin)), shrink))
            channels.append(after)
        self.predict_from(channels)
        for new in (self.extras, self.locations, self.confidences):
            truncated_normal(new, DEVIATION)

    def output(self, channels: int, outputs: int) -> nn.Module:
        """Separable, without an activation behind it."""
        return nn.Sequential(depthwise(channels), nn.Conv2d(channels, outputs, 1))

    def maps(self, image: Tensor) -> list[Tensor]:
        """See `Multibox`."""
        maps = self._of_backbone(image)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps

    def _of_backbone(self, image: Tensor) -> list[Tensor]:
        """The maps at the strides 16 and 32."""
        if not isinstance(self.backbone, MobileNetV2):
            return self.backbone.features(image)[1:]
        x = image
        for i, block in enumerate(self.backbone.body):
            if i == LAYER_15:
                assert isinstance(block, InvertedResidual)
                fine = block.expand(x)
                x = block.attention(block.project(fine))
            else:
                x = block(x)
        return [fine, x]
