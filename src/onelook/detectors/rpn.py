"""Region Proposal Network (Ren et al., 2015, arXiv:1506.01497, section 3.1): boxes that may hold an object of any class."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.boxes import cxcywh_to_xyxy, iou
from onelook.detectors.priors import BACKGROUND, IGNORED, Priors, Shapes
from onelook.detectors.regions import clip, draw
from onelook.detectors.targets import Targets
from onelook.losses import cross_entropy, wide
from onelook.nms import nms
from onelook.nn.decode import Size
from onelook.nn.separable import DepthwiseSeparable

NMS = 0.7  # IoU; section 3.3
NOTHING = -torch.inf  # the score of what is no proposal


class Rpn(nn.Module):
    """A 3 x 3 convolution and two sibling 1 x 1 ones, the same on every map.

    The objectness is one logistic number an anchor, which the paper names in place of a softmax of two.

    Args:
        channels: of the maps.
        anchors: of each map, width and height in pixels; as many on every map.
        separable: a depthwise-separable convolution in place of the 3 x 3 one.

    `forward`: maps [B, C, h, w] -> of each the offsets t_x, t_y, t_w, t_h of all anchors [B, A * 4, h, w], then of each
    their objectness, as logits [B, A, h, w].
    """

    def __init__(self, channels: int, anchors: tuple[Shapes, ...], separable: bool = False):
        super().__init__()
        self.priors = Priors(anchors, relative=False)
        self.conv = (
            DepthwiseSeparable((channels, channels))
            if separable
            else nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
        )
        self.offsets = nn.Conv2d(channels, 4 * len(anchors[0]), 1)
        self.objectness = nn.Conv2d(channels, len(anchors[0]), 1)
        for module in self.modules():  # section 3.1.3
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """See the class."""
        hidden = [self.conv(x) for x in maps]
        return [*(self.offsets(x) for x in hidden), *(self.objectness(x) for x in hidden)]

    @torch.no_grad()
    def propose(self, raw: Sequence[Tensor], size: Size, before: int, after: int) -> tuple[Tensor, Tensor]:
        """The proposals, of each picture as many, best first.

        Args:
            raw: of `forward`.
            size: of the input, height and width.
            before: boxes of each map, the best ones, that enter suppression; maps are suppressed each for itself.
            after: P, those that are left, of all maps.

        Returns:
            Boxes xyxy in pixels of the input [B, P, 4]; objectness as logits, so that large ones still differ [B, P]. It is
            NOTHING where there is no proposal any more.
        """
        raw = list(map(wide, raw))  # and with them the anchors, which are no whole numbers of bfloat16
        offsets, logits = self.priors.flat(raw)
        boxes = clip(self.priors.decode(offsets, self.priors.boxes(raw, size)), size)
        counts = [x.shape[1] * x.shape[2] * x.shape[3] for x in raw[len(self.priors.shapes) :]]
        levels = zip(boxes.split(counts, dim=1), logits[..., 0].split(counts, dim=1), strict=True)
        found = []
        for own, scores in levels:
            own, scores = best(own, scores, before)
            found.append((own, suppress(own, scores, NMS, after)))
        return best(torch.cat([own for own, _ in found], dim=1), torch.cat([s for _, s in found], dim=1), after)


def best(boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of boxes [B, N, 4] and scores [B, N] the `count` with the highest scores; NOTHING fills up where they are few."""
    scores, index = F.pad(scores, (0, count), value=NOTHING).topk(count)
    return F.pad(boxes, (0, 0, 0, count)).gather(1, index[..., None].expand(-1, -1, 4)), scores


