"""Which weights change, by which rule, and how fast."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from onelook.training.settings import Settings

LONGEST_WARMUP = 0.1  # share of the run: of one of few epochs the warm-up would take the most


def make_optimizer(network: nn.Module, settings: Settings) -> Optimizer:
    """Weights of convolutions and fully connected layers decay; biases and batch normalisation, vectors, do not.

    Each group has a `share`: how much of the learning rate it gets; that of the backbone is `settings.backbone_rate`.
    """
    groups = []
    backbone_rate = 1.0 if settings.backbone_rate is None else settings.backbone_rate
    for within, share in ((True, backbone_rate), (False, 1.0)):
        own = [
            weight
            for name, weight in network.named_parameters()
            if weight.requires_grad and name.startswith("backbone.body.") == within
        ]
        for vectors, decay in ((False, settings.weight_decay), (True, 0.0)):
            weights = [weight for weight in own if (weight.ndim <= 1) == vectors]
            groups.append({"params": weights, "weight_decay": decay, "share": share})
    if settings.optimizer == "adamw":
        return AdamW(groups, settings.learning_rate, (settings.momentum, 0.999))
    return SGD(groups, settings.learning_rate, settings.momentum, nesterov=settings.momentum > 0)


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """At a step of all: rises from 0 in a straight line, then falls along half a cosine (Loshchilov and Hutter, 2017).

    Args:
        step: 0..steps * epochs - 1.
        steps: an epoch.
        settings: `learning_rate`, `final`, `warmup` (epochs) and `epochs`.
    """
    rise = min(settings.warmup, LONGEST_WARMUP * settings.epochs) * steps
    if step < rise:
        return settings.learning_rate * (step + 1) / (rise + 1)
    way = (step - rise) / max(1.0, settings.epochs * steps - rise)
    low = settings.final
    return settings.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * min(way, 1.0))) / 2)
