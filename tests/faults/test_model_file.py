"""Model files that are cut short or damaged: an error of one line, or a model that works; never anything else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import onelook
from onelook import ModelError

Make = Callable[..., Path]
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)


def runs(path: Path) -> bool:
    """Whether it loads and runs; else it is a ModelError of one line."""
    try:
        found = onelook.load(path)(PICTURE)
    except ModelError as error:
        assert str(error).isprintable()
        return False
    assert (found.width, found.height) == (80, 48)
    return True


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_every_sixteenth_of_a_file_is_refused(
    model_file: Make, classifier_file: Make, tmp_path: Path, task: str
) -> None:
    data = (model_file("v3") if task == "detect" else classifier_file()).read_bytes()
    path = tmp_path / "half.onnx"
    for share in range(16):
        path.write_bytes(data[: share * len(data) // 16])
        assert not runs(path), share
    path.write_bytes(data)
    assert runs(path)


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_a_turned_bit_is_an_error_of_one_line_or_nothing(
    model_file: Make, classifier_file: Make, tmp_path: Path, task: str
) -> None:
    data = (model_file("v3") if task == "detect" else classifier_file()).read_bytes()
    path = tmp_path / "damaged.onnx"
    random = np.random.default_rng(1)
    ends = [*range(600), *(len(data) - 1 - i for i in range(600))]  # where a file is more than weights
    working = 0
    for place in random.choice(ends, 150, replace=False):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        working += runs(path)
    assert 0 < working < 150
