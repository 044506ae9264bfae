"""Metadata of model files that are changed in place, and what a session makes of metadata."""

from pathlib import Path

from fuzz.files import refusals, written
from onelook.runtime.metadata import set_metadata
from onelook.runtime.session import INPUTS, METADATA, OUTPUTS, _info


def one_input(data: bytes) -> None:
    """An even first byte: a file. An odd one: lines `key=value` of the metadata of a model whose graph is right."""
    if not data or data[0] % 2 == 0:
        with refusals():
            set_metadata(written("x.onnx", data[1:]), score_threshold="0.5")
        return
    lines = (line.partition("=") for line in data[1:].decode("utf-8", "replace").splitlines())
    found = {key: value for key, _, value in lines if key in METADATA}
    task = found.get("task", "")
    with refusals():
        _info(
            Path("x.onnx"),
            found,
            {name: [None, 64, 32, 3] for name in INPUTS.get(task, ())},
            set(OUTPUTS.get(task, ())),
        )
