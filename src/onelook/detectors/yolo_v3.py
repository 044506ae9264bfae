"""YOLOv3 (Redmon and Farhadi, 2018, arXiv:1804.02767) on any backbone, and what YOLOv4 changed in how it learns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Backbone
from onelook.backbones.backbone import check_sides
from onelook.boxes import iou, xyxy_to_cxcywh
from onelook.detectors.assignment import Assignment, assign
from onelook.detectors.blocks import mixing, normalise, output, spatial
from onelook.detectors.targets import Targets, best_overlap
from onelook.losses import OVERLAPS, bounded, cross_entropy, focal, wide
from onelook.nn.decode import Anchors, Size, decode_yolo_v3

# Section 2.3: k-means on COCO at 416 x 416. Those of stride 32 first, as the network's outputs.
ANCHORS: tuple[Anchors, ...] = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)


class YoloV3(nn.Module):
    """YOLOv3: three scales, three anchors each, independent logistic classes.

    Args:
        backbone: gives the maps at the strides 8, 16 and 32; the paper's is Darknet-53.
        classes: C.
        anchors: p_w, p_h in pixels of the input, for the strides 32, 16, 8 in this order.
        width: channels of the thin maps at stride 32, halved at each finer scale; 512 in the paper.
        separable: depthwise-separable convolutions in place of the 3 x 3 ones (MobileNet-YOLO).
        scale_x_y: stretches the range of the centres; 1 in the paper, see `decode_yolo_v3`.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1, H and W multiples of 32 -> of each scale t_x, t_y, t_w, t_h,
    t_o and the class logits of every anchor: [B, A * (5 + C), H / stride, W / stride].
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        anchors: Sequence[Anchors] = ANCHORS,
        width: int = 512,
        separable: bool = False,
        scale_x_y: float = 1.0,
    ):
        super().__init__()
        self.backbone = backbone
        self.classes, self.anchors, self.scale_x_y = classes, tuple(anchors), scale_x_y
        self.necks, self.outputs, self.lifts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        above = 0
        for channels, own in zip(reversed(backbone.channels), self.anchors, strict=True):
            if above:
                self.lifts.append(mixing((2 * width, width), separable))
            self.necks.append(neck(channels + above, width, separable))
            self.outputs.append(output(width, len(own), classes, separable))
            above, width = width // 2, width // 2

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        fine, middle, coarse = self.backbone.features(normalise(image, self.backbone))
        thin = [self.necks[0](coarse)]
        for lift, neck, x in zip(self.lifts, self.necks[1:], (middle, fine), strict=True):
            # "Next we take the feature map from 2 layers previous and upsample it by 2x": section 2.3.
            thin.append(neck(torch.cat((F.interpolate(lift(thin[-1]), scale_factor=2.0), x), dim=1)))
        return [output(x) for output, x in zip(self.outputs, thin, strict=True)]

    def check_size(self, size: Size) -> None:
        """Raises NetworkError for a height or width, in pixels, that the network cannot take."""
        check_sides(size)

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw maps -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""
        found = [decode_yolo_v3(r, size, own, self.scale_x_y) for r, own in zip(raw, self.anchors, strict=True)]
        return torch.cat([boxes for boxes, _ in found], dim=1), torch.cat([scores for _, scores in found], dim=1)


def neck(channels: int, width: int, separable: bool) -> nn.Sequential:
    """Five convolutions, 1 x 1 to a thin map and 3 x 3 to one of twice the channels in turn."""
    wide = 2 * width
    return nn.Sequential(
        mixing((channels, width), separable),
        spatial((width, wide), separable),
        mixing((wide, width), separable),
        spatial((width, wide), separable),
        mixing((wide, width), separable),
    )


