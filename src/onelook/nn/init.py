"""How the weights of new networks are drawn; biases are zero. Each changes a module in place."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def he_normal(module: nn.Module) -> None:
    """N(0, 2 / fan-in) (He et al., 2015, arXiv:1502.01852, eq. 10): keeps the variance through ReLUs."""
    _draw(module, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def glorot_uniform(module: nn.Module) -> None:
    """U(-a, a) with a^2 = 6 / (fan-in + fan-out) (Glorot and Bengio, 2010, eq. 16)."""
    _draw(module, nn.init.xavier_uniform_)


def truncated_normal(module: nn.Module, deviation: float) -> None:
    """N(0, deviation^2), drawn again beyond two deviations, as TensorFlow does."""
    _draw(module, lambda w: nn.init.trunc_normal_(w, std=deviation, a=-2 * deviation, b=2 * deviation))


def _draw(module: nn.Module, draw: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                draw(layer.weight)
                if layer.bias is not None:
                    layer.bias.zero_()
