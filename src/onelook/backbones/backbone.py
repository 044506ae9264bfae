"""What all backbones share: a body whose maps can be tapped, and a classifier on top."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import mul
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from onelook.errors import NetworkError
from onelook.nn.pool import GlobalAvgPool

STRIDES = (8, 16, 32)
MAX_SIDE = 8192


class Row(NamedTuple):
    """One row of a body's table, built."""

    module: nn.Module
    channels: int
    """Of its output."""
    stride: int


class Backbone(nn.Module):
    """A classification network that other networks build on.

    Args:
        rows: of the body, top to bottom.
        head: from the last map to the logits.

    Attributes:
        body, head: the two parts.
        channels: of the maps that `features` gives, at the strides 8, 16, 32.
        size: side of the square pictures that the paper's figures are of, pixels.
        mean, std: the network sees (pixel - mean) / std, of RGB pixels from 0 to 255.

    `forward`: image float32 [B, 3, H, W], normalised -> logits [B, classes].
    `features`: the same image -> the last maps at the strides 8, 16, 32: [B, channels[i], H / stride, W / stride].
    """

    size: ClassVar[int] = 224
    mean: ClassVar[tuple[float, float, float]] = (127.5, 127.5, 127.5)
    std: ClassVar[tuple[float, float, float]] = (127.5, 127.5, 127.5)

    def __init__(self, rows: Iterable[Row], head: nn.Module):
        super().__init__()
        rows = list(rows)
        strides = list(accumulate((row.stride for row in rows), mul))
        self._taps = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
        self.channels = tuple(rows[i].channels for i in self._taps)
        self.body = nn.Sequential(*(row.module for row in rows))
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.head(self.body(image))

    def features(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        x, maps = image, []
        for i, module in enumerate(self.body):
            x = module(x)
            if i in self._taps:
                maps.append(x)
        return maps

    def check_size(self, size: Sequence[int]) -> None:
        """Raises NetworkError for a height or width, in pixels, that does not give maps of whole strides.

        The size of the paper's figures is taken even so: Xception's is 299.
        """
        if tuple(size) != (self.size, self.size):
            check_sides(size)


def classifier(channels: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """The usual head: the mean over all places, then a fully connected layer; with 0 classes the mean alone.

    Args:
        channels: of the last map.
        classes: outputs.
        dropout: probability to leave a mean out in training.
    """
    check_classes(classes)
    head = nn.Sequential(GlobalAvgPool())
    if classes and dropout:
        head.append(nn.Dropout(dropout))
    if classes:
        head.append(nn.Linear(channels, classes))
    return head


def check_sides(size: Sequence[int]) -> None:
    """Raises NetworkError for a height or width, in pixels, that is no multiple of the largest stride."""
    if not all(_is_whole(side) and side % STRIDES[-1] == 0 and 0 < side <= MAX_SIDE for side in size):
        sides = " x ".join(map(str, size))
        raise NetworkError(f"size must be a multiple of {STRIDES[-1]}, from 32 to {MAX_SIDE}; found {sides}")


def check_classes(classes: int) -> None:
    """Raises NetworkError for a number of classes that no head can have."""
    if not _is_whole(classes) or not 0 <= classes <= 1_000_000:
        raise NetworkError(f"classes must be from 0, for no classifier, to 1000000; found {classes!r}")


def check_alpha(alpha: float, most: float) -> None:
    """Raises NetworkError for a width multiplier outside of (0, most]."""
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha <= most:
        raise NetworkError(f"alpha, the width multiplier, must be above 0 and at most {most:g}; found {alpha!r}")


def check_reduction(reduction: int) -> None:
    """Raises NetworkError for a reduction that squeeze-and-excitation cannot have."""
    if not _is_whole(reduction) or reduction < 0:
        raise NetworkError(f"reduction must be a whole number, 0 for no squeeze-and-excitation; found {reduction!r}")


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