@dataclass(frozen=True)
class YoloV3Loss:
    """The loss of YOLOv3 (section 2.1): a dict of terms, each summed over a picture and averaged over the batch.

    * box: with "squared", the sum of the squared errors of t_w and t_h, halved, and for the centre the cross-entropy of
      its place within the cell, whose gradient is the paper's "ground truth value minus our prediction" in Darknet's
      form, σ(t_x) - x. Both are weighed by 2 - w h, w and h relative to the picture, as in Darknet: small boxes count
      more. With the name of an overlap it is 1 less that overlap of the decoded box (YOLOv4, section 3.4).
    * objectness: cross-entropy, 1 for the predictions that answer for an object, 0 for the others; those that overlap
      some object by more than `ignore` though they do not answer for it are left out. With `rescore` the truth is not 1
      but the IoU of the predicted box with its object, as in YOLOv1 and YOLOv2.
    * classes: cross-entropy of independent logistic classes, of the predictions that answer (section 2.2).

    Attributes:
        anchors, scale_x_y: of the network.
        box: "squared", "iou", "giou", "diou" or "ciou".
        ignore: in the paper 0.5.
        share: of `assign`; 1 in the paper.
        rescore: see objectness.
        focal: the term that has the focal loss in place of the cross-entropy (the paper tried it, section 4).
        gamma, alpha: of the focal loss.
        box_weight, objectness_weight, classes_weight: of the terms.
    """

    anchors: tuple[Anchors, ...] = ANCHORS
    scale_x_y: float = 1.0
    box: Literal["squared", "iou", "giou", "diou", "ciou"] = "squared"
    ignore: float = 0.5
    share: float = 1.0
    rescore: bool = False
    focal: Literal["objectness", "classes"] | None = None
    gamma: float = 2.0
    alpha: float | None = None
    box_weight: float = 1.0
    objectness_weight: float = 1.0
    classes_weight: float = 1.0

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network: [B, A * (5 + C), h, w] of each scale.
            targets: of the batch.
            size: of the input, height and width.
        """
        maps = [wide(r).unflatten(1, (len(own), -1)) for r, own in zip(raw, self.anchors, strict=True)]
        anchors = [maps[0].new_tensor(own) for own in self.anchors]
        assigned = assign(targets, anchors, size, [(t.shape[3], t.shape[4]) for t in maps], self.share)
        box, objectness, classes = [], [], []
        for t, own, answers in zip(maps, self.anchors, assigned, strict=True):
            *place, target = answers  # picture, anchor, row, column
            decoded, _ = decode_yolo_v3(bounded(t[:, :, :5]).flatten(1, 2), size, own, self.scale_x_y)
            decoded = decoded.unflatten(1, (len(own), *t.shape[3:]))  # [B, A, h, w, 4]
            boxes = targets.boxes[target]
            truth = torch.zeros_like(t[:, :, 4])
            truth[*place] = iou(decoded[*place].detach(), boxes) if self.rescore else 1.0
            counted = best_overlap(decoded.detach(), targets) <= self.ignore
            counted[*place] = True
            objectness.append(self._entropy("objectness")(t[:, :, 4], truth)[counted].sum())
            found = t.movedim(2, -1)[*place]  # [M', 5 + C]
            if self.box == "squared":
                box.append(self._squared(found, boxes, answers, own, t.shape[3:], size).sum())
            else:
                box.append((1 - OVERLAPS[self.box](decoded[*place], boxes)).sum())
            named = F.one_hot(targets.classes[target], found.shape[1] - 5)
            classes.append(self._entropy("classes")(found[:, 5:], named).sum())
        batch = len(raw[0])
        return {
            "box": self.box_weight * torch.stack(box).sum() / batch,
            "objectness": self.objectness_weight * torch.stack(objectness).sum() / batch,
            "classes": self.classes_weight * torch.stack(classes).sum() / batch,
        }

    def _squared(
        self, found: Tensor, boxes: Tensor, answers: Assignment, anchors: Anchors, grid: Sequence[int], size: Size
    ) -> Tensor:
        """Of the predictions that answer, the errors of t_x, t_y, t_w, t_h: [M']."""
        centre, sides = xyxy_to_cxcywh(boxes).chunk(2, dim=-1)
        picture = boxes.new_tensor((size[1], size[0]))
        cell = centre / picture * boxes.new_tensor((grid[1], grid[0])) - torch.stack((answers.column, answers.row), 1)
        place = (cell + (self.scale_x_y - 1) / 2) / self.scale_x_y  # what the sigmoid is to be
        extent = (sides / boxes.new_tensor(anchors)[answers.anchor]).log()  # what t_w and t_h are to be
        error = cross_entropy(found[:, :2], place) + (found[:, 2:4] - extent).square() / 2
        return (2 - (sides / picture).prod(dim=-1)) * error.sum(dim=-1)

    def _entropy(self, term: str) -> Callable[[Tensor, Tensor], Tensor]:
        return partial(focal, gamma=self.gamma, alpha=self.alpha) if self.focal == term else cross_entropy
