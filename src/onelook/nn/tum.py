"""Thinned U-shape Module of M2Det (Zhao et al., 2019, arXiv:1811.04533)."""

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.nn.conv import ConvBlock


class ThinnedU(nn.Module):
    """TUM: a map, halved again and again and built up again, gives maps of several scales (section 3, Figure 4c).

    The encoder has 3 x 3 convolutions of stride 2, of which the last, as in the authors' code, has stride 1 and no
    padding. The decoder upsamples by the nearest place and adds a 3 x 3 convolution of the encoder's map; a 1 x 1
    convolution on each sum "to enhance learning ability and keep smoothness" gives the output. All have batch
    normalisation and ReLU.

    Args:
        channels: of the input and of each output.
        width: channels inside.
        scales: number of outputs, from 3 on.

    `forward`: [B, channels[0], H, W] -> the finest first: [B, channels[1], H, W], then of half the sides, rounded up, and
    so on; of the last, 2 pixels less than of the one before.
    """

    def __init__(self, channels: tuple[int, int], width: int, scales: int):
        super().__init__()
        before, after = channels
        halve = [conv3((before if i == 0 else width, width), stride=2) for i in range(scales - 2)]
        self.encoder = nn.ModuleList([*halve, ConvBlock((width, width), 3, activation="relu")])
        self.lateral = nn.ModuleList(conv3((before if i == 0 else width, width)) for i in range(scales - 1))
        self.smooth = nn.ModuleList(ConvBlock((width, after), 1, activation="relu") for _ in range(scales))

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        encoded = [x]
        for shrink in self.encoder:
            encoded.append(shrink(encoded[-1]))
        *finer, merged = encoded
        sums = [merged]
        for lateral, y in zip(reversed(self.lateral), reversed(finer), strict=True):
            y = lateral(y)
            merged = F.interpolate(merged, size=y.shape[2:]) + y
            sums.insert(0, merged)
        return [smooth(y) for smooth, y in zip(self.smooth, sums, strict=True)]


def conv3(channels: tuple[int, int], stride: int = 1) -> ConvBlock:
    """A 3 x 3 convolution: [B, channels[0], H, W] -> [B, channels[1], H / stride, W / stride], rounded up."""
    return ConvBlock(channels, 3, stride, 1, activation="relu")
