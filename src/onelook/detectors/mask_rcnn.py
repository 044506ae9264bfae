"""Mask R-CNN (He et al., 2017, arXiv:1703.06870): Faster R-CNN with RoIAlign, and a mask for each object."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onelook.backbones import Backbone
from onelook.detectors.fast_rcnn import Sampled
from onelook.detectors.faster_rcnn import FasterRcnn, FasterRcnnLoss
from onelook.detectors.priors import Shapes
from onelook.detectors.regions import Regions
from onelook.detectors.targets import Targets
from onelook.errors import TrainingError
from onelook.losses import cross_entropy, wide
from onelook.nn.decode import Size
from onelook.nn.roi import roi_align
from onelook.nn.separable import DepthwiseSeparable

SIDE = 14  # of a region's features; its masks have twice that
WIDTH = 256  # of the mask head's convolutions


class MaskHead(nn.Module):
    """A mask of each class for a region, whichever class it is of (Figure 4, right): four convolutions, then twice as high.

    Args:
        regions: of the maps.
        channels: of the maps.
        classes: C.
        width: of the convolutions.
        separable: depthwise-separable convolutions in place of the four 3 x 3 ones.

    `forward`: maps [B, channels, h, w], boxes xyxy [R, 4] in pixels of the input, the number of each box's picture
    int64 [R] -> logits [R, C, 28, 28].
    """

    def __init__(self, regions: Regions, channels: int, classes: int, width: int = WIDTH, separable: bool = False):
        super().__init__()
        self.regions = regions
        self.convs = nn.Sequential()
        for before in (channels, width, width, width):
            self.convs.append(
                DepthwiseSeparable((before, width))
                if separable
                else nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.ReLU())
            )
        self.lift = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.relu = nn.ReLU()
        self.masks = nn.Conv2d(width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.masks.weight, std=0.001)  # so that no mask is decided on at first

    def forward(self, maps: Sequence[Tensor], boxes: Tensor, picture: Tensor) -> Tensor:
        """See the class."""
        x = self.convs(self.regions(maps, boxes, picture, (SIDE, SIDE)))
        return self.masks(self.relu(self.lift(x)))


class MaskRcnn(FasterRcnn):
    """Mask R-CNN. Arguments, `forward` and `decode` are those of `FasterRcnn`, of which `roi` is "align".

    The masks are no part of `decode`, as they are of the detections that suppression leaves: see `masks`.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        pyramid: int = 256,
        width: int = 1024,
        separable: bool = False,
        anchors: Sequence[Shapes] | None = None,
        proposals: int | None = None,
    ):
        super().__init__(backbone, classes, pyramid, "align", width, separable, anchors, proposals)
        self.mask = MaskHead(Regions(self.strides, "align"), self.channels, classes, separable=separable)

    def masks(self, raw: Sequence[Tensor], boxes: Tensor, classes: Tensor, batch_index: Tensor) -> Tensor:
        """The probabilities that the parts of each box are of the object: [N, 28, 28].

        Args:
            raw: of `forward`; the maps alone matter.
            boxes: of the detections, xyxy [N, 4] in pixels of the input.
            classes: int64 [N].
            batch_index: int64 [N], the number of each one's picture.
        """
        logits = wide(self.mask(raw[: len(self.strides)], boxes, batch_index))
        return logits.gather(1, classes[:, None, None, None].expand(-1, 1, 2 * SIDE, 2 * SIDE))[:, 0].sigmoid()


@dataclass(frozen=True)
class MaskRcnnLoss(FasterRcnnLoss):
    """The terms of Faster R-CNN, and one more (section 3): "L_mask is only defined on the k-th mask".

    * mask: the cross-entropy of the logistic masks, of the class k that a region is of alone: the mean over its m x m
      numbers and over all regions that hold an object. The truth is the part of the object's mask within the region.
    """

    network: MaskRcnn

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network.
            targets: of the batch, with masks.
            size: of the input, height and width.

        Raises:
            TrainingError: the objects have no masks.
        """
        if targets.masks is None:
            raise TrainingError("Mask R-CNN learns from masks, and these pictures have boxes alone")
        terms, sampled = self.both(raw, targets, size)
        maps, _ = self.network.split(raw)
        return terms | {"mask": self.mask(maps, sampled, targets.masks)}

    def mask(self, maps: Sequence[Tensor], sampled: Sampled, masks: Tensor) -> Tensor:
        """The term of the masks, a scalar, of a minibatch of regions of these maps, and the objects' masks [M, H, W]."""
        positive = sampled.classes > 0
        # If none is, the first one is looked at for nothing, so that all weights have a gradient: 0.
        (some,) = (positive if positive.any() else torch.ones_like(positive[:1])).nonzero(as_tuple=True)
        boxes, k = sampled.boxes[some], (sampled.classes[some] - 1).clamp(min=0)
        logits = self.network.mask([wide(x) for x in maps], boxes, sampled.picture[some])
        logits = logits[torch.arange(len(k), device=k.device), k]
        truth = within(masks, sampled.target[some], boxes) if positive.any() else torch.zeros_like(logits)
        return (cross_entropy(logits, truth).mean(dim=(1, 2)) * positive[some]).sum() / len(some)


@torch.no_grad()
def within(masks: Tensor, target: Tensor, boxes: Tensor) -> Tensor:
    """The part of an object's mask that lies in a region, as far as 28 x 28 places show it.

    Args:
        masks: bool or uint8 [M, H, W].
        target: int64 [R], the number of each region's object.
        boxes: regions xyxy [R, 4] in pixels.

    Returns:
        [R, 28, 28], 0 or 1: whether half of the cell or more is of the object.
    """
    found = boxes.new_zeros(len(boxes), 2 * SIDE, 2 * SIDE)
    for number in target.unique().tolist():
        (own,) = (target == number).nonzero(as_tuple=True)
        mask = masks[number].to(boxes.dtype)[None, None]
        found[own] = roi_align(mask, boxes[own], torch.zeros_like(own), (2 * SIDE, 2 * SIDE), 1.0)[:, 0]
    return (found >= 0.5).to(boxes.dtype)
