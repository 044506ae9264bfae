"""Prior boxes: the default boxes of SSD, the anchors of RetinaNet; boxes as offsets from them; which object each is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from onelook.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from onelook.detectors.targets import Targets
from onelook.nn.decode import Size

Shapes = tuple[tuple[float, float], ...]  # width and height of each prior at every place of one map

LARGEST = 10.0  # logarithm of a side over its prior's; larger than any picture, and far from where exp overflows
BACKGROUND, IGNORED = -1, -2  # what a prior is matched with that answers for no object


def multibox_shapes(scales: Sequence[float], ratios: Sequence[Sequence[float]]) -> tuple[Shapes, ...]:
    """The default boxes of SSD (Liu et al., 2016, arXiv:1512.02325, section 2.2, "Choosing scales and aspect ratios").

    At every place of map k: squares of s_k and of sqrt(s_k s_(k+1)), and for each ratio a of the map two boxes of
    width s_k sqrt(a) and height s_k / sqrt(a), one of them turned by a right angle.

    Args:
        scales: s_k of each map, from the finest on, and one more, s_(k+1) of the last.
        ratios: a of each map, above 1.
    """
    found = []
    for s, following, own in zip(scales[:-1], scales[1:], ratios, strict=True):
        shapes = [(s, s), (sqrt(s * following),) * 2]
        for a in own:
            shapes += [(s * sqrt(a), s / sqrt(a)), (s / sqrt(a), s * sqrt(a))]
        found.append(tuple(shapes))
    return tuple(found)


@dataclass(frozen=True)
class Priors:
    """The prior boxes of a pyramid of maps, which its places share. They are computed anew for every size of input.

    Attributes:
        shapes: of each map.
        relative: widths and heights are shares of the picture's shorter side; else they are pixels of the input.
        variances: by which the offsets of the centre and of the sides are divided; 1 in the papers, 0.1 and 0.2 in the
            code of SSD's authors, which makes the offsets about as large as the class logits.
    """

    shapes: tuple[Shapes, ...]
    relative: bool = True
    variances: tuple[float, float] = (1.0, 1.0)

    def flat(self, raw: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What the maps say of each prior.

        Args:
            raw: [B, A * 4, h, w] of each map, its offsets; then [B, A * K, h, w] of each map, its class logits.

        Returns:
            Offsets [B, N, 4] and logits [B, N, K]; priors are in the order of `boxes`.
        """

        def rows(maps: Sequence[Tensor]) -> Tensor:
            split = (x.unflatten(1, (len(own), -1)) for x, own in zip(maps, self.shapes, strict=True))
            return torch.cat([x.flatten(3).transpose(2, 3).flatten(1, 2) for x in split], dim=1)

        return rows(raw[: len(self.shapes)]), rows(raw[len(self.shapes) :])

    def boxes(self, raw: Sequence[Tensor], size: Size) -> Tensor:
        """Centres and sides of all priors, in pixels of the input: [N, 4], shape by shape of map after map.

        A prior's centre is the middle of its place, ((i + 0.5) / w, (j + 0.5) / h) of the picture, with w and h of the
        map.

        Args:
            raw: as of `flat`; their sizes alone matter.
            size: of the input, height and width.
        """
        like = raw[0]
        # As tensors, so that the sides of a dynamic input may be given.
        picture = torch.stack(
            [torch.scalar_tensor(n, dtype=like.dtype, device=like.device) for n in (size[1], size[0])]
        )
        unit = picture.min() if self.relative else torch.ones_like(picture[0])
        found = []
        for x, own in zip(raw[: len(self.shapes)], self.shapes, strict=True):
            height, width = x.shape[2:]
            column = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
            row = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
            centre = torch.stack((column.expand(height, width), row[:, None].expand(height, width)), dim=-1)
            centre = centre.flatten(0, 1) * picture  # [h w, 2]
            sides = like.new_tensor(own)[:, None] * unit  # [A, 1, 2]
            every = len(own), height * width, 2
            found.append(torch.cat((centre.expand(every), sides.expand(every)), dim=-1).flatten(0, 1))
        return torch.cat(found)

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """The offsets that decode to those boxes (SSD, equation 2; R-CNN, arXiv:1311.2524, equations 6 to 9).

        Args:
            boxes: xyxy in pixels [..., 4], with an area.
            priors: centre and sides in pixels [..., 4].
        """
        centre, sides = xyxy_to_cxcywh(boxes).chunk(2, dim=-1)
        middle, extent = priors.chunk(2, dim=-1)
        of_centre, of_sides = self.variances
        return torch.cat(((centre - middle) / extent / of_centre, (sides / extent).log() / of_sides), dim=-1)

    def decode(self, offsets: Tensor, priors: Tensor) -> Tensor:
        """Offsets [..., 4] from priors of centre and sides in pixels [..., 4] -> boxes xyxy in pixels [..., 4].

        Any finite offsets give finite boxes: no side becomes more than 22,000 times as long as its prior's.
        """
        centre, sides = offsets.chunk(2, dim=-1)
        middle, extent = priors.chunk(2, dim=-1)
        of_centre, of_sides = self.variances
        grown = (sides * of_sides).clamp(max=LARGEST).exp()
        return cxcywh_to_xyxy(torch.cat((middle + centre * of_centre * extent, grown * extent), dim=-1))


@torch.no_grad()
def match(overlap: Tensor, positive: float, negative: float) -> Tensor:
    """Which object each prior answers for, or BACKGROUND or IGNORED: int64 [N].

    First each object has the prior that overlaps it most, as far as it is there: of all pairs of an object and a prior
    that are still free, the best one is taken ("as in MultiBox", SSD, section 2.2). Each other prior answers for the
    object that it overlaps most, if their IoU is `positive` or more.

    Args:
        overlap: IoU of every object with every prior, [M, N].
        positive: see above.
        negative: a prior with an IoU below, with all objects, is background; in between it is ignored.
    """
    if not len(overlap):
        return overlap.new_full(overlap.shape[1:], BACKGROUND, dtype=torch.int64)
    best, found = overlap.max(dim=0)
    found[best < positive] = IGNORED
    found[best < negative] = BACKGROUND
    most, prior = overlap.max(dim=1)  # of each object that has none yet
    free = torch.ones_like(best)
    one = most.argmax()
    while most[one] > 0:
        place = prior[one]
        if free[place]:
            found[place], free[place], most[one] = one, 0, 0
        else:  # another object was nearer to that one
            most[one], prior[one] = (overlap[one] * free).max(dim=0)
        one = most.argmax()
    return found


@torch.no_grad()
def assign(targets: Targets, priors: Tensor, pictures: int, positive: float, negative: float) -> Tensor:
    """`match` for a batch: the number of an object in `targets`, or BACKGROUND or IGNORED, int64 [B, N].

    Args:
        targets: of the batch.
        priors: centre and sides in pixels [N, 4].
        pictures: B.
        positive, negative: as of `match`.
    """
    corners, found = cxcywh_to_xyxy(priors), []
    for i in range(pictures):
        (own,) = (targets.picture == i).nonzero(as_tuple=True)
        matched = match(iou(targets.boxes[own][:, None], corners), positive, negative)
        # A number within the picture finds that within the batch; BACKGROUND and IGNORED find themselves, from the end.
        found.append(torch.cat((own, own.new_tensor((IGNORED, BACKGROUND))))[matched])
    return torch.stack(found)
