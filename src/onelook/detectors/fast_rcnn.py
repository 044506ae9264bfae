"""Fast R-CNN (Girshick, 2015, arXiv:1504.08083): regions of a map, classified and refined."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pad_sequence

from onelook.backbones import Backbone
from onelook.backbones.backbone import check_sides
from onelook.backbones.tap import tap
from onelook.boxes import iou, xyxy_to_cxcywh
from onelook.detectors.blocks import normalise
from onelook.detectors.priors import Priors
from onelook.detectors.regions import Regions, Roi, clip, draw
from onelook.detectors.targets import Targets
from onelook.losses import wide
from onelook.nn.decode import Size
from onelook.nn.fpn import FeaturePyramid
from onelook.nn.pool import GlobalAvgPool
from onelook.nn.separable import DepthwiseSeparable
from onelook.runtime.picture import Pixels
from onelook.runtime.selective_search import selective_search

STRIDES = (16,)
PYRAMID_STRIDES = (4, 8, 16, 32)  # of P_2 to P_5: Lin et al., 2017 (arXiv:1612.03144), section 4.2
SIDE = 7  # H and W of section 2.1
# t_x, t_y, t_w, t_h of a region. "We normalize the ground-truth regression targets to have zero mean and unit variance"
# (section 2.3): the deviations are those of the authors' code.
OFFSETS = Priors((), variances=(0.1, 0.2))
PAIRS = 1000  # (region, class) pairs of a picture, the best ones, that are candidates; so many enter the suppression
PROPOSALS = 2000  # of a picture: "R is typically around 2000" (section 3)
REMEMBERED = 10_000  # pictures, each with 30 kilobytes of proposals


class BoxHead(nn.Module):
    """The class of a region, and where the object is if it is of this or that class (sections 2.1 and 2.3).

    Args:
        regions: of the maps.
        channels: of the maps.
        classes: C, without the background.
        width: of the fully connected layers; or channels of the separable convolutions.
        separable: two depthwise-separable convolutions and a mean, in place of two fully connected layers.
        dropout: behind both fully connected layers.

    `forward`: maps [B, channels, h, w], boxes xyxy [R, 4] in pixels of the input, the number of each box's picture
    int64 [R] -> class logits, those of the background first [R, 1 + C]; offsets of each class [R, C, 4].
    """

    def __init__(
        self, regions: Regions, channels: int, classes: int, width: int, separable: bool = False, dropout: float = 0.0
    ):
        super().__init__()
        self.regions = regions
        self.hidden = _separable(channels, width) if separable else _connected(channels, width, dropout)
        self.logits = nn.Linear(width, 1 + classes)
        self.offsets = nn.Linear(width, 4 * classes)
        for layer, deviation in ((self.logits, 0.01), (self.offsets, 0.001)):  # section 2.3
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor], boxes: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        x = self.hidden(self.regions(maps, boxes, picture, (SIDE, SIDE)))
        return self.logits(x), self.offsets(x).unflatten(1, (-1, 4))

    def decode(self, maps: Sequence[Tensor], boxes: Tensor, held: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """The best (region, class) pairs as candidates, which have a score for that class alone.

        Args:
            maps: as of `forward`.
            boxes: regions xyxy [B, P, 4] in pixels of the input.
            held: bool [B, P], those that are regions.
            size: of the input, height and width.

        Returns:
            Boxes xyxy in pixels of the input [B, N, 4], scores [B, N, C]; N is at most PAIRS.
        """
        batch, count = boxes.shape[:2]
        picture = torch.arange(batch, device=boxes.device)[:, None].expand(batch, count)
        logits, offsets = map(wide, self(maps, boxes.flatten(0, 1), picture.flatten()))
        classes = offsets.shape[1]
        scores = logits.softmax(dim=1)[:, 1:].reshape(-1, count * classes)
        scores = scores * held.repeat_interleave(classes, dim=1)
        refined = OFFSETS.decode(offsets, xyxy_to_cxcywh(boxes).flatten(0, 1)[:, None])
        scores, pair = scores.topk(min(PAIRS, count * classes))
        chosen = clip(refined, size).reshape(-1, count * classes, 4).gather(1, pair[..., None].expand(-1, -1, 4))
        return chosen, F.one_hot(pair % classes, classes) * scores[..., None]


def _connected(channels: int, width: int, dropout: float) -> nn.Sequential:
    """fc6 and fc7 of VGG-16 (section 2.2), or the two of a pyramid (Lin et al., 2017, section 4.2)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (channels * SIDE**2, width):
        linear = nn.Linear(inputs, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers)


