"""Which engine `onelook.load` takes: measured once, then remembered."""

import importlib.util
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import onelook
from onelook import ModelError, zoo
from onelook.runtime import choice
from onelook.runtime.choice import faster, open_faster

Make = Callable[..., Path]


def session(engine: str, multiply_adds: int = 10**9, seconds: float = 0.0) -> Any:
    info = SimpleNamespace(multiply_adds=multiply_adds, batch=None, size=(8, 8), task="classify")
    return SimpleNamespace(engine=engine, info=info, run=lambda image: None, seconds=seconds)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that were timed; `faster` takes the seconds of a session's name for its cost."""
    seen: list[str] = []

    def run(one: Any) -> Any:
        seen.append(one.engine)
        return lambda: one.seconds

    monkeypatch.setattr(choice, "_run", run)
    monkeypatch.setattr(choice, "_cost", lambda run: run())
    return seen


@pytest.mark.parametrize(
    ("onnxruntime", "openvino", "chosen"),
    [(1.0, 0.7, "openvino"), (1.0, 1.5, "onnxruntime"), (1.0, 0.95, "onnxruntime"), (1.0, 1.0, "onnxruntime")],
)
def test_openvino_is_taken_where_it_is_clearly_faster(
    measured: list[str], onnxruntime: float, openvino: float, chosen: str
) -> None:
    sessions = {
        "onnxruntime": session("onnxruntime", seconds=onnxruntime),
        "openvino": session("openvino", seconds=openvino),
    }
    assert faster(sessions.__getitem__).engine == chosen
    assert measured == ["onnxruntime", "openvino"]


def test_a_first_turn_that_is_slow_counts_for_nothing(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    costs = itertools.chain((1.0, 9.0), itertools.cycle((1.0, 0.5)))
    monkeypatch.setattr(choice, "_cost", lambda run: next(costs))
    assert faster(session).engine == "openvino"


def test_small_and_large_models_are_not_measured(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert faster(lambda name: session(name, multiply_adds=1000)).engine == "auto"
    assert measured == []
    clock = itertools.count(0.0, 2 * choice.TURN)
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    assert faster(session).engine == "auto"
    assert measured == ["onnxruntime"]


def test_a_model_that_openvino_cannot_run_is_left_to_onnx_runtime(measured: list[str]) -> None:
    def load(name: str) -> Any:
        if name == "openvino":
            raise ModelError("an operator it does not know")
        return session(name)

    assert faster(load).engine == "onnxruntime"


def test_costs_are_those_of_the_processor() -> None:
    def work() -> None:
        sum(range(20_000))

    def more_work() -> None:
        for _ in range(8):
            work()

    assert choice._cost(more_work) > 2 * choice._cost(work) > 0


# What is remembered.


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that were asked for; "measured" where both were."""
    seen: list[str] = []

    def open_session(path: object, engine: str, *settings: object) -> Any:
        seen.append(engine)
        return session(engine)

    def measure(load: Callable[[str], Any]) -> Any:
        seen.append("measured")
        return session("openvino (bfloat16)")

    monkeypatch.setattr(choice, "open_session", open_session)
    monkeypatch.setattr(choice, "faster", measure)
    monkeypatch.setattr(choice, "has_cuda", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    return seen


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"model" * 50_000)
    return path


def test_a_model_is_measured_once_for_each_setting_it_depends_on(
    opened: list[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "a" / "engines"
    for _ in range(3):
        open_faster(memory, model, threads=2, streams=2)
    assert opened == ["measured", "openvino", "openvino"]
    del opened[:]
    open_faster(memory, model, threads=3, streams=3)
    open_faster(memory, model, threads=2, streams=2, precision="fastest")
    monkeypatch.setattr(choice, "processor_name", lambda: "another")
    open_faster(memory, model, threads=2, streams=2)
    monkeypatch.setattr(choice, "version", lambda name: "another")
    open_faster(memory, model, threads=2, streams=2)
    for place in (0, 130_000, 249_999):  # bytes of the file
        data = bytearray(model.read_bytes())
        data[place] ^= 1
        model.write_bytes(data)
        open_faster(memory, model, threads=2, streams=2)
    assert opened == ["measured"] * 7
    open_faster(memory, model.rename(tmp_path / "y.onnx"), threads=2, streams=2)
    assert opened[7:] == ["openvino"]


def test_nothing_is_measured_where_there_is_no_choice(
    opened: list[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for settings in (
        {"engine": "onnxruntime", "threads": 2, "streams": 2},
        {"threads": 2},
        {"threads": 1},
        {"threads": 4, "streams": 2},
    ):
        open_faster(tmp_path / "engines", model, **settings)
    open_faster(None, model, threads=2, streams=2)
    open_faster(tmp_path / "engines", tmp_path / "missing.onnx", threads=2, streams=2)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "has_cuda", lambda: True)
        open_faster(tmp_path / "engines", model, threads=2, streams=2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    open_faster(tmp_path / "engines", model, threads=2, streams=2)
    assert "measured" not in opened
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize("content", [b"", b"tensorrt", b"\xff\xfe", b"openvino\n"])
def test_a_damaged_memory_is_measured_again(opened: list[str], model: Path, tmp_path: Path, content: bytes) -> None:
    open_faster(tmp_path / "engines", model, threads=2, streams=2)
    (note,) = (tmp_path / "engines").iterdir()
    assert note.read_bytes() == b"openvino"
    note.write_bytes(content)
    for _ in range(2):
        open_faster(tmp_path / "engines", model, threads=2, streams=2)
    assert opened == ["measured", "measured", "openvino"]


def test_a_memory_that_cannot_be_written_does_no_harm(opened: list[str], model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        open_faster(tmp_path / "file" / "engines", model, threads=2, streams=2)
    assert opened == ["measured"] * 2
    open_faster(tmp_path / "engines", model, threads=2, streams=2)
    (note,) = (tmp_path / "engines").iterdir()
    note.unlink()
    note.mkdir()
    open_faster(tmp_path / "engines", model, threads=2, streams=2)
    assert opened == ["measured"] * 4


def test_a_model_that_was_loaded_for_many_pictures_keeps_its_engine(
    model_file: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path))
    monkeypatch.setattr(choice, "faster", lambda load: load("openvino"))
    detector = onelook.load(model_file("v3"), threads=2, streams=2)
    assert detector.engine == "openvino (float32)"
    assert detector.session(1).engine == "openvino (float32)"
    monkeypatch.setattr(choice, "faster", lambda load: pytest.fail("measured again"))
    assert onelook.load(model_file("v3"), threads=2, streams=2).engine == "openvino (float32)"
    assert onelook.load(model_file("v3"), threads=2).engine == "onnxruntime (CPU)"


def test_a_machine_without_a_home_loads_models(model_file: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise onelook.ZooError("no home directory")

    monkeypatch.setattr(zoo, "cache_directory", no_home)
    assert onelook.load(model_file("v3"), threads=2, streams=2).info.task == "detect"
