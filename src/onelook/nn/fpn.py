"""Feature Pyramid Network (Lin et al., 2017, arXiv:1612.03144)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.nn.separable import DepthwiseSeparable


class FeaturePyramid(nn.Module):
    """Maps that are alike in channels and in meaning, from those of a backbone (section 3, Figure 3).

    A 1 x 1 convolution brings each map to d channels; from the coarsest on, what is there so far is upsampled by the
    nearest place and added to the next finer map; a 3 x 3 convolution on each sum "is to reduce the aliasing effect of
    upsampling". There are no non-linearities.

    Args:
        channels: of the maps C_i, the finest first, each twice as high and wide as the next.
        width: d, 256 in the paper.
        separable: a depthwise-separable convolution in place of the 3 x 3 one.

    `forward`: C_i [B, channels[i], H_i, W_i], the finest first -> as many P_i [B, width, H_i, W_i].
    """

    def __init__(self, channels: Sequence[int], width: int = 256, separable: bool = False):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(before, width, 1) for before in channels)
        self.smooth = nn.ModuleList(
            DepthwiseSeparable((width, width), activation="linear")
            if separable
            else nn.Conv2d(width, width, 3, padding=1)
            for _ in channels
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """See the class."""
        *finer, merged = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        sums = [merged]
        for x in reversed(finer):
            merged = x + F.interpolate(merged, scale_factor=2.0)
            sums.insert(0, merged)
        return [smooth(x) for smooth, x in zip(self.smooth, sums, strict=True)]
