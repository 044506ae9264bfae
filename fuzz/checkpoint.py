"""Files in safetensors: trained classifiers, detectors, segmenters, R-CNNs, and the state of a training run."""

import safetensors.torch
import torch

from fuzz.files import refusals, written
from onelook import checkpoint, trained
from onelook.detectors import rcnn
from onelook.runtime.session import FORMAT
from onelook.training.run import read_progress

_KEYS = {"network": checkpoint.load, "detector": trained.load, "rcnn": rcnn.load, "run": read_progress}
_NUMBERS = {"x": torch.zeros(1)}


def one_input(data: bytes) -> None:
    """The first byte says of what kind. The rest is, with that byte below 128, a file; else the JSON in its header."""
    kind = data[0] if data else 0
    key = list(_KEYS)[kind % 4]
    content = data[1:]
    if kind >= 128:
        header = {"format": FORMAT, key: content.decode("utf-8", "replace")}
        content = safetensors.torch.save(_NUMBERS, header)
    with refusals():
        _KEYS[key](written("x.safetensors", content))
