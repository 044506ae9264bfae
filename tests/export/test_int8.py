"""Int8: what becomes it, that every processor computes the same, and that the model finds what it found."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onelook.cli.convert import convert
from onelook.errors import Error, ModelError, SourceError
from onelook.export.int8 import Feed, choose, quantise
from onelook.export.qdq import insert, plan, weight_scales
from onelook.runtime.model import load_pictures
from onelook.runtime.picture import read
from onelook.runtime.session import open_session
from onelook.runtime.sources import Picture

Make = Callable[..., Path]
ENGINES = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(5)
    for i in range(6):
        coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def quantised(model_file: Make, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("int8") / "v3-int8.onnx"
    assert quantise(model_file("v3"), str(photos), output).path == output
    return output


def a_graph() -> onnx.ModelProto:
    """Three convolutions of 3 x 3 with a residual sum between, as float sees and names them."""
    random = np.random.default_rng(1)
    sizes = {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3), "c": (2, 4, 3, 3)}
    numbers = {name: random.normal(0, 0.4, size) for name, size in sizes.items()}
    numbers |= {f"{name}_bias": random.normal(0, 0.5, size[0]) for name, size in sizes.items()}
    nodes = [
        helper.make_node("Neg", ["image"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "a", "a_bias"], ["a_out"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a_out"], ["a_end"]),
        helper.make_node("Conv", ["a_end", "b", "b_bias"], ["b_out"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["a_end", "b_out"], ["sum"]),
        helper.make_node("Conv", ["sum", "c", "c_bias"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["scores"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, side, side])
        for name, channels, side in (("image", 3, 8), ("scores", 2, 6))
    ]
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "three", ends[:1], ends[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_last_convolution_and_what_is_behind_it_stay_float() -> None:
    chosen = plan(a_graph().graph)
    assert chosen.convolutions == ("a_out", "b_out")
    assert set(chosen.values) == {"pixels", "a_end", "b_out", "sum"}  # not a_out: its Relu is computed with it
    assert chosen.ends == ("raw",)


def test_convolutions_stay_float_where_asked() -> None:
    chosen = plan(a_graph().graph, {"a_out"})
    assert chosen.convolutions == ("b_out",)
    assert set(chosen.values) == {"a_end", "b_out"}  # the sum has a part in float
    chosen = plan(a_graph().graph, {"b_out"})
    assert set(chosen.values) == {"pixels", "a_end"}
    assert plan(a_graph().graph, {"a_out", "b_out"}).convolutions == ()


def test_a_rounded_graph_computes_what_float_does_up_to_its_steps() -> None:
    """As the operators' definitions have it, in NumPy."""
    random = np.random.default_rng(2)
    image = random.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    model, chosen = a_graph(), plan(a_graph().graph)
    probe = a_graph()
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in chosen.values)
    values = ReferenceEvaluator(probe).run(None, {"image": image})
    insert(model, chosen, {n: (float(v.min()), float(v.max())) for n, v in zip(chosen.values, values, strict=True)})
    onnx.checker.check_model(model, full_check=True)
    whole = [t for t in model.graph.initializer if t.name.endswith("weight/whole")]
    assert [t.data_type for t in whole] == [onnx.TensorProto.INT8] * 2
    found, expected = (
        np.asarray(next(iter(ReferenceEvaluator(m).run(None, {"image": image})))) for m in (model, a_graph())
    )
    assert 0 < np.abs(found - expected).max() < 0.02
    assert np.abs(found - expected).mean() < 0.006


def test_what_is_joined_has_one_scale() -> None:
    model = a_graph()
    model.graph.node[4].CopyFrom(helper.make_node("Concat", ["a_end", "b_out"], ["sum"], axis=1))
    del model.graph.node[5:]
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 8, 3, 3), np.float32), "wide"))
    model.graph.node.append(helper.make_node("Conv", ["sum", "wide"], ["raw"]))
    insert(model, plan(model.graph), {"pixels": (0, 1), "a_end": (0, 2), "b_out": (-3, 1), "sum": (-3, 2)})
    scales = {t.name: float(numpy_helper.to_array(t)) for t in model.graph.initializer if t.name.endswith("out/scale")}
    scales |= {t.name: float(numpy_helper.to_array(t)) for t in model.graph.initializer if t.name == "a_end/scale"}
    assert scales == pytest.approx({"b_out/scale": 5 / 255, "a_end/scale": 5 / 255})


