"""What the R-CNNs do with regions of a picture: cut them out of its maps, choose some to learn from, clip them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onelook.nn.decode import Size
from onelook.nn.roi import roi_align, roi_pool

Roi = Literal["pool", "align"]

CANONICAL = 224 / 16  # cells of a region's side: equation 1 sends one of 224 pixels to the map of stride 16


@dataclass(frozen=True)
class Regions:
    """Features of regions, each out of the map that fits its size.

    Attributes:
        strides: of the maps, the finest first, each twice the one before.
        roi: "pool" (RoIPool) or "align" (RoIAlign); see `onelook.nn.roi`.
    """

    strides: tuple[int, ...]
    roi: Roi

    def __call__(self, maps: Sequence[Tensor], boxes: Tensor, picture: Tensor, size: tuple[int, int]) -> Tensor:
        """The features [R, C, h, w].

        Args:
            maps: [B, C, H / stride, W / stride] of each stride.
            boxes: xyxy [R, 4] in pixels of the input.
            picture: int64 [R], the number of each box's picture.
            size: h, w.
        """
        cut = roi_align if self.roi == "align" else roi_pool
        level = self.level(boxes)
        own = level[:, None] == torch.arange(len(self.strides), device=boxes.device)
        found = []
        for x, stride, mine in zip(maps, self.strides, own.unbind(1), strict=True):
            (index,) = mine.nonzero(as_tuple=True)
            found.append(cut(x, boxes[index], picture[index], size, 1 / stride))
        # Those of one map lie behind those of another: a region behind all of earlier maps, and those of its own before it.
        count = own.sum(0)
        place = count.cumsum(0) - count + own.cumsum(0) - 1
        return torch.cat(found)[place.gather(1, level[:, None])[:, 0]]

    def level(self, boxes: Tensor) -> Tensor:
        """Which map each region is cut out of (Lin et al., 2017, arXiv:1612.03144, equation 1): xyxy [R, 4] -> int64 [R].

        k = floor(4 + log2(sqrt(w h) / 224)) is counted without the logarithm, in how many strides the area reaches, so
        that all engines agree on it. The first map is 0.
        """
        width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
        level = torch.zeros_like(width, dtype=torch.int64)
        for stride in self.strides[1:]:
            level = level + (width * height >= (CANONICAL * stride) ** 2).long()
        return level


def clip(boxes: Tensor, size: Size) -> Tensor:
    """xyxy [..., 4] within a picture of that height and width, which may be those of a dynamic input."""
    sides = (
        torch.scalar_tensor(n, dtype=boxes.dtype, device=boxes.device) for n in (size[1], size[0], size[1], size[0])
    )
    return torch.minimum(boxes.clamp(min=0), torch.stack(list(sides)))


def draw(positive: Tensor, negative: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """A random minibatch: of the positive at most their share, filled up with negative ones.

    Args:
        positive, negative: bool [N].
        count: of the minibatch; there are fewer where there are not as many.
        share: of `count` that is positive, at most.

    Returns:
        The numbers of the positive and of the negative ones that were drawn.
    """

    def some(mask: Tensor, most: int) -> Tensor:
        (index,) = mask.nonzero(as_tuple=True)
        return index[torch.randperm(len(index), device=index.device)[:most]]

    chosen = some(positive, int(share * count))
    return chosen, some(negative, count - len(chosen))
