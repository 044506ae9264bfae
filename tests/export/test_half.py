"""Weights in half precision: half the bytes, nearly the same results, on every engine."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onelook.export.half import LEAST, halve
from onelook.runtime.session import open_session

Make = Callable[..., Path]


def engines() -> list[str]:
    return ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def a_model(**weights: np.ndarray) -> onnx.ModelProto:
    """x plus the sums of all weights."""
    nodes, total = [], "x"
    for name in weights:
        nodes.append(helper.make_node("ReduceSum", [name], [f"{name}/sum"], keepdims=0))
        nodes.append(helper.make_node("Add", [total, f"{name}/sum"], [f"{name}/total"]))
        total = f"{name}/total"
    nodes.append(helper.make_node("Identity", [total], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in "xy"]
    initializers = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "sums", ends[:1], ends[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def test_long_tensors_are_stored_in_half_and_cast_back() -> None:
    random = np.random.default_rng(0)
    weights = {
        "long": random.normal(size=(16, LEAST // 16)).astype(np.float32),
        "short": random.normal(size=LEAST - 1).astype(np.float32),
    }
    model = a_model(**weights)
    halve(model)
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model) == {"long/half": TensorProto.FLOAT16, "short": TensorProto.FLOAT}
    assert [node.op_type for node in model.graph.node].count("Cast") == 1
    (y,) = ReferenceEvaluator(model).run(None, {"x": np.float32(2)})
    rounded = weights["long"].astype(np.float16).astype(np.float32)
    assert y == pytest.approx(2 + rounded.sum() + weights["short"].sum(), rel=1e-4)


@pytest.mark.parametrize("value", [65536.0, -1e30, np.inf, -np.inf])
def test_a_tensor_with_a_number_that_float16_cannot_hold_stays_as_it_is(value: float) -> None:
    weights = np.ones(LEAST, np.float32)
    weights[7] = value
    model = a_model(large=weights, fine=np.full(LEAST, 65504, np.float32))
    halve(model)
    assert kinds(model) == {"large": TensorProto.FLOAT, "fine/half": TensorProto.FLOAT16}
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), weights)


def test_whole_numbers_stay_as_they_are() -> None:
    model = a_model(a=np.ones(LEAST, np.float32))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(LEAST), "shape"))
    halve(model)
    assert kinds(model)["shape"] == TensorProto.INT64


def test_halved_twice_a_model_is_halved_once() -> None:
    model = a_model(a=np.ones(LEAST, np.float32))
    halve(model)
    once = model.SerializeToString()
    halve(model)
    assert model.SerializeToString() == once


@pytest.mark.parametrize("kind", ["v3"])
def test_the_weights_of_a_detector_take_half_the_bytes(model_file: Make, kind: str) -> None:
    whole, half = (onnx.load(model_file(kind, **options)) for options in ({}, {"half": True}))

    def bytes_of(model: onnx.ModelProto, least: int = 0) -> int:
        sizes = [numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer]
        return sum(size for size in sizes if size >= least)

    assert bytes_of(half) < 0.56 * bytes_of(whole)
    before, after = ({entry.key: entry.value for entry in model.metadata_props} for model in (whole, half))
    assert after == before


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("kind", ["v3"])
def test_it_finds_what_the_whole_one_does(model_file: Make, kind: str, engine: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    whole, half = (open_session(model_file(kind, **options), engine) for options in ({}, {"half": True}))
    found, expected = half.run(image, 0.1, 1.0), whole.run(image, 0.1, 1.0)  # nothing is suppressed
    assert len(expected[0]) > 10
    assert abs(len(found[0]) - len(expected[0])) <= 0.05 * len(expected[0])  # of some the score is at the threshold
    for box, score, label, number in zip(*expected, strict=True):
        if score > 0.11:
            place = (found[2] == label) & (found[3] == number) & (np.abs(found[1] - score) < 5e-3)
            assert (np.abs(found[0][place] - box).max(1) < 0.5 + 2e-3 * np.abs(box).max()).any()


@pytest.mark.parametrize("engine", engines())
def test_a_cast_costs_nothing_of_the_precision_of_what_is_computed(model_file: Make, engine: str) -> None:
    """As float32 with rounded weights: both engines agree as closely as for the whole model."""
    image = np.random.default_rng(2).integers(0, 256, (1, 64, 64, 3), np.uint8)
    path = model_file("v3", half=True)
    boxes, scores, *_ = open_session(path, engine).run(image, 0.3, 0.45)
    expected = open_session(path, "onnxruntime").run(image, 0.3, 0.45)
    np.testing.assert_allclose(boxes, expected[0], atol=2e-3)
    np.testing.assert_allclose(scores, expected[1], atol=1e-4)