@given(arrays.arrays(np.float32, (3, 4, 2), elements=st.floats(-8, 8, width=32)))
def test_no_two_products_overflow_int16(weight: NDArray[np.float32]) -> None:
    """The sum of two products of uint8 and int8, which processors without VNNI clip to int16."""
    scale = np.maximum(weight_scales(weight), 1e-12)
    whole = np.round(weight / scale[:, None, None]).reshape(3, -1)
    assert np.abs(whole).max() <= 127
    pairs = whole[:, :, None] + whole[:, None, :]
    pairs[:, np.arange(8), np.arange(8)] = 0  # a weight with itself
    assert np.abs(pairs).max() <= 128
    assert np.iinfo(np.int16).max >= 255 * 128


def test_depthwise_weights_use_the_whole_range() -> None:
    weight = np.array([[[2.0, 2.0, -1.0]]], np.float32)
    assert weight_scales(weight) == pytest.approx([2 / 127])
    assert weight_scales(weight.reshape(1, 3, 1)) == pytest.approx([4 / 127])


def test_inputs_outputs_and_metadata_stay(model_file: Make, quantised: Path) -> None:
    before, after = onnx.load(model_file("v3")), onnx.load(quantised)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert any(node.op_type == "QuantizeLinear" for node in after.graph.node)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_finds_what_float_finds(model_file: Make, quantised: Path, photos: Path, engine: str) -> None:
    image = np.stack([read(path) for path in sorted(photos.iterdir())])
    found = open_session(quantised, engine).run(image, 0.3, 1.0)  # nothing is suppressed
    expected = open_session(model_file("v3"), engine).run(image, 0.3, 1.0)
    assert len(expected[0]) > 10
    near = 0
    for box, score, label, number in zip(*expected, strict=True):
        place = (found[2] == label) & (found[3] == number) & (np.abs(found[1] - score) < 0.1)
        near += bool((np.abs(found[0][place] - box).max(1, initial=0) < 0.1 * np.ptp(box)).any())
    assert near > 0.8 * len(expected[0])


def test_half_precision_is_taken_too(model_file: Make, photos: Path, tmp_path: Path) -> None:
    report = quantise(model_file("v3", half=True), str(photos), tmp_path / "x.onnx")
    assert report.pictures == 6
    assert set(report.agreement) == set(ENGINES)
    assert min(report.agreement.values()) > 15
    assert 0 < report.quantised < report.convolutions


