"""Trained classifiers as files: the weights in safetensors, what they belong to as JSON in its header."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from onelook.backbones import Backbone, create
from onelook.errors import CheckpointError, NetworkError
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
    path = Path(path)
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
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(safetensors.torch.save(tensors, header))
        part.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint. Nothing is allocated before the file is known to fit the network it names.

    Raises:
        CheckpointError: the file cannot be read, is none of onelook's, or has other weights than the network.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT or "network" not in header:
                raise CheckpointError(f"{path}: is not a checkpoint of onelook's format {FORMAT!r}")
            about = _about(path, header["network"])
            with torch.device("meta"):
                network = create(about["name"], **about["options"])
            _check(path, network, {key: file.get_slice(key).get_shape() for key in file.keys()})  # noqa: SIM118
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()}, assign=True)  # noqa: SIM118
    except NetworkError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {str(error)[:200]}") from None
    return Checkpoint(network.eval(), **about)


def _about(path: Path, text: str) -> dict[str, Any]:
    """The header's JSON, its fields of the types that `Checkpoint` has."""
    try:
        found = json.loads(text)
        options, names = dict(found["options"]), found["names"]
        about: dict[str, Any] = {
            "name": str(found["name"]),
            "options": options,
            "names": None if names is None else tuple(map(str, names)),
            "size": _numbers(found["size"], int, 2),
            "mean": _numbers(found["mean"], float, 3),
            "std": _numbers(found["std"], float, 3),
            "crop": float(found["crop"]),
            "origin": dict(found["origin"]),
        }
        if not isinstance(options["classes"], int) or not all(about["std"]):
            raise ValueError("classes must be a whole number, std not 0")
        if names is not None and len(names) != options["classes"]:
            raise ValueError(f"{len(names)} names for {options['classes']} classes")
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is damaged: {type(error).__name__} {error}") from None
    return about


def _numbers(values: Sequence[Any], kind: type, count: int) -> tuple[Any, ...]:
    numbers = tuple(kind(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"expected {count} numbers; found {values}")
    return numbers


def _check(path: Path, network: Backbone, shapes: dict[str, list[int]]) -> None:
    """Raises CheckpointError where the tensors of the file are not those of the network."""
    for key, tensor in network.state_dict().items():
        if shapes.pop(key, None) != list(tensor.shape):
            raise CheckpointError(f"{path}: has no tensor {key} of shape {list(tensor.shape)}, which its network needs")
    if shapes:
        raise CheckpointError(f"{path}: has a tensor {next(iter(shapes))[:80]!r}, which its network does not know")
