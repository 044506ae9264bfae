"""Masks of objects: from numbers within a box to pixels of the picture."""

import torch
from torch import Tensor

from onelook.nn.decode import Size


def paste(masks: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Masks resized to their boxes, bilinearly (He et al., 2017, arXiv:1703.06870, section 3.1, "Inference").

    The value at the centre of a pixel is interpolated between the four nearest of the m x m numbers, which lie at the
    centres of the cells that they divide the box into, as in all resizing of pictures; it is 0 outside of the box.

    Args:
        masks: probabilities [N, m, m].
        boxes: xyxy [N, 4] in pixels of the picture.
        size: of the picture, height and width.

    Returns:
        [N, H, W].
    """
    columns = _shares(boxes[:, 0], boxes[:, 2], size[1], masks.shape[2])
    rows = _shares(boxes[:, 1], boxes[:, 3], size[0], masks.shape[1])
    return rows @ masks @ columns.transpose(1, 2)


def _shares(low: Tensor, high: Tensor, pixels: int, cells: int) -> Tensor:
    """Along one side, how much each cell of a box from `low` to `high` [N] counts at each pixel: [N, pixels, cells]."""
    pixel = torch.arange(pixels, dtype=low.dtype, device=low.device) + 0.5
    side = (high - low).clamp(min=torch.finfo(low.dtype).tiny)[:, None]
    place = (pixel - low[:, None]) / side  # 0..1 within the box
    cell = torch.arange(cells, dtype=low.dtype, device=low.device)
    distance = ((place * cells - 0.5).clamp(0, cells - 1)[..., None] - cell).abs()
    return (1 - distance).clamp(min=0) * ((place >= 0) & (place < 1))[..., None]
