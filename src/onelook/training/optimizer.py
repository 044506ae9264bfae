"""Which weights change, by which rule, and how fast."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from onelook.training.settings import Settings


def make_optimizer(network: nn.Module, settings: Settings) -> Optimizer:
    """Weights of convolutions and fully connected layers decay; biases and batch normalisation, vectors, do not."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
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
    rise = settings.warmup * steps
    if step < rise:
        return settings.learning_rate * (step + 1) / (rise + 1)
    way = (step - rise) / max(1.0, settings.epochs * steps - rise)
    low = settings.final
    return settings.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * min(way, 1.0))) / 2)
