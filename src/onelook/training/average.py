"""The moving average of a network's weights, which scores better than the weights themselves."""

import copy

import torch
from torch import nn


class Average:
    """An exponential moving average: average += (1 - d) (weights - average) after every change of the weights.

    Args:
        network: of which it is; what it has now is the start.
        decay: d, reached slowly, as the first weights are worth little: d_n = min(d, (1 + n) / (10 + n)); with 0 the
            average is the network as it is.

    Attributes:
        network: the averaged one, in evaluation mode.
        changes: n.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.changes = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Takes in the network's weights and statistics."""
        self.changes += 1
        rest = 1 - min(self.decay, (1 + self.changes) / (10 + self.changes))
        mine, theirs = self.network.state_dict(), network.state_dict()
        floats = [key for key, tensor in mine.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([mine[key] for key in floats], [theirs[key] for key in floats], rest)
        for key in mine.keys() - floats:
            mine[key].copy_(theirs[key])
