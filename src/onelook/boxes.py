"""Boxes: their formats, their areas, and how well two of them agree.

A box is the last dimension of a float tensor [..., 4]. Inside the project it is `xyxy`: left, top, right, bottom in
pixels, where a box from 0 to 10 is 10 pixels wide. Other formats are converted at the edge: `cxcywh` is the centre and
the sides, `xywh` the left top corner and the sides.

The measures `iou`, `giou`, `diou` and `ciou` broadcast: [..., 4] and [..., 4] -> [...]. Predictions against their
targets are `giou(predictions, targets)`; all of `a` [N, 4] against all of `b` [M, 4] are `iou(a[:, None], b)` [N, M].
They are differentiable in both arguments, and computed in float32 at least: the area of a box of 300 pixels is more
than float16 can hold.

Degenerate boxes give no NaN, neither as value nor as gradient, and pass none to their partner:

| one of the two boxes          | area, IoU | their gradient | GIoU, DIoU, CIoU  | their gradient |
|-------------------------------|-----------|----------------|-------------------|----------------|
| has no width or no height     | 0         | 0              | 0 - the penalties | the penalties' |
| inverted (x2 < x1 or y2 < y1) | 0         | 0              | 0 - the penalties | the penalties' |
| NaN, infinite, beyond ±1e18   | 0         | 0              | 0                 | 0              |

The penalties are those of the formulas, defined for all finite boxes: the enclosing box encloses all corners, and an
inverted side counts as 0 in the aspect ratio. A penalty that is 0 / 0 is 0. Beyond 1e18, areas leave float32.
"""

import math

import torch
from torch import Tensor

LIMIT = 1e18


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to centre and sides, [..., 4] -> [..., 4]; the sides of an inverted box are negative."""
    low, high = boxes.chunk(2, dim=-1)
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and sides to corners, [..., 4] -> [..., 4]; negative sides give an inverted box."""
    centre, sides = boxes.chunk(2, dim=-1)
    return torch.cat((centre - sides / 2, centre + sides / 2), dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Corners to left top corner and sides (COCO's format), [..., 4] -> [..., 4]."""
    low, high = boxes.chunk(2, dim=-1)
    return torch.cat((low, high - low), dim=-1)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Left top corner and sides (COCO's format) to corners, [..., 4] -> [..., 4]."""
    low, sides = boxes.chunk(2, dim=-1)
    return torch.cat((low, low + sides), dim=-1)


def clip(boxes: Tensor, width: float, height: float) -> Tensor:
    """Move xyxy corners that lie outside a picture of `width` x `height` pixels to its border, [..., 4] -> [..., 4].

    A box wholly outside ends without area; NaN stays NaN. No gradient passes to a moved coordinate.
    """
    return boxes.clamp(boxes.new_zeros(4), boxes.new_tensor((width, height, width, height)))


def area(boxes: Tensor) -> Tensor:
    """Square pixels of xyxy boxes, [..., 4] -> [...]; 0 for the degenerate ones."""
    return _area(_defined(boxes))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, in [0, 1]: xyxy [..., 4] and [..., 4] -> [...], broadcast.

    No epsilon is added: equal boxes have exactly 1. Where the union has no area the result is 0.
    """
    return _ratio(*_intersection_and_union(_defined(a), _defined(b)))


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU, in [-1, 1]: xyxy [..., 4] and [..., 4] -> [...], broadcast.

    Rezatofighi et al., 2019 (arXiv:1902.09630), Algorithm 1: IoU less the share of the smallest enclosing box C that
    the union U leaves empty, (|C| - |U|) / |C|.
    """
    a, b = _defined_pair(a, b)
    intersection, union = _intersection_and_union(a, b)
    width, height = _enclosing_sides(a, b)
    enclosing = width * height
    return _ratio(intersection, union) - _ratio(enclosing - union, enclosing)


def diou(a: Tensor, b: Tensor) -> Tensor:
    """Distance IoU, in [-1, 1]: xyxy [..., 4] and [..., 4] -> [...], broadcast.

    Zheng et al., 2020 (arXiv:1911.08287), equation 7: IoU less ρ² / c², with ρ the distance between the
    centres and c the diagonal of the smallest enclosing box.
    """
    a, b = _defined_pair(a, b)
    shift = xyxy_to_cxcywh(a)[..., :2] - xyxy_to_cxcywh(b)[..., :2]
    width, height = _enclosing_sides(a, b)
    return iou(a, b) - _ratio(shift.square().sum(dim=-1), width.square() + height.square())


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU, in [-1.5, 1]: xyxy [..., 4] and [..., 4] -> [...], broadcast.

    Zheng et al., 2020 (arXiv:1911.08287), equations 8 to 11: DIoU less α v, where v in [0, 1] compares the aspect
    ratios and α = v / (1 - IoU + v). α is a trade-off: the gradient, as in equation 12, takes it as a constant. That
    equation's factor 1 / (w² + h²) is kept: the paper leaves it out for sides in 0..1, but ours are in pixels.
    """
    a, b = _defined_pair(a, b)
    v = 4 / math.pi**2 * (_aspect_angle(a) - _aspect_angle(b)).square()
    with torch.no_grad():
        alpha = _ratio(v, 1 - iou(a, b) + v)
    return diou(a, b) - alpha * v


def _defined(boxes: Tensor) -> Tensor:
    """The boxes in float32 at least, those with a coordinate that is NaN or beyond LIMIT as constant zeros."""
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    return torch.where(_is_defined(boxes), boxes, 0)


def _defined_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one shape, and both zeros where either is undefined: there every measure and gradient is 0."""
    defined = _is_defined(a) & _is_defined(b)
    return _defined(torch.where(defined, a, 0)), _defined(torch.where(defined, b, 0))


def _is_defined(boxes: Tensor) -> Tensor:
    return (boxes.abs() < LIMIT).all(dim=-1, keepdim=True)


def _sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height, 0 where negative; relu and not clamp, since its gradient at 0 is 0."""
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    return (x2 - x1).relu(), (y2 - y1).relu()


def _area(boxes: Tensor) -> Tensor:
    width, height = _sides(boxes)
    return width * height


def _intersection_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    ax1, ay1, ax2, ay2 = a.unbind(dim=-1)
    bx1, by1, bx2, by2 = b.unbind(dim=-1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).relu()
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).relu()
    intersection = width * height
    return intersection, _area(a) + _area(b) - intersection


def _enclosing_sides(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height of the smallest box around all corners of both, inverted or not."""
    corners = torch.stack((a[..., :2], a[..., 2:], b[..., :2], b[..., 2:]))
    width, height = (corners.amax(dim=0) - corners.amin(dim=0)).unbind(dim=-1)
    return width, height


def _aspect_angle(boxes: Tensor) -> Tensor:
    """Arctan of width / height, in [0, π / 2]."""
    width, height = _sides(boxes)
    # The least height keeps w² + h², the gradient's denominator, a normal number. It is 1e-19 px in float32.
    return torch.atan2(width, height.clamp(min=torch.finfo(height.dtype).tiny ** 0.5))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, or a constant 0 where the denominator is 0, or so near that its inverse is more than a float."""
    sound = denominator > torch.finfo(denominator.dtype).tiny
    return torch.where(sound, numerator / torch.where(sound, denominator, 1), 0)
