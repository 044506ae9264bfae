import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.compose
import pytest

from onelook import Detector, Error, MissingDependencyError, ModelError
from onelook.runtime import session
from onelook.runtime.metadata import set_metadata
from onelook.runtime.session import open_session

Make = Callable[..., Path]


def test_info_is_what_the_file_says(model_file: Make) -> None:
    info = open_session(model_file("v3"), "onnxruntime").info
    assert (info.task, info.names, info.size, info.batch) == ("detect", ("cat", "dog", "bird"), (64, 64), None)
    assert (info.resize, info.sampling, info.score_threshold, info.iou_threshold) == (
        "letterbox",
        "darknet",
        0.25,
        0.45,
    )
    assert not info.dynamic_size
    assert info.origin["cfg"] == "v3.cfg"


def test_threads_and_streams_change_no_result(model_file: Make) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    first, *others = (
        open_session(model_file("v3"), "onnxruntime", threads, streams).run(image, 0.3, 0.45)
        for threads, streams in ((1, 1), (2, 1), (2, 2))
    )
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_openvino_is_exact_unless_asked_for_speed(model_file: Make) -> None:
    pytest.importorskip("openvino")
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    exact = open_session(model_file("v3"), "openvino")
    assert exact.engine == "openvino (float32)"
    fast = open_session(model_file("v3"), "openvino", precision="fastest")
    assert fast.engine in ("openvino (float32)", "openvino (bfloat16)", "openvino (float16)")
    best, near = exact.run(image, 0.3, 0.45)[1].max(), fast.run(image, 0.3, 0.45)[1].max()
    assert near == pytest.approx(best, abs=0.05)


