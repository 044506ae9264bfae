"""What the detectors' losses are held against: overlaps and entropies of plain floats, and the objects of some pictures."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onelook.detectors.targets import Targets

Box = tuple[float, float, float, float]


class Thing(NamedTuple):
    """An object in a picture of a batch."""

    picture: int
    box: Box
    label: int

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def sides(self) -> tuple[float, float]:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def cell(self, size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the cell that its centre is in; those beyond the picture are in the last."""
        x, y = self.centre
        return min(int(y / size[0] * grid[0]), grid[0] - 1), min(int(x / size[1] * grid[1]), grid[1] - 1)


def things(size: tuple[int, int], classes: int, seed: int = 0) -> list[Thing]:
    """Of four pictures: many objects; none; two alike in one cell, and two at the border; a picture that is one object."""
    height, width = size
    random = torch.Generator().manual_seed(seed)
    found = []
    for i in range(6):
        x, y, w, h = (
            value * side
            for value, side in zip(torch.rand(4, generator=random).tolist(), (width, height) * 2, strict=True)
        )
        found.append(Thing(0, (x - w / 4 - 2, y - h / 4 - 2, x + w / 4 + 2, y + h / 4 + 2), i % classes))
    found += [
        Thing(2, (9.0, 10.0, 31.0, 29.0), 0),
        Thing(2, (8.5, 10.0, 31.0, 30.0), classes - 1),
        Thing(2, (width - 9.0, height - 20.0, width + 9.0, height + 20.0), 0),
        Thing(2, (0.0, height - 30.0, 3.0, float(height)), classes - 1),
        Thing(3, (0.5, 0.5, width - 1.0, height - 1.0), classes // 2),
    ]
    return found


def as_targets(found: Sequence[Thing], labels: dict[int, int] | None = None) -> Targets:
    """In double precision."""
    labels = labels or {}
    return Targets(
        torch.tensor([one.picture for one in found], dtype=torch.int64),
        torch.tensor([one.box for one in found], dtype=torch.float64).reshape(-1, 4),
        torch.tensor([one.label for one in found], dtype=torch.int64),
        torch.tensor(list(labels), dtype=torch.int64),
        torch.tensor(list(labels.values()), dtype=torch.int64),
    )


def around(x: float, y: float, w: float, h: float) -> Box:
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def enclosing(a: Box, b: Box) -> tuple[float, float]:
    return max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])


def giou(a: Box, b: Box) -> float:
    """Algorithm 1 of arXiv:1902.09630."""
    width, height = enclosing(a, b)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    union = areas / (1 + iou(a, b))  # as I + U is the sum of the areas
    return iou(a, b) - (width * height - union) / (width * height)


def diou(a: Box, b: Box) -> float:
    """Equation 7 of arXiv:1911.08287."""
    width, height = enclosing(a, b)
    dx, dy = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    return iou(a, b) - (dx * dx + dy * dy) / (width * width + height * height)


def aspect(a: Box, b: Box) -> tuple[float, float]:
    """v and alpha of equations 9 and 11 of arXiv:1911.08287."""
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return v, v / (1 - iou(a, b) + v)


def ciou(a: Box, b: Box) -> float:
    """Equation 10 of arXiv:1911.08287."""
    v, alpha = aspect(a, b)
    return diou(a, b) - alpha * v


MEASURES: dict[str, Callable[[Box, Box], float]] = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def entropy(t: float, truth: float) -> float:
    """-y log p - (1 - y) log (1 - p) with p the sigmoid."""
    return truth * math.log1p(math.exp(-t)) + (1 - truth) * math.log1p(math.exp(t))


def focal(t: float, truth: float, gamma: float, alpha: float | None) -> float:
    """Equation 5 of arXiv:1708.02002."""
    s = t if truth == 1 else -t
    weight = 1.0 if alpha is None else alpha if truth == 1 else 1 - alpha
    return weight * (1 / (1 + math.exp(s))) ** gamma * math.log1p(math.exp(-s))


def softmax(logits: Sequence[float]) -> list[float]:
    total = sum(math.exp(t) for t in logits)
    return [math.exp(t) / total for t in logits]


def gradient_is_that_of_differences(
    function: Callable[[Tensor], Tensor], point: Tensor, where: Tensor | None = None
) -> bool:
    """Whether the gradient is right along the numbers that are True in `where`, the others held, and 0 along the others."""
    where = torch.ones_like(point, dtype=torch.bool) if where is None else where
    point = point.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(function(point), point)
    held = point.detach()
    chosen = held[where].requires_grad_()
    return (
        not gradient[~where].any()
        and bool(gradient[where].any())
        and torch.autograd.gradcheck(lambda x: function(held.masked_scatter(where, x)), chosen)
    )


def random_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights for a network on the "meta" device, under which its maps keep their size; statistics that matter."""
    state = {}
    for key, like in model.state_dict().items():
        if like.ndim > 1 and not key.endswith("bias"):
            state[key] = torch.randn(like.shape).mul_(like[0].numel() ** -0.5)
        elif key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif key.endswith(("norm.weight", "running_var")):
            state[key] = torch.empty(like.shape).uniform_(0.7, 1.3)
        else:
            state[key] = torch.randn(like.shape) / 4
    return state


def load_in_order(model: nn.Module, tensors: Sequence[Tensor]) -> None:
    """Give a network those tensors, themselves, in the order of its state."""
    state = zip(model.state_dict().items(), tensors, strict=True)
    model.load_state_dict({key: tensor.reshape(like.shape) for (key, like), tensor in state}, assign=True)


def inputs_and_outputs(modules: Iterable[nn.Module]) -> list[tuple[Tensor, Tensor]]:
    """Those of each module in the order that they come to run, filled in when they do."""
    seen: list[tuple[Tensor, Tensor]] = []
    for module in modules:
        module.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    return seen
