"""M2Det (Zhao et al., 2019, arXiv:1811.04533): a pyramid of several scales, each of features of several levels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import VGG16, Backbone
from onelook.detectors.priors import Priors, multibox_shapes
from onelook.detectors.ssd import FC, LEAST, VARIANCES, Multibox, atrous_fc, check_scales
from onelook.errors import NetworkError
from onelook.nn.attention import SqueezeExcitation
from onelook.nn.conv import ConvBlock
from onelook.nn.init import glorot_uniform, he_normal
from onelook.nn.tum import ThinnedU

# s_k of the six maps and one more, by the side of the picture. Those of SSD for COCO; larger pictures keep "the minimum
# size of the largest feature map" (section 4, "Implementation details"). Figures of the authors' code.
SCALES = {
    320: (0.08, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    512: (0.06, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    800: (0.04, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
}
RATIOS = ((2, 3),) * 6  # "at each pixel ... we set six anchors with three ratios entirely"


class M2Det(Multibox):
    """M2Det: U-shaped modules, one behind the other, whose maps of one scale are put together and predicted from.

    Args:
        backbone: VGG-16, whose conv4_3 and fc7 are fused; or another one, whose maps at the strides 8 and 32 are.
        classes: C, without the background.
        size: 320, 512 or 800, the side of the square pictures that the paper's scales are for.
        levels: number of TUMs; 8 in the paper.
        width: channels inside of a TUM, each output has half as many; 256 in the paper.
        scales: s_k of each map and one more, 7 numbers; the paper's for the size by default.

    `forward`: see `Multibox`; H and W are multiples of 32, and may be others than the size, from 288 on.

    Raises:
        NetworkError: another size or number of scales, or one not above 0.
    """

    least = LEAST

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        size: int = 320,
        levels: int = 8,
        width: int = 256,
        scales: Sequence[float] | None = None,
    ):
        if size not in SCALES:
            raise NetworkError(f"size of M2Det must be one of {', '.join(map(str, SCALES))}; found {size}")
        shapes = multibox_shapes(check_scales(scales, SCALES[size]), RATIOS)
        super().__init__(backbone, classes, Priors(shapes, variances=VARIANCES))
        thin = width // 2
        self.fc = atrous_fc(backbone.channels[1]) if isinstance(backbone, VGG16) else None
        deep = FC if self.fc is not None else backbone.channels[-1]
        # FFMv1, Figure 4a: the base feature, of a shallow and a deep map.
        self.shallow = ConvBlock((backbone.channels[0], width), 3, padding=1, activation="relu")
        self.deep = ConvBlock((deep, 2 * width), 1, activation="relu")
        # FFMv2, Figure 4b: the base feature made thin, beside the finest map of the TUM before.
        self.thin = nn.ModuleList(ConvBlock((3 * width, thin), 1, activation="relu") for _ in range(levels))
        self.tums = nn.ModuleList(
            ThinnedU((thin if level == 0 else 2 * thin, thin), width, len(shapes)) for level in range(levels)
        )
        # SFAM, Figure 5: what the maps of one scale have together, weighed channel by channel.
        self.attention = nn.ModuleList(SqueezeExcitation(levels * thin) for _ in shapes)
        self.predict_from([levels * thin] * len(shapes))
        for new in (self.shallow, self.deep, self.thin, self.tums, self.attention):
            he_normal(new)
        for new in (self.locations, self.confidences):
            glorot_uniform(new)

    def maps(self, image: Tensor) -> list[Tensor]:
        """See `Multibox`."""
        shallow, middle, coarse = self.backbone.features(image)
        deep = coarse if self.fc is None else self.fc(middle)
        shallow = self.shallow(shallow)
        base = torch.cat((shallow, F.interpolate(self.deep(deep), size=shallow.shape[2:])), dim=1)
        levels: list[list[Tensor]] = []
        for thin, tum in zip(self.thin, self.tums, strict=True):
            fused = [thin(base), *(levels[-1][:1] if levels else [])]
            levels.append(tum(torch.cat(fused, dim=1)))
        scales = zip(*levels, strict=True)
        return [attention(torch.cat(scale, dim=1)) for attention, scale in zip(self.attention, scales, strict=True)]
