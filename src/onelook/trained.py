"""Trained detectors and segmenters as files: the weights in safetensors, what they belong to as JSON in its header."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from onelook import detectors, segmenters
from onelook.checkpoint import fill, opened
from onelook.detectors import Detector
from onelook.errors import CheckpointError
from onelook.runtime import atomic
from onelook.runtime.picture import shown
from onelook.runtime.session import FORMAT
from onelook.segmenters import Segmenter

KEY = "detector"  # of the header, of segmenters too


@dataclass(frozen=True, slots=True)
class Trained:
    """What must be known of a trained detector or segmenter besides its weights.

    Attributes:
        name, options: what `onelook.detectors.create` or `onelook.segmenters.create` makes it of.
        names: of the classes.
        size: height and width of the input it was trained at, pixels.
        resize: how pictures are brought to that size: "letterbox" or "stretch".
        origin: where it comes from; JSON.
    """

    name: str
    options: dict[str, Any]
    names: tuple[str, ...]
    size: tuple[int, int]
    resize: str = "letterbox"
    origin: dict[str, Any] = field(default_factory=dict)


def save(about: Trained, weights: dict[str, Tensor], path: str | Path) -> Path:
    """Write a network, beside its place and then renamed. Raises CheckpointError where that fails."""
    header = {"format": FORMAT, KEY: json.dumps(asdict(about), ensure_ascii=False)}
    tensors = {key: tensor.contiguous() for key, tensor in weights.items()}
    return atomic.save(Path(path), safetensors.torch.save(tensors, header), CheckpointError)


def is_trained(path: Path) -> bool:
    """Whether a file in safetensors holds such a network, as its header says; False where it cannot be read."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return KEY in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return False


def load(path: str | Path) -> tuple[Trained, Detector | Segmenter]:
    """Read a network, in evaluation mode. Nothing is allocated before the file is known to fit the network it names.

    Raises:
        CheckpointError: the file cannot be read, holds no detector or segmenter of onelook's, or other weights than the
            network has.
    """
    with opened(Path(path), KEY, "a detector or segmenter") as (file, text):
        about = _about(Path(path), text)
        kind = segmenters if about.name in segmenters.ARCHITECTURES else detectors
        with torch.device("meta"):
            network = kind.create(about.name, **about.options)
        network.check_size(about.size)
        fill(network, file, Path(path))
    return about, network.eval()


def _about(path: Path, text: str) -> Trained:
    try:
        found = json.loads(text)
        about = Trained(**{**found, "names": tuple(found["names"]), "size": tuple(found["size"])})
        if about.resize not in ("letterbox", "stretch") or not isinstance(about.options, dict):
            raise ValueError("resize or options")
        if not all(isinstance(name, str) and name.isprintable() for name in (about.name, *about.names)):
            raise ValueError("names")
        if len(about.names) != about.options["classes"] or len(about.size) != 2:
            raise ValueError(f"{len(about.names)} names for {about.options['classes']} classes")
        if not isinstance(about.origin, dict):
            raise TypeError("origin")
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = shown(str(error)[:200])
        raise CheckpointError(f"{path}: its header is damaged: {type(error).__name__} {reason}") from None
    return about
