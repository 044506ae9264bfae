"""Int8 in a graph: which values are rounded to eight bits, and the nodes that say so.

A rounded value goes through QuantizeLinear and DequantizeLinear (QDQ); engines turn what lies between such pairs into
whole-number arithmetic. Jacob et al., 2017, arXiv:1712.05877, section 2.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

FUSED = {"Relu", "Clip"}  # engines compute them with the convolution or sum before
ALIKE = {"Concat", "MaxPool", "Resize"}  # they move numbers about: what goes in and out has one scale
BETWEEN = {"Add", "LeakyRelu", *ALIKE}
CHOICES = {"Gather", "GatherElements", "GatherND", "Loop", "NonMaxSuppression", "NonZero", "TopK"}
LEVELS = 255  # from the least to the greatest of uint8
WEIGHT = 127  # the greatest of int8, and the least but for its sign
PAIR = 127  # with half a step of rounding each 128, and 255 * 128 is what int16 holds


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes int8 of a graph.

    Attributes:
        convolutions: what the convolutions that become int8 give, in order.
        values: the names of the values that are rounded.
        groups: of those, the ones that must have one scale.
        ends: what comes out of the rounded part, still in float: the raw maps of a detector.
    """

    convolutions: tuple[str, ...]
    values: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    ends: tuple[str, ...]


def plan(graph: onnx.GraphProto, in_float: Container[str] = ()) -> Plan:
    """Choose what becomes int8: the convolutions, and the sums, pools and joins between them.

    The last convolutions, behind which there is no other, stay float, as do the pixels' scaling before the first one,
    decoding and suppression.

    Args:
        graph: of a model file, in order.
        in_float: what the convolutions give that stay float too.
    """
    constants = {tensor.name for tensor in graph.initializer} | {""}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    leads_on: set[str] = set()  # values on which a later convolution depends
    for node in reversed(graph.node):
        if node.op_type in ("Conv", "Gemm") or (node.op_type not in CHOICES and leads_on.intersection(node.output)):
            leads_on.update(node.input)

    def end(node: onnx.NodeProto) -> str:
        behind = users[node.output[0]]
        return behind[0].output[0] if len(behind) == 1 and behind[0].op_type in FUSED else node.output[0]

    body: set[str] = set()  # what such a convolution gives, and what is made of that alone
    convolutions: list[str] = []
    values: list[str] = []
    groups: list[tuple[str, ...]] = []
    for node in graph.node:
        inputs = [name for name in node.input if name not in constants]
        if not node.output or node.output[0] not in leads_on:
            continue
        if node.op_type == "Conv" and node.input[1] in constants:
            if node.output[0] in in_float:
                continue
            body.add(node.output[0])
            convolutions.append(node.output[0])
            values += node.input[0], end(node)
        elif node.op_type in FUSED | BETWEEN and inputs and body.issuperset(inputs):
            body.add(node.output[0])
            if node.op_type in BETWEEN:
                values += *inputs, end(node)
            if node.op_type in ALIKE:
                groups.append((*inputs, node.output[0]))
    ends = [
        node.output[0]
        for node in graph.node
        if set(values).intersection(node.input) and not leads_on.intersection(node.output)
    ]
    return Plan(tuple(convolutions), tuple(dict.fromkeys(values)), tuple(groups), tuple(ends))


def insert(model: onnx.ModelProto, plan: Plan, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Round a graph as planned; changes it in place.

    Values become uint8 with a zero point. Weights become int8, symmetric, with a scale for each output channel, and
    biases int32, as engines add them up.

    Args:
        ranges: the least and the greatest of each value of the plan.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    added: list[onnx.TensorProto] = []

    def constant(name: str, value: NDArray[np.generic]) -> str:
        added.append(numpy_helper.from_array(value, name))
        return name

    scales: dict[str, np.float32] = {}
    pairs: dict[str, list[onnx.NodeProto]] = {}
    for name, (least, greatest) in _shared(plan, ranges).items():
        scale = np.float32(max(greatest - least, 1e-6) / LEVELS)
        zero = np.uint8(np.clip(np.round(-least / scale), 0, LEVELS))
        how = [constant(f"{name}/scale", np.asarray(scale)), constant(f"{name}/zero", np.asarray(zero))]
        scales[name] = scale
        pairs[name] = [
            helper.make_node("QuantizeLinear", [name, *how], [f"{name}/int8"], f"{name}/quantize"),
            helper.make_node("DequantizeLinear", [f"{name}/int8", *how], [f"{name}/rounded"], f"{name}/dequantize"),
        ]

    def rounded(name: str, whole: NDArray[np.generic], scale: NDArray[np.float32]) -> onnx.NodeProto:
        zero = constant(f"{name}/zero", np.zeros(len(scale), whole.dtype))
        inputs = [constant(f"{name}/whole", whole), constant(f"{name}/scale", scale), zero]
        return helper.make_node("DequantizeLinear", inputs, [name], name, axis=0)

    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.output and node.output[0] in plan.convolutions:
            weight = numpy_helper.to_array(weights[node.input[1]])
            bias = numpy_helper.to_array(weights[node.input[2]]) if len(node.input) > 2 else np.zeros(len(weight))
            of_weights = weight_scales(weight)
            of_bias = np.abs(bias) / (scales[node.input[0]] * 2.0**30)  # so that it fits into int32
            steps = np.maximum(of_weights, np.maximum(of_bias, 1e-12)).astype(np.float32)
            whole = np.round(weight / steps.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
            bias_steps = steps * scales[node.input[0]]
            added_up = np.round(bias / bias_steps).astype(np.int32)
            names = [f"{node.output[0]}/weight", f"{node.output[0]}/bias"]
            nodes += rounded(names[0], whole, steps), rounded(names[1], added_up, bias_steps)
            node.input[1:] = names
        node.input[:] = [f"{name}/rounded" if name in pairs else name for name in node.input]
        nodes.append(node)
        for name in node.output:
            nodes += pairs.get(name, [])
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    used = {name for node in copies for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *added])


def weight_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scale of each output channel of a convolution's weights [C, ...].

    Processors with AVX2 or AVX-512 but without VNNI add two products of uint8 and int8 into an int16 that saturates. No
    two weights of a channel are let add up to more, so that all processors compute the same. Convolutions of
    one input channel are computed otherwise.
    """
    flat = np.sort(weight.reshape(len(weight), -1), axis=1)
    scale = np.maximum(flat[:, -1], -flat[:, 0]) / np.float32(WEIGHT)
    if weight.shape[1] > 1:
        scale = np.maximum(scale, np.maximum(flat[:, -2:].sum(1), -flat[:, :2].sum(1)) / np.float32(PAIR))
    return np.asarray(scale, np.float32)


def _shared(plan: Plan, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The ranges, with zero in them, and one for those of a group."""
    found = {name: (min(ranges[name][0], 0.0), max(ranges[name][1], 0.0)) for name in plan.values}
    group = {name: {name} for name in plan.values}
    for names in plan.groups:
        union: set[str] = set().union(*(group[name] for name in names))
        group |= dict.fromkeys(union, union)
    return {name: _union(found[other] for other in group[name]) for name in plan.values}


def _union(ranges: Iterable[tuple[float, float]]) -> tuple[float, float]:
    least, greatest = zip(*ranges, strict=True)
    return min(least), max(greatest)
