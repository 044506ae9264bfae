"""What a run needs to know of what is trained; `detection` and `classification` make it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from onelook.detectors import Targets

# Boxes and classes of the objects; with their masks; the class of the picture as a whole; of each pixel.
Kind = Literal["boxes", "masks", "label", "class map"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained.

    Attributes:
        network: with new weights; its forward takes pictures float32 [B, 3, H, W], RGB in 0..1.
        loss: of its output, what was to be found, height and width of the input: named terms whose sum is made small.
        evaluate: of a network the measures on the validation pictures; "score" is what is to be large. Empty where there
            are no such pictures.
        kind: what of the labels it learns from, see `Kind`.
        save: writes a network to a file that `onelook.convert` takes.
    """

    network: nn.Module
    loss: Callable[[Any, Targets, tuple[int, int]], dict[str, Tensor]]
    evaluate: Callable[[nn.Module], dict[str, float]]
    kind: Kind
    save: Callable[[nn.Module, Path], Path]
