"""YOLOv2 and YOLO9000 (Redmon and Farhadi, 2017, arXiv:1612.08242) on any backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Backbone
from onelook.backbones.backbone import check_sides
from onelook.boxes import iou, xyxy_to_cxcywh
from onelook.detectors.assignment import assign
from onelook.detectors.blocks import mixing, normalise, spatial
from onelook.detectors.targets import Targets, best_overlap
from onelook.losses import OVERLAPS, bounded, wide
from onelook.nn.decode import Anchors, Size, decode_yolo_v2
from onelook.nn.reorg import Reorg
from onelook.nn.wordtree import WordTree

# Section 2, "Dimension Clusters": k-means on COCO, in cells of stride 32; the figures are those of the authors' network.
ANCHORS: Anchors = (
    (0.57273, 0.677385),
    (1.87446, 2.06253),
    (3.33843, 5.47434),
    (7.88282, 3.52778),
    (9.77052, 9.16828),
)
ASSUMED_OVERLAP = 0.3  # section 4: what a box in a picture without boxes is taken to overlap the unknown truth


class YoloV2(nn.Module):
    """YOLOv2: one scale, anchors by k-means, a passthrough from the finer map, classes by a softmax.

    Args:
        backbone: gives the maps at the strides 16 and 32; the paper's is Darknet-19.
        classes: C.
        anchors: p_w, p_h in cells of stride 32; five in the paper, three in YOLO9000.
        width: channels of the convolutions at stride 32; 1024 in the paper.
        separable: depthwise-separable convolutions in place of the 3 x 3 ones (MobileNet-YOLO).
        tree: of the classes (section 4); None for a plain softmax.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1, H and W multiples of 32 -> t_x, t_y, t_w, t_h, t_o and the class
    logits of every anchor: [B, A * (5 + C), H / 32, W / 32], alone in a list.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        anchors: Anchors = ANCHORS,
        width: int = 1024,
        separable: bool = False,
        tree: WordTree | None = None,
    ):
        super().__init__()
        self.backbone, self.classes, self.anchors, self.tree = backbone, classes, anchors, tree
        _, fine, coarse = backbone.channels
        self.deepen = nn.Sequential(spatial((coarse, width), separable), spatial((width, width), separable))
        # "Fine-Grained Features": neighbouring places of the finer map become channels. Of 64 channels, as the authors do.
        self.passthrough = nn.Sequential(mixing((fine, 64), separable), Reorg(2))
        self.output = nn.Sequential(
            spatial((4 * 64 + width, width), separable), nn.Conv2d(width, len(anchors) * (5 + classes), 1)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        _, fine, coarse = self.backbone.features(normalise(image, self.backbone))
        return [self.output(torch.cat((self.passthrough(fine), self.deepen(coarse)), dim=1))]

    def check_size(self, size: Size) -> None:
        """Raises NetworkError for a height or width, in pixels, that the network cannot take."""
        check_sides(size)

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw map -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""
        return decode_yolo_v2(raw[0], size, self.anchors, tree=self.tree)


@dataclass(frozen=True)
class YoloV2Loss:
    """The loss of YOLOv2: a dict of terms, each summed over a picture and averaged over the batch.

    The paper gives no equation; the terms are those of YOLOv1's equation 3 on the values of "Direct Location
    Prediction", with the weights of the authors' network. All but the classes are squared errors, halved.

    * coordinates: of sigma(t_x), sigma(t_y), t_w, t_h, weighed by 2 - w h, w and h relative to the picture: small boxes
      count more. With the name of an overlap it is 1 less that overlap.
    * objectness: of the predictions that answer for an object, against their box's IoU with it. An object's is that of
      its cell and of the anchor nearest to its shape.
    * no_object: of the others, against 0, unless they overlap some object by more than `ignore`.
    * classes: cross-entropy of the softmax; with a tree, of the softmax at each step of the path to the class.

    In a picture of which only a class is known (joint training, section 4), the box that gives that class the highest
    probability alone is trained: its classes on the path, and its objectness where it is below `ASSUMED_OVERLAP`.

    Attributes:
        anchors: of the network, in cells.
        tree: of the network.
        box: "squared", "iou", "giou", "diou" or "ciou".
        ignore: 0.6 in the authors' network.
        coordinates_weight, objectness_weight, no_object_weight, classes_weight: of the terms.
    """

    anchors: Anchors = ANCHORS
    tree: WordTree | None = None
    box: Literal["squared", "iou", "giou", "diou", "ciou"] = "squared"
    ignore: float = 0.6
    coordinates_weight: float = 1.0
    objectness_weight: float = 5.0
    no_object_weight: float = 1.0
    classes_weight: float = 1.0

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network: [B, A * (5 + C), h, w], alone in a list.
            targets: of the batch.
            size: of the input, height and width.
        """
        t = wide(raw[0]).unflatten(1, (len(self.anchors), -1))  # [B, A, 5 + C, h, w]
        grid = t.new_tensor((t.shape[4], t.shape[3]))
        picture = t.new_tensor((size[1], size[0]))
        anchors = t.new_tensor(self.anchors) * picture / grid  # pixels
        (answers,) = assign(targets, [anchors], size, [(t.shape[3], t.shape[4])])
        *place, target = answers  # picture, anchor, row, column
        boxes = targets.boxes[target]
        found = t.movedim(2, -1)[*place]  # [M', 5 + C]
        decoded, _ = decode_yolo_v2(bounded(t[:, :, :5]).flatten(1, 2), size, self.anchors, softmax=False)
        decoded = decoded.unflatten(1, (len(anchors), *t.shape[3:]))  # [B, A, h, w, 4]

        if self.box == "squared":
            centre, sides = xyxy_to_cxcywh(boxes).chunk(2, dim=-1)
            cell = centre / picture * grid - torch.stack((answers.column, answers.row), dim=1)
            extent = (sides / anchors[answers.anchor]).log()
            error = (found[:, :2].sigmoid() - cell).square() + (found[:, 2:4] - extent).square()
            coordinates = ((2 - (sides / picture).prod(dim=-1)) * error.sum(dim=-1)).sum() / 2
        else:
            coordinates = (1 - OVERLAPS[self.box](decoded[*place], boxes)).sum()

        overlap = iou(decoded[*place].detach(), boxes)
        objectness = (found[:, 4].sigmoid() - overlap).square().sum() / 2
        empty = best_overlap(decoded.detach(), targets) <= self.ignore
        empty[*place] = False
        empty[targets.labelled] = False
        no_object = t[:, :, 4].sigmoid()[empty].square().sum() / 2
        classes = self._classes(found[:, 5:], targets.classes[target])
        for i, label in zip(targets.labelled.tolist(), targets.labels, strict=True):
            every = t[i].movedim(1, -1).flatten(0, 2)  # [A h w, 5 + C]
            best = every[self._probability(every[:, 5:], label).argmax()]
            classes = classes + self._classes(best[None, 5:], label[None])
            objectness = objectness + (ASSUMED_OVERLAP - best[4].sigmoid()).relu().square() / 2
        terms = {"coordinates": coordinates, "objectness": objectness, "no_object": no_object, "classes": classes}
        return {name: getattr(self, f"{name}_weight") * term / len(t) for name, term in terms.items()}

    def _classes(self, logits: Tensor, classes: Tensor) -> Tensor:
        if self.tree is not None:
            return self.tree.cross_entropy(logits, classes).sum()
        return F.cross_entropy(logits, classes, reduction="sum")

    @torch.no_grad()
    def _probability(self, logits: Tensor, label: Tensor) -> Tensor:
        """Pr(class | object) of each box: [N, C] -> [N]."""
        if self.tree is None:
            return logits.softmax(dim=-1)[:, label]
        return self.tree.absolute(self.tree.conditional(logits))[:, label]
