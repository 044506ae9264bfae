"""Which of a YOLO's predictions answer for which objects."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from onelook.boxes import iou, xyxy_to_cxcywh
from onelook.detectors.targets import Targets
from onelook.nn.decode import Size


class Assignment(NamedTuple):
    """Which predictions of one scale answer for which objects: M' pairs."""

    picture: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    target: Tensor
    """int64 [M']: number of the object in `Targets`."""


def assign(
    targets: Targets, anchors: Sequence[Tensor], size: Size, grids: Sequence[Size], share: float = 1.0
) -> list[Assignment]:
    """The predictions that are to find each object (section 2.1): those of its cell and of the best fitting anchor.

    Where two objects claim one prediction the later one has it, as in Darknet.

    Args:
        targets: of the batch.
        anchors: of each scale, p_w, p_h in pixels of the input: [A, 2].
        size: of the input, height and width.
        grids: of each scale, rows and columns.
        share: anchors whose IoU with the object's shape is above answer too (YOLOv4, arXiv:2004.10934, section 3.4,
            "using multiple anchors for a single ground truth"); at 1 only the best one does.
    """
    centre, sides = xyxy_to_cxcywh(targets.boxes).chunk(2, dim=-1)
    every = torch.cat(list(anchors))
    fit = iou(_at_origin(sides)[:, None], _at_origin(every))
    best = F.one_hot(fit.argmax(dim=1), len(every)).bool() if len(sides) else fit.bool()
    answers = (best | (fit > share)).split([len(own) for own in anchors], dim=1)
    found = []
    for own, (rows, columns) in zip(answers, grids, strict=True):
        target, anchor = own.nonzero(as_tuple=True)
        cell = centre[target] * centre.new_tensor((columns / size[1], rows / size[0]))
        column = cell[:, 0].long().clamp(0, columns - 1)
        row = cell[:, 1].long().clamp(0, rows - 1)
        place = ((targets.picture[target] * own.shape[1] + anchor) * rows + row) * columns + column
        keep = last(place, target)
        found.append(Assignment(*(x[keep] for x in (targets.picture[target], anchor, row, column, target))))
    return found


def last(place: Tensor, number: Tensor | None = None) -> Tensor:
    """Which of the things at equal places is the last one, as bool [M].

    Args:
        place: int64 [M], 0 or more.
        number: int64 [M], what "last" is counted by; by default the order.
    """
    if number is None:
        number = torch.arange(len(place), device=place.device)
    highest = place.new_full((int(place.max()) + 1 if len(place) else 0,), -1)
    return highest.scatter_reduce(0, place, number, "amax")[place] == number


def _at_origin(sides: Tensor) -> Tensor:
    """Widths and heights [..., 2] as boxes from the origin [..., 4]."""
    return torch.cat((torch.zeros_like(sides), sides), dim=-1)