def suppress(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    """Non-maximum suppression that keeps the shape: scores [B, N], NOTHING for boxes not kept.

    In a model file it is the operator NonMaxSuppression of ONNX.

    Args:
        boxes: xyxy [B, N, 4].
        scores: [B, N]; boxes with a score of NOTHING are not kept.
        iou_threshold: see `onelook.nms.nms`.
        most: kept boxes of a picture that matter; of more, others may be kept or not.
    """
    if torch.onnx.is_in_onnx_export():
        return _suppress_in_graph(boxes, scores, iou_threshold, most)
    picture, place = (scores > NOTHING).nonzero(as_tuple=True)
    kept = nms(boxes[picture, place], scores[picture, place], iou_threshold, batch_index=picture)
    picture, place = picture[kept], place[kept]
    return torch.full_like(scores, NOTHING).index_put((picture, place), scores[picture, place])


def _suppress_in_graph(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    # How many are kept, K, is not known before. It is only between these operators, so that any shape may be named.
    count = boxes.shape[0] * boxes.shape[1]
    operator = torch.onnx.ops.symbolic
    above = torch.tensor([torch.finfo(torch.float32).min])  # NOTHING is not
    inputs = (boxes, scores[:, None], torch.tensor([most]), torch.tensor([iou_threshold]), above)
    kept = operator("NonMaxSuppression", inputs, dtype=torch.int64, shape=(count, 3), version=11)  # picture, class, box
    columns = torch.tensor([0, 2])
    place = operator("Gather", (kept, columns), {"axis": 1}, dtype=torch.int64, shape=(count, 2), version=13)
    own = operator("GatherND", (scores, place), dtype=scores.dtype, shape=(count,), version=13)
    none = torch.full_like(scores, NOTHING)
    return operator("ScatterND", (none, place, own), dtype=scores.dtype, shape=scores.shape, version=18)


@dataclass(frozen=True)
class RpnLoss:
    """The loss of section 3.1.2 on anchors drawn at random: a dict of terms.

    * rpn_objectness: cross-entropy of the logistic objectness, the mean over the anchors drawn.
    * rpn_box: the smooth L1 loss of the offsets of those that answer for an object, over the number of anchors drawn.
      The paper divides it by the places of the map and multiplies by λ = 10, which is about the same: 10 / 2400 and
      1 / 256.

    An anchor is positive whose IoU with an object is above `positive`, or the highest there is with that object; it is
    negative if its IoU with all objects is below `negative`.

    Attributes:
        priors: of the network.
        across: anchors that cross the picture's border learn too (Lin et al., 2017); else they are left out.
        minibatch: anchors of a picture, half of them positive if there are as many.
        positive, negative: see above.
    """

    priors: Priors
    across: bool = False
    minibatch: int = 256
    positive: float = 0.7
    negative: float = 0.3

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of `Rpn.forward`.
            targets: of the batch.
            size: of the input, height and width.
        """
        raw = list(map(wide, raw))
        offsets, logits = self.priors.flat(raw)
        anchors = self.priors.boxes(raw, size)
        corners = cxcywh_to_xyxy(anchors)
        allowed = torch.ones_like(anchors[:, 0], dtype=torch.bool)
        if not self.across:
            allowed = (corners == clip(corners, size)).all(dim=1)
        objectness, box, count = [], [], 0
        for i in range(len(offsets)):
            own = targets.boxes[targets.picture == i]
            found = self.match(iou(own[:, None], corners), allowed)
            positive, negative = draw(found >= 0, found == BACKGROUND, self.minibatch, 0.5)
            truth = self.priors.encode(own[found[positive]], anchors[positive])
            box.append(F.smooth_l1_loss(offsets[i, positive], truth.to(offsets.dtype), reduction="sum"))
            drawn = torch.cat((positive, negative))
            objectness.append(cross_entropy(logits[i, drawn, 0], (found[drawn] >= 0)).sum())
            count += len(drawn)
        return {
            "rpn_objectness": torch.stack(objectness).sum() / max(1, count),
            "rpn_box": torch.stack(box).sum() / max(1, count),
        }

    @torch.no_grad()
    def match(self, overlap: Tensor, allowed: Tensor) -> Tensor:
        """Which object each anchor answers for, or BACKGROUND or IGNORED: int64 [N].

        Args:
            overlap: IoU of every object with every anchor, [M, N].
            allowed: bool [N]; the others are ignored.
        """
        if not len(overlap):
            return torch.where(allowed, BACKGROUND, IGNORED)
        overlap = overlap.where(allowed, 0)
        most, found = overlap.max(dim=0)
        highest = ((overlap == overlap.amax(dim=1, keepdim=True)) & (overlap > 0)).any(dim=0)
        rest = torch.where(most < self.negative, BACKGROUND, IGNORED).where(allowed, IGNORED)
        return found.where((most > self.positive) | highest, rest)
