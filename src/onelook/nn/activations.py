"""The activation functions by the names Darknet gives them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class Elementwise(nn.Module):
    """An activation that torch has no module for."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.name = name
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return self.function(x)

    def extra_repr(self) -> str:
        """For print."""
        return self.name


def hard_mish(x: Tensor) -> Tensor:
    """x for x > 0, x^2 / 2 + x for -2 < x <= 0, else 0."""
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, 0.0))


def stair(x: Tensor) -> Tensor:
    """A staircase of slope 1/2: flat on [2n, 2n + 1), rising by 1 over [2n + 1, 2n + 2)."""
    n = torch.floor(x)
    return torch.floor(x / 2) + torch.where(n % 2 == 0, 0.0, x - n)


def normalize_channels(x: Tensor) -> Tensor:
    """[B, C, H, W]: the positive part of each value over the sum of its pixel's positive values."""
    positive = F.relu(x)
    return positive / (positive.sum(dim=1, keepdim=True) + 1e-4)


_MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "relie": lambda: nn.LeakyReLU(0.01),
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": lambda: nn.GELU("tanh"),
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "hardtan": nn.Hardtanh,
}
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_mish": hard_mish,
    "loggy": lambda x: 2 * torch.sigmoid(x) - 1,
    "ramp": lambda x: F.relu(x) + 0.1 * x,
    "plse": lambda x: torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, 0.125 * x + 0.5)),
    "lhtan": lambda x: torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x)),
    "stair": stair,
    "normalize_channels": normalize_channels,
    "normalize_channels_softmax": lambda x: torch.softmax(x, dim=1),
    "normalize_channels_softmax_maxval": lambda x: torch.softmax(x, dim=1),
}
ACTIVATIONS = frozenset(_MODULES) | frozenset(_FUNCTIONS)


def activation(name: str) -> nn.Module:
    """The module of the activation that Darknet calls `name`, one of ACTIVATIONS."""
    return _MODULES[name]() if name in _MODULES else Elementwise(name, _FUNCTIONS[name])
