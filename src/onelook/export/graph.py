"""From a torch module to an ONNX graph, and from that to a model file."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from onelook.errors import ModelError
from onelook.export.half import halve
from onelook.runtime import atomic
from onelook.runtime.session import FORMAT, PROPOSALS

OPSET = 20


def trace(
    module: nn.Module,
    outputs: Sequence[str],
    size: tuple[int, int],
    dynamic_size: bool = False,
    batch: int | None = None,
    proposals: int = 0,
) -> onnx.ModelProto:
    """The graph of a module that takes `image`, uint8 [B, H, W, 3].

    Args:
        module: what to trace, in evaluation mode.
        outputs: names of what it gives.
        size: height and width of the image.
        dynamic_size: let the graph take every multiple of 32.
        batch: B; None lets the graph take any number.
        proposals: P, where the module takes regions of the pictures besides, `proposals`, xyxy float32 [B, P, 4].
    """
    dynamic: dict[int, Any] = {}
    if batch is None:
        dynamic[0] = torch.export.Dim("batch")
    if dynamic_size:
        dynamic |= {1: 32 * torch.export.Dim("rows", min=1), 2: 32 * torch.export.Dim("columns", min=1)}
        size = (192, 256)  # of the example: two different sides, so that nothing takes them for one
    examples = {"image": torch.zeros(batch or 2, *size, 3, dtype=torch.uint8)}
    if proposals:
        examples[PROPOSALS] = torch.tensor((0.0, 0.0, 8.0, 8.0)).repeat(batch or 2, proposals, 1)
    return export(module, examples, outputs, (dynamic, {} if batch else {0: dynamic[0]})[: len(examples)])


def export(
    module: nn.Module, examples: Mapping[str, torch.Tensor], outputs: Sequence[str], dynamic: tuple[Any, ...]
) -> onnx.ModelProto:
    """The graph of any module.

    Args:
        module: what to trace, in evaluation mode.
        examples: of its inputs, by name; no tensor twice, as one input would be made of it.
        outputs: names of what it gives.
        dynamic: which dimensions of the arguments of its forward are free, as `torch.export` has it.
    """
    for logger in ("torch.onnx", "onnxscript", "onnx_ir"):  # what they miss is of no concern to the user
        logging.getLogger(logger).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(examples.values()),
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=list(examples),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto  # made anew at each access
    for node in model.graph.node:  # from which line of Python each came: hundreds of kilobytes that no engine reads
        del node.metadata_props[:]
    del model.graph.value_info[:]
    return model


def name_operators_once(model: onnx.ModelProto) -> None:
    """A graph that was joined of two names the operators of each, which are the same; some tools refuse that."""
    versions = {operators.domain: operators.version for operators in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*operators) for operators in versions.items())


def write(model: onnx.ModelProto, metadata: Mapping[str, Any], path: str | Path, half: bool = False) -> Path:
    """Check a graph and write it as a model file, beside its place and then renamed.

    Args:
        model: of the inputs and outputs that its task has; see docs/model-file.md.
        metadata: what the file says of itself, without the format; texts as they are, all else as JSON.
        path: of the file.
        half: store the weights in half precision.

    Raises:
        ModelError: the file cannot be written.
    """
    if half:
        halve(model)
    name_operators_once(model)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }
    onnx.helper.set_model_props(model, {"format": FORMAT, **texts})
    onnx.checker.check_model(model, full_check=True)
    return atomic.save(Path(path), model.SerializeToString(), ModelError)
