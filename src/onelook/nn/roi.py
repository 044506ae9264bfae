"""Features of regions of interest: of any rectangle of a map, as many numbers as of any other.

Both operators take maps [B, C, H, W] and R boxes, of whichever picture each, and give [R, C, h, w]. In a model file they
are the operators MaxRoiPool and RoiAlign of ONNX; here each of the h x w bins is a bag of cells of the map, of which
the largest is taken or a weighted sum. Both are differentiable in the features; the boxes are constants (Fast R-CNN
as it is trained, and the approximate joint training of Faster R-CNN).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Attributes = dict[
    str, int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
]  # of a node of ONNX


def roi_pool(features: Tensor, boxes: Tensor, picture: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """RoIPool (Girshick, 2015, arXiv:1504.08083, section 2.1): max pooling of h x w bins of each region.

    A region is of whole cells, from the one that its left top pixel rounds to, to the one that its right bottom pixel
    rounds to, both included. Bins are of whole cells too: where they do not fit, they overlap. A region of no cell of
    the map is 0. (ONNX Runtime counts the bins in single precision, by which the last of 7 bins of a region of 57 or 121
    cells has one cell more than here.)

    Args:
        features: [B, C, H, W].
        boxes: xyxy [R, 4] in pixels of the picture.
        picture: int64 [R], the number of each box's picture.
        size: h, w.
        scale: cells of the map a pixel.

    Returns:
        [R, C, h, w].
    """
    # A box from 0 to 10 has the pixels 0 to 9, and both the paper's code and ONNX are of pixels.
    pixels = boxes - boxes.new_tensor((0, 0, 1, 1))
    if torch.onnx.is_in_onnx_export():
        attributes: Attributes = {"pooled_shape": size, "spatial_scale": scale}
        return _operator(
            "MaxRoiPool", 1, (features, torch.cat((picture[:, None].float(), pixels), 1)), attributes, size
        )
    height, width = features.shape[2:]
    first_x, first_y, last_x, last_y = (pixels * scale + 0.5).floor().long().unbind(1)
    rows, has_row = _cells(first_y, last_y, size[0], height)
    columns, has_column = _cells(first_x, last_x, size[1], width)
    cells = (picture[:, None, None] * height + rows)[:, :, None, :, None] * width + columns[:, None, :, None, :]
    held = has_row[:, :, None, :, None] & has_column[:, None, :, None, :]
    nothing = features.shape[0] * height * width
    return _bags(features, cells.where(held, nothing), size, "max")


def _cells(first: Tensor, last: Tensor, bins: int, side: int) -> tuple[Tensor, Tensor]:
    """Along one side of regions from cell `first` to `last` [R]: the cells of each bin, and which there are.

    Returns:
        int64 and bool [R, bins, K], K the most that a bin has.
    """
    extent = (last - first + 1).clamp(min=1)[:, None]
    i = torch.arange(bins, device=first.device)
    start = (first[:, None] + i * extent // bins).clamp(0, side)
    end = (first[:, None] - (-(i + 1) * extent // bins)).clamp(0, side)
    most = int(F.pad((end - start).flatten(), (0, 1), value=1).max())  # 1 at least
    cells = start[..., None] + torch.arange(most, device=first.device)
    return cells, cells < end[..., None]


def roi_align(
    features: Tensor,
    boxes: Tensor,
    picture: Tensor,
    size: tuple[int, int],
    scale: float,
    sampling: int = 2,
    half_pixel: bool = True,
) -> Tensor:
    """RoIAlign (He et al., 2017, arXiv:1703.06870, section 3): the mean of points of each bin, nothing rounded.

    The value at a point is interpolated between the four cells around it; it is 0 more than a cell outside of the map.

    Args:
        features: [B, C, H, W].
        boxes: xyxy [R, 4] in pixels of the picture.
        picture: int64 [R], the number of each box's picture.
        size: h, w.
        scale: cells of the map a pixel.
        sampling: points along each side of a bin; the paper has 2 x 2.
        half_pixel: the centre of the left top cell is at (0.5, 0.5), so that maps of all scales lie upon each other;
            else it is at (0, 0), as in the paper's own code, where a region is at least one cell wide and high.

    Returns:
        [R, C, h, w].
    """
    if torch.onnx.is_in_onnx_export():
        attributes: Attributes = {
            "output_height": size[0],
            "output_width": size[1],
            "spatial_scale": scale,
            "sampling_ratio": sampling,
            "mode": "avg",
            "coordinate_transformation_mode": "half_pixel" if half_pixel else "output_half_pixel",
        }
        return _operator("RoiAlign", 16, (features, boxes, picture), attributes, size)
    height, width = features.shape[2:]
    cells = boxes * scale - (0.5 if half_pixel else 0.0)
    low, extent = cells[:, :2], cells[:, 2:] - cells[:, :2]
    if not half_pixel:
        extent = extent.clamp(min=1)
    rows, row_weights = _points(low[:, 1], extent[:, 1], size[0], sampling, height)
    columns, column_weights = _points(low[:, 0], extent[:, 0], size[1], sampling, width)
    cells = (picture[:, None, None] * height + rows)[:, :, None, :, None] * width + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    return _bags(features, cells, size, "sum", weights.to(features.dtype))


def _points(low: Tensor, extent: Tensor, bins: int, sampling: int, side: int) -> tuple[Tensor, Tensor]:
    """Along one side of regions that begin at `low` [R]: the cells beside the points of each bin, and their weights.

    Returns:
        int64 and float [R, bins, 2 * sampling].
    """
    points = (torch.arange(bins * sampling, device=low.device, dtype=low.dtype) + 0.5) / (bins * sampling)
    place = low[:, None] + extent[:, None] * points
    inside = (place >= -1) & (place <= side)
    place = place.clamp(0, side - 1)
    before = place.floor()
    after = (before + 1).clamp(max=side - 1)
    share = place - before
    cells = torch.stack((before, after), dim=-1).long()
    weights = torch.stack((1 - share, share), dim=-1) * inside[..., None] / sampling
    return cells.unflatten(1, (bins, -1)).flatten(2), weights.unflatten(1, (bins, -1)).flatten(2)


def _bags(features: Tensor, cells: Tensor, size: tuple[int, int], mode: str, weights: Tensor | None = None) -> Tensor:
    """The largest or the weighted sum of the cells of each bin.

    Args:
        features: [B, C, H, W].
        cells: int64 [R, h, w, ...], numbers from 0 to B H W, the last of which is no cell.
        size: h, w.
        mode: "max" or "sum".
        weights: of the sum, like `cells`.
    """
    rows = F.pad(features.permute(0, 2, 3, 1).flatten(0, 2), (0, 0, 0, 1))  # [B H W + 1, C]
    bags = cells.flatten(3).flatten(0, 2)
    found = F.embedding_bag(
        bags,
        rows,
        mode=mode,
        per_sample_weights=None if weights is None else weights.reshape(bags.shape),
        padding_idx=len(rows) - 1,
    )
    return found.unflatten(0, (-1, *size)).permute(0, 3, 1, 2)


def _operator(
    name: str, version: int, inputs: tuple[Tensor, ...], attributes: Attributes, size: tuple[int, int]
) -> Tensor:
    """A node of ONNX, [R, C, h, w]."""
    features, regions = inputs[:2]
    shape = (regions.shape[0], features.shape[1], *size)
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=features.dtype, shape=shape, version=version)
