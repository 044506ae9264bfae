"""What a detector is to find: the labels of a batch of pictures, as its loss takes them."""

from typing import NamedTuple

import torch
from torch import Tensor

from onelook.boxes import iou


class Targets(NamedTuple):
    """The objects of a batch of pictures, and what is known of pictures as a whole."""

    picture: Tensor
    """int64 [M]: of each object, the number of its picture in the batch."""
    boxes: Tensor
    """float32 [M, 4]: xyxy in pixels of the network's input, with an area."""
    classes: Tensor
    """int64 [M]."""
    labelled: Tensor
    """int64 [K]: pictures of which no box is known, but a class (YOLO9000's joint training)."""
    labels: Tensor
    """int64 [K]: that class."""
    masks: Tensor | None = None
    """bool or uint8 [M, H, W]: 1 where the object is, in pixels of the network's input; for Mask R-CNN alone."""
    class_map: Tensor | None = None
    """uint8 [B, H, W]: the class of each pixel of the network's input; for segmenters alone."""

    def to(self, device: torch.device) -> "Targets":
        """The same on another device."""
        moved = {name: x.to(device, non_blocking=True) for name, x in self._asdict().items() if x is not None}
        return Targets(**moved)


def targets(
    boxes: list[Tensor],
    classes: list[Tensor],
    labels: dict[int, int] | None = None,
    masks: list[Tensor] | None = None,
    class_maps: list[Tensor] | None = None,
) -> Targets:
    """Of one list entry a picture: boxes float32 [N, 4] and classes int64 [N].

    Args:
        boxes: of each picture; xyxy in pixels of the network's input.
        classes: of each picture.
        labels: of pictures that have no boxes, but show a class as a whole: number in the batch -> class.
        masks: of each picture, bool or uint8 [N, H, W] in pixels of the network's input.
        class_maps: of each picture, uint8 [H, W].
    """
    counts = torch.tensor([len(some) for some in boxes])
    labels = labels or {}
    return Targets(
        torch.arange(len(boxes)).repeat_interleave(counts),
        torch.cat([some.reshape(-1, 4).float() for some in boxes]),
        torch.cat(classes).long(),
        torch.tensor(list(labels), dtype=torch.int64),
        torch.tensor(list(labels.values()), dtype=torch.int64),
        None if masks is None else torch.cat(masks),
        None if class_maps is None else torch.stack(class_maps),
    )


@torch.no_grad()
def best_overlap(boxes: Tensor, targets: Targets) -> Tensor:
    """Of every predicted box the highest IoU with an object of its picture, 0 where there is none.

    Args:
        boxes: xyxy [B, ..., 4].
        targets: of that batch.

    Returns:
        [B, ...].
    """
    best = boxes.new_zeros(boxes.shape[:-1])
    for i in targets.picture.unique().tolist():
        own = targets.boxes[targets.picture == i]
        best[i] = iou(boxes[i, ..., None, :], own).amax(dim=-1)
    return best
