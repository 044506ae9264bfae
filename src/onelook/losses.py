"""Losses that several networks share, one number for each prediction: the caller sums and weighs.

Cross-entropies take logits, are computed in float32 at least, and are finite, with finite gradients, for any logits.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from onelook.boxes import ciou, diou, giou, iou

# 1 - the measure is the loss of a predicted box against its target: [..., 4] and [..., 4] -> [...].
OVERLAPS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Of independent logistic classes: logits [...] and truth in 0..1 [...] -> [...], -log of the truth's probability."""
    logits = wide(logits)
    return F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")


def focal(logits: Tensor, truth: Tensor, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Focal loss, FL = -α_t (1 - p_t)^γ log p_t (Lin et al., 2017, arXiv:1708.02002, equations 4 and 5).

    With γ = 0 and no α it is the cross-entropy.

    Args:
        logits: [...].
        truth: [...], 0 or 1.
        gamma: 0 or more; how much less counts what is right already.
        alpha: weight of the truth 1 against 1 - alpha of the truth 0, in 0..1; None weighs both alike.
    """
    logits = wide(logits)
    truth = truth.to(logits.dtype)
    # 1 - p_t is the sigmoid of -logits where the truth is 1, of the logits where it is 0. Its power is taken of its
    # logarithm, as the gradient of x^γ is infinite at 0 for γ < 1.
    log_miss = F.logsigmoid(torch.where(truth > 0.5, -logits, logits))
    loss = (gamma * log_miss).exp() * cross_entropy(logits, truth)
    return loss if alpha is None else torch.where(truth > 0.5, alpha * loss, (1 - alpha) * loss)


def wide(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def bounded(t: Tensor) -> Tensor:
    """t_x, t_y, t_w, t_h, t_o [B, A, 5, h, w] with t_w and t_h of 30 at most, to which those beyond pass no gradient.

    e^30 times an anchor is a side that all measures of boxes can take. The gradient of an infinite e^t_w would be NaN,
    even for predictions that no loss looks at.
    """
    return torch.cat((t[:, :, :2], t[:, :, 2:4].clamp(max=30.0), t[:, :, 4:]), dim=2)
