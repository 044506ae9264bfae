"""Several processes that train one network, started by torchrun: each sees its share of every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from onelook.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of the processes this is. Number 0 writes the files and speaks."""

    rank: int
    count: int
    device: torch.device


@contextmanager
def processes(device: str | None = None) -> Iterator[Processes]:
    """Joins the processes that torchrun started; alone where it did not.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps"; by default a GPU where there is one, each process its own.

    Raises:
        TrainingError: there is no such device.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    if device is None:
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch compiled without CUDA asserts
        reason = str(error).split("\n", 1)[0][:200]
        raise TrainingError(f"device {device[:32]!r} cannot be used: {reason}") from None
    if "RANK" not in os.environ:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    joined = dist.is_initialized()  # by the caller, who trains several times
    if not joined:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        if not joined:
            dist.destroy_process_group()


def gather(value: Any, processes: Processes) -> list[Any]:
    """The values of all processes, in order of their ranks; any object that can be pickled."""
    if processes.count == 1:
        return [value]
    found: list[Any] = [None] * processes.count
    dist.all_gather_object(found, value)
    return found


def mean(values: Tensor, processes: Processes) -> Tensor:
    """The mean of a tensor over all processes."""
    if processes.count > 1:
        dist.all_reduce(values)
    return values / processes.count


def anyone(value: bool, processes: Processes) -> bool:
    """Whether it is true in any process: all must do the same, or they wait for one another."""
    return value if processes.count == 1 else bool(mean(torch.tensor(float(value), device=processes.device), processes))


class _Sum(torch.autograd.Function):
    """Of a tensor over all processes, each of which has a loss of its own: gradients are summed too."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        """The sum, of the same shape."""
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """The gradient of the sum of the losses."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum(value: Tensor) -> Tensor:
    return _Sum.apply(value)  # type: ignore[no-untyped-call]


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the pictures of all processes; torch's own needs a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        count = x.new_tensor([x.numel() / x.shape[1]])
        total = _sum(torch.cat((x.sum((0, 2, 3)), count)))
        n = total[-1]
        if n == 1:
            raise ValueError("Expected more than 1 value per channel when training")  # as torch says it
        mean = total[:-1] / n
        x = x - mean[:, None, None]
        var = _sum(x.square().sum((0, 2, 3))) / n  # not by the mean of the squares, whose digits the mean would eat
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * n / (n - 1), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return (x * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)


def synchronise(network: nn.Module) -> None:
    """Puts `SyncBatchNorm` in the place of each batch normalisation; the weights stay the same tensors."""
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                norm = SyncBatchNorm(child.num_features, child.eps, child.momentum)
                norm.weight, norm.bias = child.weight, child.bias
                norm.running_mean, norm.running_var = child.running_mean, child.running_var
                norm.num_batches_tracked = child.num_batches_tracked
                setattr(module, name, norm)
