"""Trained classifiers as files: the weights in safetensors, what they belong to as JSON in its header."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from onelook.backbones import Backbone, create
from onelook.errors import CheckpointError, NetworkError
from onelook.runtime import atomic
from onelook.runtime.picture import shown
from onelook.runtime.session import FORMAT

Colour = tuple[float, float, float]  # of RGB


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained network, and what must be known to use it.

    Attributes:
        network: with its weights, in evaluation mode.
        name, options: what `onelook.backbones.create` made it of.
        names: of the classes; None where they are not known.
        size: height and width of the pictures it was trained on, pixels.
        mean, std: it sees (pixel - mean) / std, of RGB pixels from 0 to 255.
        crop: how much of a picture it was tested on: see `onelook.runtime.resize.place`.
        origin: where it comes from; JSON.
    """

    network: Backbone
    name: str
    options: dict[str, Any]
    names: tuple[str, ...] | None
    size: tuple[int, int]
    mean: Colour
    std: Colour
    crop: float
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """How many are told apart."""
        return int(self.options["classes"])


def save(checkpoint: Checkpoint, path: str | Path) -> Path:
    """Write a checkpoint, beside its place and then renamed.

    Raises:
        CheckpointError: the file cannot be written.
    """
    about = {
        "name": checkpoint.name,
        "options": checkpoint.options,
        "names": checkpoint.names,
        "size": checkpoint.size,
        "mean": checkpoint.mean,
        "std": checkpoint.std,
        "crop": checkpoint.crop,
        "origin": checkpoint.origin,
    }
    header = {"format": FORMAT, "network": json.dumps(about, ensure_ascii=False)}
    tensors = {key: tensor.contiguous() for key, tensor in checkpoint.network.state_dict().items()}
    return atomic.save(Path(path), safetensors.torch.save(tensors, header), CheckpointError)


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint. Nothing is allocated before the file is known to fit the network it names.

    Raises:
        CheckpointError: the file cannot be read, is none of onelook's, or has other weights than the network.
    """
    with opened(Path(path), "network", "a checkpoint") as (file, text):
        about = _about(Path(path), text)
        with torch.device("meta"):
            network = create(about["name"], **about["options"])
        network.check_size(about["size"])
        fill(network, file, Path(path))
    return Checkpoint(network.eval(), **about)


@contextmanager
def opened(path: Path, key: str, kind: str) -> Iterator[tuple[Any, str]]:
    """A file in safetensors of onelook's, and the text of that key in its header; what goes wrong is a CheckpointError."""
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: there is no such file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT or key not in header:
                raise CheckpointError(f"{path}: is not {kind} of onelook's format {FORMAT!r}")
            yield file, header[key]
    except NetworkError as error:
        raise CheckpointError(f"{path}: {shown(str(error)[:300])}") from None
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        reason = shown(" ".join(str(error).split())[:200])
        raise CheckpointError(f"{path}: cannot be read as safetensors: {reason}") from None


def fill(network: nn.Module, file: Any, path: Path) -> None:
    """Gives a network on "meta" the tensors of a file, once they are known to be all its own. Raises CheckpointError."""
    keys = list(file.keys())
    _check(path, network, {key: file.get_slice(key) for key in keys})
    network.load_state_dict({key: file.get_tensor(key) for key in keys}, assign=True)


def _about(path: Path, text: str) -> dict[str, Any]:
    """The header's JSON, its fields of the types that `Checkpoint` has."""
    try:
        found = json.loads(text)
        name, options, names, origin = found["name"], found["options"], found["names"], found["origin"]
        about = {
            "name": _is(str, name),
            "options": {str(key): value for key, value in _is(dict, options).items()},
            "names": None if names is None else tuple(_printable(one) for one in _is(list, names)),
            "size": tuple(_is(int, side) for side in _several(found["size"], 2)),
            "mean": tuple(_finite(value) for value in _several(found["mean"], 3)),
            "std": tuple(_finite(value) for value in _several(found["std"], 3)),
            "crop": _finite(found["crop"]),
            "origin": _is(dict, origin),
        }
        if about["names"] is not None and len(about["names"]) != _is(int, options["classes"]):
            raise ValueError(f"{len(about['names'])} names for {options['classes']} classes")
        if options["classes"] == 0 or 0.0 in about["std"] or not 0 < about["crop"] <= 1:
            raise ValueError("classes and std must not be 0, crop must be above 0 and at most 1")
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is damaged: {type(error).__name__} {str(error)[:200]}") from None
    return about


def _is(kind: type, value: Any) -> Any:
    """The value, which must be of that type."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"expected {kind.__name__}; found {str(value)[:40]!r}")
    return value


def _printable(value: Any) -> str:
    """The value, which must be a text of one line."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"expected a name; found {str(value)[:40]!r}")
    return value


def _finite(value: Any) -> float:
    """The value as a float, which must be a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a number; found {str(value)[:40]!r}")
    return float(value)


def _several(values: Any, count: int) -> list[Any]:
    """The value, which must be a list of that length."""
    if len(_is(list, values)) != count:
        raise ValueError(f"expected {count} numbers; found {len(values)}")
    return list(values)


def _check(path: Path, network: nn.Module, found: dict[str, Any]) -> None:
    """Raises CheckpointError where the tensors of the file, by name, are not those of the network."""
    for key, tensor in network.state_dict().items():
        kind = "I64" if tensor.dtype == torch.int64 else "F32"
        own = found.pop(key, None)
        if own is None or own.get_shape() != list(tensor.shape) or own.get_dtype() != kind:
            raise CheckpointError(
                f"{path}: has no tensor {key} of type {kind} and shape {list(tensor.shape)}, which its network needs"
            )
    if found:
        raise CheckpointError(f"{path}: has a tensor {next(iter(found))[:80]!r}, which its network does not know")
