"""SSD (Liu et al., 2016, arXiv:1512.02325): SSD300 and SSD512 on VGG-16, and the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import VGG16, Backbone
from onelook.detectors.blocks import normalise
from onelook.detectors.priors import Priors, assign, multibox_shapes
from onelook.detectors.targets import Targets
from onelook.errors import NetworkError
from onelook.losses import wide
from onelook.nn.conv import ConvBlock
from onelook.nn.decode import Size
from onelook.nn.init import glorot_uniform

VARIANCES = (0.1, 0.2)
FC = 1024  # channels of fc6 and fc7, a quarter of VGG-16's

# Behind fc7, by the side of the picture: channels of a 1 x 1 convolution and of the next one, its kernel, stride, padding.
# Figure 2 for 300 pixels; 512 have conv12_2 besides (section 3.1); its figures are of the authors' code.
EXTRAS = {
    300: ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
    512: (
        (256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 2, 1),
        (128, 256, 4, 1, 1),
    ),
}  # fmt: skip
# s_k of each map, and one more. Section 2.2 and 3.1 for PASCAL VOC: 0.1 (0.07) for conv4_3, then from 0.2 (0.15) to 0.9
# in even steps, which the authors' code rounds to hundredths.
SCALES = {
    300: (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05),
    512: (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05),
}
# Section 3.1: "for conv4_3, conv10_2 and conv11_2, we only associate 4 default boxes"; so do the last two of 512.
RATIOS = {
    300: ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    512: ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
}
LEAST = 257  # pixels of a side: of smaller pictures nothing is left in the last map, as it comes of 3 x 3 places


class Multibox(nn.Module):
    """What SSD, SSDLite and M2Det share: priors, convolutions that predict from each map, the meaning of the numbers.

    Args:
        backbone: of the network.
        classes: C, without the background.
        priors: of the maps.

    Attributes:
        least: pixels that a side must have.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1 -> of each map the offsets of all priors [B, A * 4, h, w], then of
    each map their class logits, those of the background first: [B, A * (1 + C), h, w].
    """

    least: ClassVar[int] = 32

    def __init__(self, backbone: Backbone, classes: int, priors: Priors):
        super().__init__()
        self.backbone, self.classes, self.priors = backbone, classes, priors
        self.locations, self.confidences = nn.ModuleList(), nn.ModuleList()

    def predict_from(self, channels: Sequence[int]) -> None:
        """Make the last convolutions, for maps of so many channels."""
        for before, own in zip(channels, self.priors.shapes, strict=True):
            self.locations.append(self.output(before, len(own) * 4))
            self.confidences.append(self.output(before, len(own) * (1 + self.classes)))

    def output(self, channels: int, outputs: int) -> nn.Module:
        """The last convolution of a map: [B, channels, h, w] -> [B, outputs, h, w]."""
        return nn.Conv2d(channels, outputs, 3, padding=1)

    def maps(self, image: Tensor) -> list[Tensor]:
        """The maps to predict from, finest first, of a normalised picture [B, 3, H, W]."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        maps = self.maps(normalise(image, self.backbone))
        return [out(x) for outs in (self.locations, self.confidences) for out, x in zip(outs, maps, strict=True)]

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw maps -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""
        offsets, logits = self.priors.flat(raw)
        return self.priors.decode(offsets, self.priors.boxes(raw, size)), logits.softmax(dim=-1)[..., 1:]

    def check_size(self, size: Size) -> None:
        """Raises NetworkError for a height or width, in pixels, that the network cannot take."""
        if min(size) < self.least:
            raise NetworkError(f"size must be {self.least} or more here; found {size[1]} x {size[0]}")


class Ssd(Multibox):
    """SSD: priors of several shapes at every place of maps that grow coarser, on VGG-16.

    Args:
        backbone: VGG-16 without its classifier. Its poolings come to keep odd rests, so that 75 rows become 38.
        classes: C, without the background.
        size: 300 or 512, which of the paper's two networks; the side of the square pictures that it is made for.
        scales: s_k of each map and one more, 7 or 8 numbers; the paper's for PASCAL VOC by default. Those for COCO
            (section 3.4), whose objects are smaller, are 0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05 and
            0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06.

    `forward`: see `Multibox`; H and W may be others than the size, from LEAST on.

    Raises:
        NetworkError: another backbone, size or number of scales, or one not above 0.
    """

    least = LEAST

    def __init__(self, backbone: Backbone, classes: int, size: int = 300, scales: Sequence[float] | None = None):
        if not isinstance(backbone, VGG16):
            raise NetworkError("SSD is built on vgg16; on a MobileNet there is ssdlite")
        if size not in EXTRAS:
            raise NetworkError(f"size of SSD must be {' or '.join(map(str, EXTRAS))}; found {size}")
        shapes = multibox_shapes(check_scales(scales, SCALES[size]), RATIOS[size])
        super().__init__(backbone, classes, Priors(shapes, variances=VARIANCES))
        for module in backbone.body:
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True
        channels = [backbone.channels[0], FC]
        self.norm = L2Norm(channels[0])
        self.fc = atrous_fc(backbone.channels[1])
        self.extras = nn.ModuleList()
        for thin, after, kernel, stride, padding in EXTRAS[size]:
            self.extras.append(
                nn.Sequential(
                    plain((channels[-1], thin), 1), plain((thin, after), kernel, stride=stride, padding=padding)
                )
            )
            channels.append(after)
        self.predict_from(channels)
        for new in (self.extras, self.locations, self.confidences):
            glorot_uniform(new)  # "the 'xavier' method": section 3

    def maps(self, image: Tensor) -> list[Tensor]:
        """See `Multibox`."""
        conv4_3, conv5_3, _ = self.backbone.features(image)
        maps = [self.norm(conv4_3), self.fc(conv5_3)]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps


class L2Norm(nn.Module):
    """Each place of a map scaled to the length 1, then each channel by a number that is learned.

    That is ParseNet's normalisation (Liu et al., 2016, arXiv:1506.04579), which brings conv4_3 to the scale
    of the later maps (section 3.1); the factor begins at 20.

    `forward`: [B, C, H, W] -> [B, C, H, W].
    """

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.normalize(x, dim=1) * self.scale[:, None, None]


def atrous_fc(channels: int) -> nn.Sequential:
    """From VGG-16's conv5_3 to fc7 as a map: [B, channels, H, W] -> [B, 1024, H, W] (section 3, "Base network").

    pool5 is 3 x 3 with stride 1, and fc6 has gaps of 6 pixels between its weights ("à trous").
    """
    fc = nn.Sequential(
        nn.MaxPool2d(3, 1, padding=1), plain((channels, FC), 3, padding=6, dilation=6), plain((FC, FC), 1)
    )
    glorot_uniform(fc)
    return fc


def plain(channels: tuple[int, int], kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> ConvBlock:
    """A convolution and a ReLU, without batch normalisation."""
    return ConvBlock(channels, kernel, stride, padding, dilation, batch_norm=False, activation="relu")


def check_scales(scales: Sequence[float] | None, default: Sequence[float]) -> Sequence[float]:
    """Those scales or the default; raises NetworkError for another number of them, or those not above 0."""
    if scales is None:
        return default
    if len(scales) != len(default) or not all(0 < s < float("inf") for s in scales):
        raise NetworkError(f"scales must be {len(default)} numbers above 0, one a map and one more; found {scales}")
    return scales


@dataclass(frozen=True)
class SsdLoss:
    """The loss of SSD (section 2.2, equations 1 to 3): a dict of its terms, each divided by the batch's matched priors.

    A prior is matched with the object that it overlaps from `overlap` on, and each object has its best one; see
    `onelook.detectors.priors.match`.

    * location: smooth L1 of the matched priors' offsets;
    * confidence: cross-entropy of the softmax over the classes and the background: of the matched priors, and of
      `negatives` times as many others of the same picture, those that are furthest from the background ("Hard negative
      mining").

    Attributes:
        priors: of the network.
        overlap: Jaccard overlap, which is the IoU.
        negatives: others a matched prior.
        location_weight: alpha.
    """

    priors: Priors
    overlap: float = 0.5
    negatives: float = 3.0
    location_weight: float = 1.0

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network.
            targets: of the batch.
            size: of the input, height and width.
        """
        raw = [wide(x) for x in raw]
        offsets, logits = self.priors.flat(raw)
        priors = self.priors.boxes(raw, size)
        target = assign(targets, priors, len(logits), self.overlap, self.overlap)
        matched = target >= 0
        answered = target[matched]

        truth = self.priors.encode(targets.boxes[answered], priors.expand_as(offsets)[matched])
        location = F.smooth_l1_loss(offsets[matched], truth, reduction="sum")

        classes = torch.zeros_like(target)
        classes[matched] = 1 + targets.classes[answered]
        entropy = F.cross_entropy(logits.transpose(1, 2), classes, reduction="none")
        counted = matched | hardest(entropy.detach(), matched, self.negatives)
        count = matched.sum().clamp(min=1)
        return {"location": self.location_weight * location / count, "confidence": entropy[counted].sum() / count}


def hardest(loss: Tensor, matched: Tensor, negatives: float) -> Tensor:
    """Of the priors that are not matched, the `negatives` times as many as those that are which have the highest loss.

    Args:
        loss: of every prior, [B, N].
        matched: bool [B, N].
        negatives: 0 or more.

    Returns:
        bool [B, N].
    """
    order = loss.masked_fill(matched, -1.0).argsort(dim=1, descending=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=loss.device).expand_as(order))
    return ~matched & (rank < negatives * matched.sum(dim=1, keepdim=True))