EIGHT_THREADS = """
import sys, threading
import numpy as np
from onelook.runtime.session import open_session

sys.setswitchinterval(1e-6)
session = open_session(sys.argv[1], "openvino", threads=2, streams=8)
image = np.zeros((1, 64, 64, 3), np.uint8)
ready = threading.Barrier(8)

def work():
    ready.wait()
    session.run(image, 0.3, 0.45)

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_many_threads_may_use_openvino_first_at_the_same_moment(model_file: Make) -> None:
    """Its binding to NumPy then waited for itself for ever, in one process of a few."""
    pytest.importorskip("openvino")
    for _ in range(5):
        subprocess.run([sys.executable, "-c", EIGHT_THREADS, str(model_file("v3"))], check=True, timeout=60)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a" * 50, b"\xff" * 1000])
def test_files_that_are_no_model_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    for engine in ("onnxruntime", "auto"):
        with pytest.raises(ModelError, match=r"x\.onnx: is not a model") as error:
            open_session(path, engine)
        assert "\n" not in str(error.value)


def test_truncated_model_files_are_refused(model_file: Make, tmp_path: Path) -> None:
    data = model_file("v3").read_bytes()
    path = tmp_path / "cut.onnx"
    for length in (100, len(data) // 2, len(data) - 100):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError):
            open_session(path, "onnxruntime")


def test_somebody_elses_onnx_file_is_refused_with_what_to_do(model_file: Make, tmp_path: Path) -> None:
    model = onnx.load(model_file("v3"))
    path = tmp_path / "other.onnx"

    def save(**changes: str | None) -> Path:
        metadata = {entry.key: entry.value for entry in onnx.load(model_file("v3")).metadata_props}
        metadata |= {key: value for key, value in changes.items() if value is not None}
        for key in [key for key, value in changes.items() if value is None]:
            del metadata[key]
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, path)
        return path

    with pytest.raises(ModelError, match=r"not a model file of onelook's format.*make one with 'onelook convert'"):
        open_session(save(format=None))
    with pytest.raises(ModelError, match="is for the task 'translate'"):
        open_session(save(task="translate"))
    for change in ({"names": "[1,"}, {"size": "7"}, {"size": None}, {"size": "[96, 64]"}, {"iou_threshold": "much"}):
        with pytest.raises(ModelError, match="its metadata is damaged"):
            open_session(save(**change))
    with pytest.raises(ModelError, match=r"finds class [12]; its metadata names 1 classes"):
        Detector(save(names='["cat"]'))(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    kept = dict.fromkeys(("rename_nodes", "rename_edges", "rename_outputs", "rename_initializers"), False)
    renamed = onnx.compose.add_prefix(model, "x/", **kept)
    onnx.save(renamed, path)
    for engine in ("onnxruntime", "openvino"):
        with pytest.raises(ModelError, match=r"is no model to detect: expected the inputs image, .*found x/image"):
            open_session(path, engine)


@pytest.mark.parametrize("shape", [["B", "P", 4], ["B", 0, 4], ["B", 5, 5], ["B", 5], ["B", 1 << 20, 4], []], ids=str)
def test_proposals_are_of_a_known_number(shape: list[Any], model_file: Make, tmp_path: Path) -> None:
    model = onnx.load(model_file("v3"))
    value = onnx.helper.make_tensor_value_info("proposals", onnx.TensorProto.FLOAT, shape)
    model.graph.input.append(value)
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(
        ModelError, match=r"its metadata is damaged: .* proposals must be of \[B, P, 4\], P up to 16384"
    ):
        open_session(tmp_path / "x.onnx", "onnxruntime")


def test_missing_files_and_engines_are_named(model_file: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx: there is no such model file"):
        open_session(tmp_path / "gone.onnx")
    with pytest.raises(Error, match="engine 'tensorrt' is unknown; choose one of auto, onnxruntime, openvino"):
        open_session(model_file("v3"), "tensorrt")
    with pytest.raises(Error, match="precision 'double' is unknown; choose one of float32, fastest"):
        open_session(model_file("v3"), precision="double")
    monkeypatch.setattr(session.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "onelook\[openvino\]"'):
        open_session(model_file("v3"), "openvino")
    assert open_session(model_file("v3")).engine.startswith("onnxruntime")


# Classifiers.


def test_info_is_what_the_file_of_a_classifier_says(classifier_file: Make) -> None:
    for engine in ("onnxruntime", "openvino"):
        if engine == "openvino":
            pytest.importorskip("openvino")
        info = open_session(classifier_file(), engine).info
        assert (info.task, info.names) == ("classify", ("cat", "dog", "bird", "=1+1"))
        assert (info.size, info.dynamic_size, info.batch) == ((32, 48), False, None)
        assert (info.resize, info.crop, info.sampling, info.origin) == ("crop", 0.875, "linear", {})
        assert open_session(classifier_file(2), engine).info.batch == 2


def test_a_file_that_says_nothing_of_a_crop_takes_the_whole(model_file: Make) -> None:
    assert open_session(model_file("v3"), "onnxruntime").info.crop == 1


@pytest.mark.parametrize(
    "change",
    [
        *({"crop": value} for value in ("0", "2", "nan", "inf", "-0.5", "x", "")),
        *({"resize": value} for value in ("zoom", "", "Crop")),
        *({"sampling": value} for value in ("x", "", "cubic")),
        *(
            {"size": value}
            for value in ("[48, 32]", "[32]", "32", "[32, 48, 3]", '["\\u001b[31m", 48]', "[Infinity, 48]")
        ),
        *({"names": value} for value in ("7", '["cat"', '"cats"', '["cat", "\\u001b[31m"]', '["cat", "\\ud800"]')),
        *({"origin": value} for value in ("x", "[1]", "7", "[" * 100_000)),
        {"parameters": "many"},
        {"multiply_adds": "[]"},
    ],
    ids=str,
)
def test_damaged_metadata_is_refused_in_one_line(classifier_file: Make, change: dict[str, str]) -> None:
    path = classifier_file(**change)
    with pytest.raises(ModelError) as error:
        open_session(path, "onnxruntime")
    assert str(error.value).startswith(f"{path}: its metadata is damaged: ")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("size", ["[0, 32]", "[-32, 32]", "[32.0, 32]", '["32", 32]', "[1099511627776, 32]"])
def test_a_size_that_no_input_can_have_is_refused(model_file: Make, tmp_path: Path, size: str) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(model_file("v3", dynamic_size=True).read_bytes())
    with pytest.raises(ModelError, match="its metadata is damaged: ValueError size must be of two sides up to 16384"):
        open_session(set_metadata(path, size=size), "onnxruntime")


def test_names_in_a_graph_that_are_no_utf_8_are_refused(classifier_file: Make, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(classifier_file().read_bytes().replace(b"probabilities", b"\xff" * 13))
    with pytest.raises(ModelError, match=r"x\.onnx: is not a model that ONNX Runtime can run: ") as error:
        open_session(path, "onnxruntime")
    assert str(error.value).isprintable()


def test_what_an_engine_says_cannot_write_to_the_terminal(classifier_file: Make, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(classifier_file().read_bytes().replace(b"Softmax", b"\33[31mab"))
    with pytest.raises(ModelError, match=r"is not a model that ONNX Runtime can run: ") as error:
        open_session(path, "onnxruntime")
    assert str(error.value).isprintable()


def test_what_an_engine_cannot_run_is_an_error_of_one_line(classifier_file: Make) -> None:
    found = open_session(classifier_file(), "onnxruntime")
    with pytest.raises(ModelError, match=r"\.onnx: ONNX Runtime cannot run it: \w") as error:
        found.run(np.zeros((1, 32, 48, 4), np.uint8))
    assert str(error.value).isprintable()


def test_what_openvino_cannot_run_is_an_error_of_one_line(classifier_file: Make) -> None:
    pytest.importorskip("openvino")
    found = open_session(classifier_file(), "openvino")

    def fail(*unused: object) -> None:
        raise RuntimeError("Exception from src/inference:\n\33[31mno memory\n")

    found._requests.request = SimpleNamespace(infer=fail)  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match=r"\.onnx: OpenVINO cannot run it: .*no memory") as error:
        found.run(np.zeros((1, 32, 48, 3), np.uint8))
    assert str(error.value).isprintable()


def test_a_file_whose_inputs_are_not_those_of_its_task_is_refused(classifier_file: Make, model_file: Make) -> None:
    thresholds = {"score_threshold": "0.2", "iou_threshold": "0.4"}
    for engine in ("onnxruntime", "openvino"):
        if engine == "openvino":
            pytest.importorskip("openvino")
        with pytest.raises(ModelError, match=r"is no model to detect: expected the inputs image, score_threshold"):
            open_session(classifier_file(task="detect", **thresholds), engine)
        model = onnx.load(model_file("v3"))
        properties = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, {**properties, "task": "classify"})
        path = classifier_file(task="classify").with_name("detector.onnx")
        onnx.save(model, path)
        with pytest.raises(
            ModelError, match=r"is no model to classify: expected the inputs image and the outputs prob"
        ):
            open_session(path, engine)