def _separable(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        DepthwiseSeparable((channels, width), stride=2), DepthwiseSeparable((width, width)), GlobalAvgPool()
    )


class Rcnn(nn.Module):
    """What Fast, Faster and Mask R-CNN share: the maps of a picture, and a head that looks at regions of them.

    Args:
        backbone: gives the map of stride 16, the last one that is used; or with a pyramid those of 4, 8, 16 and 32.
            It is changed: what is behind them is cut off.
        classes: C.
        pyramid: d, channels of a feature pyramid (arXiv:1612.03144); 0: the map of stride 16 alone.
        roi: "pool", the paper's, or "align", Mask R-CNN's.
        width: of the head; in the papers 4096 on VGG-16, 1024 with a pyramid.
        separable: depthwise-separable convolutions in the head and in the pyramid.

    Raises:
        NetworkError: the backbone has no such maps.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        pyramid: int = 0,
        roi: Roi = "pool",
        width: int = 4096,
        separable: bool = False,
    ):
        super().__init__()
        self.classes = classes
        self.strides = PYRAMID_STRIDES if pyramid else STRIDES
        self.backbone = tap(backbone, self.strides)
        self.pyramid = FeaturePyramid(self.backbone.channels, pyramid, separable) if pyramid else None
        self.channels = pyramid or self.backbone.channels[0]
        dropout = 0.0 if pyramid else 0.5  # of VGG-16's fc6 and fc7; a pyramid's have none
        self.head = BoxHead(Regions(self.strides, roi), self.channels, classes, width, separable, dropout)

    def features(self, image: Tensor) -> list[Tensor]:
        """Picture float32 [B, 3, H, W], RGB in 0..1 -> maps [B, channels, H / stride, W / stride] of all `strides`."""
        maps = self.backbone.features(normalise(image, self.backbone))
        return maps if self.pyramid is None else self.pyramid(maps)

    def check_size(self, size: Size) -> None:
        """Raises NetworkError for a height or width, in pixels, that the network cannot take."""
        check_sides(size)


class FastRcnn(Rcnn):
    """Fast R-CNN: the regions come with the picture. What is not said here is of `Rcnn`.

    Args:
        proposals: P, of a picture that are looked at, at most, of those that selective search makes.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1, H and W multiples of 32; and the proposals, xyxy in pixels of
    the input: a list of [P_i, 4], one entry a picture; [B, P, 4], of which those without an area are none; or [P, 5], the
    number of the picture first; without them selective search makes some -> the maps of `features`, then the proposals
    [B, P, 4], and of which of them there are, 0 or 1 [B, P].
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        pyramid: int = 0,
        roi: Roi = "pool",
        width: int = 4096,
        separable: bool = False,
        proposals: int = PROPOSALS,
    ):
        super().__init__(backbone, classes, pyramid, roi, width, separable)
        self.proposals = proposals

    def forward(self, image: Tensor, proposals: Tensor | Sequence[Tensor] | None = None) -> list[Tensor]:
        """See the class.

        Raises:
            MissingDependencyError: scikit-image, which selective search needs, is not installed.
        """
        proposals = self.search(image) if proposals is None else proposals
        return [*self.features(image), *padded(proposals, image.shape[0])]

    def search(self, image: Tensor) -> list[Tensor]:
        """The proposals of selective search, of each picture xyxy [P_i, 4]; none on the device "meta"."""
        if image.is_meta:
            return [image.new_zeros(0, 4)] * len(image)
        pixels = (image.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [torch.from_numpy(remembered(one)[: self.proposals]).to(image.device) for one in pixels]

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw tensors -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""
        *maps, boxes, held = raw
        return self.head.decode(maps, boxes, held > 0, size)


_proposals: dict[bytes, NDArray[np.float32]] = {}


def remembered(image: Pixels) -> NDArray[np.float32]:
    """`selective_search` of a picture; that of the last pictures is known, as a second or two of it would be for nothing."""
    key = hashlib.sha256(image.tobytes() + bytes(str(image.shape), "ascii")).digest()
    if key not in _proposals:
        _proposals[key] = selective_search(image)
        if len(_proposals) > REMEMBERED:
            _proposals.pop(next(iter(_proposals)), None)
    return _proposals[key]


def padded(proposals: Tensor | Sequence[Tensor], pictures: int) -> tuple[Tensor, Tensor]:
    """Proposals in one of the three forms of `FastRcnn` -> [B, P, 4], and 1 where there is one, else 0 [B, P]."""
    if isinstance(proposals, Tensor) and proposals.ndim == 3:
        return proposals, (proposals[..., 2:] > proposals[..., :2]).all(-1).to(proposals.dtype)
    if isinstance(proposals, Tensor):
        proposals = [proposals[proposals[:, 0] == i, 1:] for i in range(pictures)]
    there = [torch.ones_like(own[:, 0]) for own in proposals]
    return pad_sequence(list(proposals), batch_first=True), pad_sequence(there, batch_first=True)


class Sampled(NamedTuple):
    """Regions of a batch to learn from."""

    boxes: Tensor
    """xyxy [R, 4] in pixels of the input."""
    picture: Tensor
    """int64 [R]: the number of its picture."""
    classes: Tensor
    """int64 [R]: from 1 on, 0 for the background."""
    target: Tensor
    """int64 [R]: the number of its object in `Targets`; for the background of none."""


@dataclass(frozen=True)
class FastRcnnLoss:
    """The multi-task loss of section 2.3 on regions drawn at random: a dict of terms, both over the number of regions.

    * classes: -log of the softmax of the true class u, equation 1.
    * box: where u is not the background, the smooth L1 loss of the offsets of class u, equations 2 and 3, λ = 1.

    A region whose IoU with an object is `foreground` or more is of that object's class; from `least` on, below that, it is
    background. As in the authors' code, the objects themselves are proposals too.

    Attributes:
        head: of the network.
        regions: of a picture; in the paper 128 of two pictures.
        share: of them that hold an object, at most.
        foreground, least: see above. In a picture without objects all regions are background.
    """

    head: BoxHead
    regions: int = 64
    share: float = 0.25
    foreground: float = 0.5
    least: float = 0.1

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network.
            targets: of the batch.
            size: of the input, height and width.
        """
        *maps, boxes, held = raw
        return self.terms(maps, self.sample(boxes, held > 0, targets), targets)

    @torch.no_grad()
    def sample(self, boxes: Tensor, held: Tensor, targets: Targets) -> Sampled:
        """A minibatch of regions ("Mini-batch sampling").

        Args:
            boxes: proposals xyxy [B, P, 4] in pixels of the input.
            held: bool [B, P], those that are proposals.
            targets: of the batch.
        """
        found = []
        for i in range(len(boxes)):
            (own,) = (targets.picture == i).nonzero(as_tuple=True)
            objects = targets.boxes[own].to(boxes.dtype)
            regions = torch.cat((boxes[i, held[i]], objects))
            # One more object, none, which is what is found where there are no others.
            overlap, nearest = F.pad(iou(regions[:, None], objects), (0, 1)).max(dim=1)
            least = self.least if len(own) else 0.0
            positive = overlap >= self.foreground
            drawn = torch.cat(draw(positive, ~positive & (overlap >= least), self.regions, self.share))
            target = F.pad(own, (0, 1))[nearest[drawn]]
            classes = F.pad(1 + targets.classes[own], (0, 1))[nearest[drawn]] * positive[drawn]
            found.append(Sampled(regions[drawn], torch.full_like(target, i), classes, target))
        return Sampled(*map(torch.cat, zip(*found, strict=True)))

    def terms(self, maps: Sequence[Tensor], sampled: Sampled, targets: Targets) -> dict[str, Tensor]:
        """The terms of a minibatch.

        Args:
            maps: [B, C, h, w] of each stride of the network.
            sampled: regions of them.
            targets: of the batch.
        """
        logits, offsets = map(wide, self.head([wide(x) for x in maps], sampled.boxes, sampled.picture))
        (positive,) = sampled.classes.nonzero(as_tuple=True)
        truth = OFFSETS.encode(targets.boxes[sampled.target[positive]], xyxy_to_cxcywh(sampled.boxes[positive]))
        answers = offsets[positive, sampled.classes[positive] - 1]
        count = max(1, len(logits))
        return {
            "classes": F.cross_entropy(logits, sampled.classes, reduction="sum") / count,
            "box": F.smooth_l1_loss(answers, truth.to(answers.dtype), reduction="sum") / count,
        }