@pytest.mark.parametrize(("total", "taken"), [(99, range(99)), (150, [i * 3 // 2 for i in range(100)])])
def test_pictures_to_calibrate_with_are_spread_over_all(
    model_file: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, taken: Sequence[int]
) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    seen: list[int] = []

    def load(some: list[Picture], *arguments: Any, **options: Any) -> Any:
        seen.extend(int(picture.name) for picture in some)
        return load_pictures(some, *arguments, **options)

    numbered = [Picture(f"{i}", lambda: image) for i in range(total)]
    monkeypatch.setattr("onelook.export.int8.pictures", lambda source: iter(numbered))
    monkeypatch.setattr("onelook.export.int8.load_pictures", load)
    monkeypatch.setattr("onelook.export.int8.choose", lambda *_: (set(), {}))
    assert quantise(model_file("v3"), [image] * total, tmp_path / "x.onnx").pictures == len(taken)
    assert seen == list(taken)


def test_a_last_batch_that_is_not_full_is_filled_with_pictures_of_the_source(
    model_file: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Black ones would be in the ranges."""
    white = np.full((64, 64, 3), 255, np.uint8)
    feeds: list[NDArray[np.uint8]] = []

    def ranges(model: object, names: Sequence[str], given: Sequence[Feed]) -> dict[str, tuple[float, float]]:
        feeds.extend(feed["image"] for feed in given)
        return dict.fromkeys(names, (0.0, 1.0))

    monkeypatch.setattr("onelook.export.int8._ranges", ranges)
    monkeypatch.setattr("onelook.export.int8.choose", lambda *_: (set(), {}))
    assert quantise(model_file("v3", batch=4), [white] * 3, tmp_path / "x.onnx").pictures == 3
    assert [feed.shape for feed in feeds] == [(4, 64, 64, 3)]
    assert feeds[0].min() == 255


CONVOLUTIONS = tuple("abcdefghijklm")


def agreement_of(**noises: dict[str, float]) -> Callable[..., dict[str, float]]:
    """As if each rounded convolution added so much noise to a signal of 1 in an engine, and those not named 1e-6."""

    def agreement(in_float: set[str], engines: Sequence[str], pictures: int) -> dict[str, float]:
        rounded = {*CONVOLUTIONS} - in_float
        return {
            engine: -10 * math.log10(1e-9 + sum(noises[engine].get(name, 1e-6) for name in rounded))
            for engine in engines
        }

    return agreement


@pytest.mark.parametrize(
    ("noises", "expected"),
    [
        ({}, ""),
        ({"f": 0.009}, ""),  # 20.5 dB are enough
        ({"f": 0.1}, "f"),
        ({"f": 0.012, "g": 0.001}, "f"),  # 20 dB are asked for, though 18.9 come near to what is reached
        ({"c": 0.006, "f": 0.1, "i": 0.02, "h": 0.003}, "fi"),  # the two greatest, and 0.009 are left
        (dict.fromkeys("hijkl", 0.1) | {"e": 0.002}, "hijkle"),  # six are tried after four
        (dict.fromkeys(CONVOLUTIONS, 0.1), ""),  # six of them in float would win 2.7 dB, and it is far from enough
        (dict.fromkeys(CONVOLUTIONS, 0.1) | {"f": 0.9}, "f"),
    ],
)
def test_the_convolutions_by_which_most_is_lost_stay_float(noises: dict[str, float], expected: str) -> None:
    engines = "onnxruntime", "openvino"
    agreement = agreement_of(onnxruntime=noises, openvino=noises)
    in_float, found = choose(CONVOLUTIONS, engines, agreement)
    assert in_float == {*expected}
    assert found == agreement(in_float, engines, 8)


def test_each_convolution_is_tried_alone_only_where_some_must_stay_float() -> None:
    for noises, asked in (({"f": 0.009}, 1), ({"f": 0.1}, 2 + len(CONVOLUTIONS))):
        counted = Mock(side_effect=agreement_of(onnxruntime=noises, openvino=noises))
        choose(CONVOLUTIONS, ("onnxruntime", "openvino"), counted)
        assert counted.call_count == asked


def test_a_first_convolution_that_one_engine_reads_wrongly_stays_float() -> None:
    agreement = agreement_of(onnxruntime={"e": 0.001}, openvino={"a": 1.0, "b": 1.0, "e": 0.001})
    assert choose(CONVOLUTIONS, ("onnxruntime", "openvino"), agreement)[0] == {"a", "b"}


def test_without_openvino_the_first_three_stay_float() -> None:
    in_float, found = choose(CONVOLUTIONS, ("onnxruntime",), agreement_of(onnxruntime={"h": 0.1}))
    assert in_float == {"a", "b", "c", "h"}
    assert set(found) == {"onnxruntime"}
    assert choose(CONVOLUTIONS[:2], ("onnxruntime",), agreement_of(onnxruntime={}))[0] == {"a"}


def test_what_cannot_be_quantised_is_an_error_of_one_line(
    model_file: Make, quantised: Path, classifier_file: Make, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for model, source, kind, words in (
        (quantised, str(photos), ModelError, "is int8 already"),
        (classifier_file(), str(photos), ModelError, "no convolution that another one follows"),
        (model_file("v3"), [], Error, "no pictures"),
        (model_file("v3"), 0, Error, "has no end"),
        (model_file("v3"), str(tmp_path / "broken.png"), SourceError, "broken.png"),
    ):
        with pytest.raises(kind, match=words) as error:
            quantise(model, source, tmp_path / "x.onnx")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "x.onnx").exists()


def test_convert_writes_int8(model_file: Make, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.onnx"
    words = [str(model_file("v3")), "--int8", "-o", str(output)]
    assert CliRunner().invoke(convert, words).exit_code != 0
    assert CliRunner().invoke(convert, [*words, "--calibrate", str(photos), "--half"]).exit_code != 0
    result = CliRunner().invoke(convert, [*words, "--calibrate", str(photos)])
    assert result.exit_code == 0, result.output
    assert f"{output}\n" in result.output
    assert open_session(output, "onnxruntime").info.task == "detect"
