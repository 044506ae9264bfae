"""What the numbers of a YOLO head mean: from a raw map to boxes and scores, equation by equation.

Every function takes the raw output of the network for one scale and the size of the network's input, and returns
    boxes: float32 [B, N, 4], xyxy in pixels of the input;
    scores: float32 [B, N, C], the confidence that box n holds an object of class c.
"""

import torch
from torch import Tensor

from onelook.nn.wordtree import WordTree

Size = tuple[int, int]  # height, width in pixels
Anchors = tuple[tuple[float, float], ...]  # width, height


def decode_yolo_v1(
    raw: Tensor, size: Size, side: int, classes: int, square: bool, softmax: bool
) -> tuple[Tensor, Tensor]:
    """YOLOv1 (Redmon et al., 2016, arXiv:1506.02640, section 2).

    Args:
        raw: [B, S * S * (C + n * 5)]: the class probabilities of all cells, then the confidences of all boxes, then
            the x, y, w, h of all boxes, as Darknet lays them out.
        size: of the input.
        side: S, cells along each side of the picture.
        classes: C.
        square: the network predicts the square roots of w and h (section 2.2).
        softmax: the class values are logits.
    """
    batch, cells = raw.shape[0], side * side
    count = (raw.shape[1] // cells - classes) // 5
    probability, confidence, box = torch.split(raw, [cells * classes, cells * count, cells * count * 4], dim=1)
    probability = probability.reshape(batch, cells, 1, classes)
    if softmax:
        probability = probability.softmax(-1)
    scores = confidence.reshape(batch, cells, count, 1) * probability
    box = box.reshape(batch, cells, count, 4).permute(0, 2, 3, 1)  # [B, n, 4, cells], as the later YOLOs have it
    extent = box[:, :, 2:].square() if square else box[:, :, 2:]
    centre = (box[:, :, :2] + _grid(side, side, raw)) / side
    pixels = _column(size[1], size[0], raw)
    return _corners(centre * pixels, extent * pixels), scores.transpose(1, 2).flatten(1, 2)


def decode_yolo_v2(
    raw: Tensor, size: Size, anchors: Anchors, softmax: bool = True, tree: WordTree | None = None
) -> tuple[Tensor, Tensor]:
    """YOLOv2 and YOLO9000 (Redmon and Farhadi, 2017, arXiv:1612.08242, section 2, "Direct location prediction").

    b_x = sigma(t_x) + c_x, b_w = p_w e^t_w, Pr(object) = sigma(t_o); the classes by a softmax.

    Args:
        raw: [B, A * (5 + C), h, w]: t_x, t_y, t_w, t_h, t_o and the C class logits of each anchor.
        size: of the input.
        anchors: p_w, p_h in cells of the grid.
        softmax: else the classes are independent logistic ones.
        tree: of YOLO9000 (section 4): a box is of the one class that the tree is followed down to, with Pr(object).
    """
    height, width = raw.shape[2:]
    t = raw.reshape(raw.shape[0], len(anchors), -1, height * width)
    cell = _column(size[1], size[0], raw) / _column(width, height, raw)
    prior = torch.tensor(anchors, device=raw.device, dtype=raw.dtype)[:, :, None]
    centre = (t[:, :, 0:2].sigmoid() + _grid(height, width, raw)) * cell
    extent = t[:, :, 2:4].exp() * (prior * cell)
    classes = t[:, :, 5:].transpose(2, 3)
    if tree is not None:
        classes = tree.predict(classes)
    elif softmax:
        classes = classes.softmax(-1)
    else:
        classes = classes.sigmoid()
    return _corners(centre, extent), (t[:, :, 4, :, None].sigmoid() * classes).flatten(1, 2)


def decode_yolo_v3(
    raw: Tensor, size: Size, anchors: Anchors, scale_x_y: float = 1.0, new_coords: bool = False
) -> tuple[Tensor, Tensor]:
    """YOLOv3 (Redmon and Farhadi, 2018, arXiv:1804.02767, section 2) and YOLOv4 (Bochkovskiy et al., 2020).

    As in YOLOv2, but anchors are in pixels and classes are independent logistic ones. YOLOv4 stretches the centre's
    range beyond the cell: b_x = s sigma(t_x) - (s - 1) / 2 + c_x ("eliminate grid sensitivity", arXiv:2004.10934,
    section 3.4). Scaled-YOLOv4 has the sigmoids in the layer before and takes b_w = p_w (2 t_w)^2.

    Args:
        raw: [B, A * (5 + C), h, w]: t_x, t_y, t_w, t_h, t_o and the C class logits of each anchor.
        size: of the input.
        anchors: p_w, p_h in pixels of the input.
        scale_x_y: s.
        new_coords: decode as Scaled-YOLOv4 does.
    """
    height, width = raw.shape[2:]
    t = raw.reshape(raw.shape[0], len(anchors), -1, height * width)
    cell = _column(size[1], size[0], raw) / _column(width, height, raw)
    prior = torch.tensor(anchors, device=raw.device, dtype=raw.dtype)[:, :, None]
    if new_coords:
        centre, extent, scores = t[:, :, 0:2], (2 * t[:, :, 2:4]).square(), t[:, :, 4:5] * t[:, :, 5:]
    else:
        centre, extent = t[:, :, 0:2].sigmoid(), t[:, :, 2:4].exp()
        scores = t[:, :, 4:5].sigmoid() * t[:, :, 5:].sigmoid()
    centre = (centre * scale_x_y + (_grid(height, width, raw) - (scale_x_y - 1) / 2)) * cell
    return _corners(centre, extent * prior), scores.transpose(2, 3).flatten(1, 2)


def _grid(height: int, width: int, like: Tensor) -> Tensor:
    """The column and the row of every cell: [2, height * width], row by row."""
    column = torch.arange(width, device=like.device, dtype=like.dtype)
    row = torch.arange(height, device=like.device, dtype=like.dtype)
    return torch.stack((column.expand(height, width), row[:, None].expand(height, width))).flatten(1)


def _column(x: int, y: int, like: Tensor) -> Tensor:
    """(x, y) as [2, 1], to be applied to every cell. As tensors, so that the sides of a dynamic input may be given."""
    return torch.stack([torch.scalar_tensor(side, device=like.device, dtype=like.dtype) for side in (x, y)])[:, None]


def _corners(centre: Tensor, extent: Tensor) -> Tensor:
    """Centres and extents [B, A, 2, n] -> xyxy [B, A * n, 4]."""
    half = extent / 2
    return torch.cat((centre - half, centre + half), dim=2).transpose(2, 3).flatten(1, 2)
