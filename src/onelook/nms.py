"""Non-maximum suppression: of boxes that overlap, keep the best (hard), or lower the scores of the others (soft).

The boxes are xyxy, of one picture and one class or of many: where `classes` or `batch_index` is given, only boxes of
equal class and picture suppress each other. A box with a NaN coordinate or a NaN score is never kept. Other degenerate
boxes have IoU 0 with all (see `onelook.boxes`), so they neither suppress nor are suppressed.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from onelook.boxes import diou, iou

BLOCK = 256  # boxes settled together in `nms`: memory grows as BLOCK * N


@torch.no_grad()
def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    classes: Tensor | None = None,
    batch_index: Tensor | None = None,
    diou_beta: float | None = None,
) -> Tensor:
    """Hard suppression: from the highest score down, keep a box unless its IoU with a kept one > `iou_threshold`.

    The rule is that of the ONNX operator NonMaxSuppression: an IoU equal to the threshold suppresses nothing, and of
    equal scores the lower index comes first. (The operator turns inverted boxes over; here they have no area.)

    Args:
        boxes: float [N, 4], xyxy.
        scores: float [N].
        iou_threshold: in [0, 1]; 1 suppresses nothing.
        classes: integers [N]; None: a box suppresses those of all classes.
        batch_index: integers [N], the picture of each box; None: all lie in one.
        diou_beta: compare IoU - (rho^2 / c^2)^beta instead of the IoU: DIoU-NMS (Zheng et al., 2020, section 3.3),
            there with a power of 1. Darknet's `greedynms` has 0.6 and measures boxes relative to the picture.

    Returns:
        Indices of the kept boxes, int64 [K], by descending score.
    """
    ranked = scores.argsort(descending=True, stable=True)
    ranked = ranked[_comparable(boxes, scores)[ranked]]
    # Group after group, each by rank: a block of boxes can only suppress in itself and in the rest of its last group.
    group = _groups(len(boxes), classes, batch_index).to(boxes.device)
    order = ranked[group[ranked].argsort(stable=True)]
    boxes, group = boxes[order], group[order]

    def suppresses(a: Tensor, b: Tensor) -> Tensor:
        overlap = iou(boxes[a, None], boxes[b])
        if diou_beta is not None:
            overlap = overlap - (overlap - diou(boxes[a, None], boxes[b])).clamp(min=0) ** diou_beta
        return (overlap > iou_threshold) & (group[a, None] == group[b])

    kept = torch.zeros_like(scores, dtype=torch.bool)
    rest = torch.arange(len(order), device=boxes.device)
    while len(rest):
        block, rest = rest[:BLOCK], rest[BLOCK:]
        last = group[block[-1]]
        block = block[_greedy(suppresses(block, block))]
        kept[order[block]] = True
        end = int((group[rest] == last).sum())
        near, far = rest[:end], rest[end:]
        rest = torch.cat((near[~suppresses(block, near).any(dim=0)], far))
    return ranked[kept[ranked]]


def _greedy(suppresses: Tensor) -> Tensor:
    """Which of a few boxes, by descending rank, survive: bool [N] from bool [N, N]."""
    spares = ~suppresses.triu(diagonal=1).cpu().numpy()  # a step of the loop costs NumPy a tenth of what it costs torch
    kept = np.ones(len(spares), dtype=np.bool_)
    for i in range(len(spares)):
        if kept[i]:
            kept &= spares[i]
    return torch.from_numpy(kept).to(suppresses.device)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor | None = None,
    batch_index: Tensor | None = None,
    *,
    method: Literal["linear", "gaussian"] = "linear",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS (Bodla et al., 2017, arXiv:1704.04503, section 4): overlap lowers a score instead of ending a box.

    As in Figure 2, the box with the highest score is taken and the scores of the others are multiplied by a factor that
    falls with their IoU with it, until no score of at least `score_threshold` is left. Of equal scores the lower index
    is taken first. The new scores are differentiable in `boxes` and `scores`.

    Args:
        boxes: float [N, 4], xyxy.
        scores: float [N], not negative.
        classes: integers [N]; None: a box lowers those of all classes.
        batch_index: integers [N], the picture of each box; None: all lie in one.
        method: the factor; "linear": 1 - IoU where IoU >= `iou_threshold`, else 1; "gaussian": exp(-IoU² / sigma).
        sigma: of the Gaussian, > 0.
        iou_threshold: of the linear method, in [0, 1]; N_t in the paper.
        score_threshold: boxes that begin or fall below it are dropped.

    Returns:
        Indices of the kept boxes, int64 [K], by descending new score, and those scores, float [K].

    Raises:
        ValueError: `method` is neither "linear" nor "gaussian".
    """
    if method not in ("linear", "gaussian"):
        raise ValueError(f"method must be 'linear' or 'gaussian', not {method!r}")

    def factor(overlap: Tensor) -> Tensor:
        if method == "gaussian":
            return torch.exp(-overlap.square() / sigma)
        return torch.where(overlap < iou_threshold, 1, 1 - overlap)

    usable = (_comparable(boxes, scores) & (scores >= score_threshold)).nonzero()[:, 0]
    group, order = _groups(len(boxes), classes, batch_index).to(boxes.device)[usable].sort(stable=True)
    sizes = torch.unique_consecutive(group, return_counts=True)[1]
    kept, new_scores = [usable[:0]], [scores[:0]]
    for rest in torch.split(usable[order], sizes.tolist()):
        score = scores[rest]
        while len(rest):
            best = score.argmax(keepdim=True)  # of equal scores the first
            kept.append(rest[best])
            new_scores.append(score[best])
            score = score * factor(iou(boxes[rest[best]], boxes[rest]))
            alive = score >= score_threshold
            alive[best] = False
            rest, score = rest[alive], score[alive]

    index, order = torch.cat(kept).sort()
    score, rank = torch.cat(new_scores)[order].sort(descending=True, stable=True)
    return index[rank], score


def _comparable(boxes: Tensor, scores: Tensor) -> Tensor:
    """Which boxes have no NaN, bool [N]."""
    return ~(boxes.isnan().any(dim=1) | scores.isnan())


def _groups(count: int, *keys: Tensor | None) -> Tensor:
    """A number for each of `count` boxes, equal where all given keys are equal: int64 [count]."""
    group = torch.zeros(count, dtype=torch.int64)
    for key in keys:
        if key is not None:
            values, index = torch.unique(key, return_inverse=True)
            group = group.to(key.device) * len(values) + index
    return group
