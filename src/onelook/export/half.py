"""Weights in half precision, in half the bytes."""

import numpy as np
import onnx
from onnx import numpy_helper

LEAST = 256  # numbers; shorter tensors, biases and constants, gain nothing


def halve(model: onnx.ModelProto) -> None:
    """Stores the weights of a graph as float16, each with a cast back to float32 behind it; changes it in place.

    Engines cast once, when they load the model, so that it computes as before with rounded weights. A tensor with a
    number that float16 cannot hold stays as it is.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < LEAST or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = f"{tensor.name}/half"
        casts.append(onnx.helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
