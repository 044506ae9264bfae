"""DeepLabv3 (Chen et al., 2017, arXiv:1706.05587) on MobileNetV2, as that one's paper has it (arXiv:1801.04381, 6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import MobileNetV2
from onelook.backbones.backbone import MAX_SIDE
from onelook.errors import NetworkError
from onelook.losses import wide
from onelook.nn.conv import ConvBlock
from onelook.nn.decode import Size

OUTPUT_STRIDE = 16
WIDTH = 256  # channels of every branch, and of what they are brought together to: section 3.3
RATES = (6, 12, 18)  # of the atrous convolutions at this output stride: section 3.3
IGNORE = 255  # the class number of pixels that VOC leaves undecided


class DeepLabV3(nn.Module):
    """DeepLabv3: what a map of stride 16 shows at each place and what it shows as a whole, brought together.

    Args:
        backbone: becomes part of this network: without its last convolution, and with a dilation in place of the last
            stride.
        classes: C, the background among them.
        aspp: also look around each place with the three atrous convolutions of `RATES`: atrous spatial pyramid
            pooling. MobileNetV2's paper leaves them out, as they double the network (Table 7).

    Attributes:
        mean, std: the body sees (pixel - mean) / std, of RGB pixels from 0 to 255: float32 [3, 1, 1].

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1, H and W of 16 n + 1 pixels, as the authors' 513 -> logits
    [B, C, n + 1, n + 1], of every 16th pixel from the corner on.

    Raises:
        NetworkError: a number of classes out of range.
    """

    def __init__(self, backbone: MobileNetV2, classes: int, aspp: bool = False):
        super().__init__()
        if not 1 <= classes <= 1_000_000:
            raise NetworkError(f"classes of a segmenter must be from 1 to 1000000; found {classes}")
        self.mean, self.std = (nn.Buffer(torch.tensor(x).view(3, 1, 1)) for x in (backbone.mean, backbone.std))
        *rows, last = backbone.body
        assert isinstance(last, ConvBlock)
        self.backbone = backbone
        backbone.body, backbone.head = nn.Sequential(*rows), nn.Identity()
        dilate(backbone.body)
        channels = last.conv.in_channels, WIDTH
        self.image_pooling = ConvBlock(channels, 1, activation="relu")
        self.aspp = nn.ModuleList([ConvBlock(channels, 1, activation="relu")])
        for rate in RATES if aspp else ():
            self.aspp.append(ConvBlock(channels, 3, padding="same", dilation=rate, activation="relu"))
        self.project = ConvBlock((WIDTH * (1 + len(self.aspp)), WIDTH), 1, activation="relu")
        self.dropout = nn.Dropout(0.1)  # not in the paper, but in the authors' code
        self.logits = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        x = self.backbone.body((image * 255 - self.mean) / self.std)
        whole = self.image_pooling(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        x = torch.cat((whole, *(branch(x) for branch in self.aspp)), dim=1)
        return self.logits(self.dropout(self.project(x)))

    def decode(self, raw: Tensor, size: Size) -> Tensor:
        """Logits -> the likeliest class of each pixel of the input of `size` (height, width): int64 [B, H, W]."""
        return enlarge(raw, size).argmax(dim=1)

    def check_size(self, size: Sequence[int]) -> None:
        """Raises NetworkError for a height or width, in pixels, that is no 16 n + 1.

        The network takes others too, but a map of an even side is padded on one side alone. So its places are of pixels
        further right and down, by up to 15, than those that `decode` takes them for.
        """
        if not all(side % OUTPUT_STRIDE == 1 and OUTPUT_STRIDE < side <= MAX_SIDE for side in size):
            sides = " x ".join(map(str, size))
            raise NetworkError(f"size of a segmenter must be a multiple of 16 plus 1, as 513 is; found {sides}")


def dilate(body: nn.Sequential) -> None:
    """Make strides beyond `OUTPUT_STRIDE` dilations of the kernels behind them (section 3.1); changes a MobileNet in place.

    The kernels keep their weights and see the same pixels of the picture as before, at more places.
    """
    stride = dilation = 1
    for block in body.modules():
        if not isinstance(block, ConvBlock) or block.conv.kernel_size == (1, 1):
            continue
        step = block.conv.stride[0]
        if stride * step <= OUTPUT_STRIDE and dilation == 1:
            stride *= step
            continue
        block.same = False  # without a stride the convolution can pad by itself
        block.conv.stride, block.conv.dilation, block.conv.padding = (1, 1), (dilation, dilation), (dilation, dilation)
        dilation *= step


def enlarge(logits: Tensor, size: Size) -> Tensor:
    """Bilinear between places of which those in the corners are the corner pixels, as the authors' code has it.

    Args:
        logits: [B, C, h, w].
        size: H, W.

    Returns:
        [B, C, H, W].
    """
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)


@dataclass(frozen=True)
class DeepLabLoss:
    """The loss of DeepLabv3, a dict of one term: cross-entropy, the mean over the pixels of the batch.

    It is the logits that are enlarged, not the truth that is made smaller, as that would lose what is thin (section 4.1,
    "Upsampling logits"). Without a pixel that counts the loss is 0.

    Attributes:
        ignore: class number of pixels that do not count.
    """

    ignore: int = IGNORE

    def __call__(self, raw: Tensor, truth: Tensor, size: Size) -> dict[str, Tensor]:
        """The term, a scalar.

        Args:
            raw: of the network: [B, C, h, w].
            truth: class of each pixel: whole numbers [B, H, W].
            size: of the input, height and width.
        """
        logits = enlarge(wide(raw), size)
        total = F.cross_entropy(logits, truth.long(), ignore_index=self.ignore, reduction="sum")
        return {"classes": total / (truth != self.ignore).sum().clamp(min=1)}
