"""The memory of a model is that of a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onelook.benchmarking import memory

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
ModelFile = Callable[..., Path]


def test_what_this_process_has_is_not_counted(model_file: ModelFile) -> None:
    ballast = np.ones(40_000_000)  # 320 MB
    peak = memory.peak_memory(model_file("v3"), "onnxruntime", 1, None)
    assert peak is not None
    assert 30e6 < peak < ballast.nbytes
    assert ballast.nbytes < (memory.own_peak() or 0)


def test_a_larger_input_needs_more(model_file: ModelFile) -> None:
    path = model_file("v3", dynamic_size=True)
    small, large = (memory.peak_memory(path, "onnxruntime", 1, (side, side)) for side in (64, 1024))
    assert small is not None
    assert large is not None
    assert large > small + 1024 * 1024 * 8 * 4 / 4  # the first layer's output alone: 8 channels at stride 2, float32


def test_a_peak_stays_when_the_memory_is_given_back() -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(memory.__file__).parent)!r})
import memory
before = memory.own_peak()
block = bytearray(200_000_000)
del block
print(memory.own_peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 190e6 < int(done.stdout) < 260e6


def test_the_process_imports_no_more_than_running_a_model_needs(model_file: ModelFile) -> None:
    command = [sys.executable, "-P", memory.__file__, str(model_file("v3")), "onnxruntime", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "onelook.runtime.detector" in imported
    assert not {
        name for name in imported if name.split(".")[:2] in (["onelook", "benchmarking"], ["onelook", "evaluation"])
    }
    assert not imported & {"torch", "matplotlib", "openvino"}


def test_a_process_that_fails_has_no_figure(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    assert memory.peak_memory(tmp_path / "x.onnx", "onnxruntime", 1, None) is None
