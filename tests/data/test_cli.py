"""The verbs data check, data convert and anchors."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from onelook.cli import main
from onelook.data import Dataset, Sample
from onelook.data.writing import write

Picture = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def onelook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line: exit code, stdout, stderr."""
    monkeypatch.setattr("onelook.runtime.terminal.silence_native_stderr", lambda: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["onelook", *map(str, arguments)])
        with pytest.raises(SystemExit) as error:
            main()
        return int(error.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path, picture: Picture) -> Path:
    sizes = np.random.default_rng(1).integers(5, 30, (12, 2))
    boxes = np.concatenate([np.zeros((12, 2)), sizes], 1).astype(np.float32)
    difficult = np.arange(12) == 3
    sample = Sample(picture(tmp_path / "a.png", 40, 30), 40, 30, boxes, np.arange(12) % 2, difficult=difficult)
    write([Dataset(tmp_path, "x", "train", ("cat", "dog"), (sample,))], tmp_path / "voc", "voc")
    return tmp_path / "voc"


def test_check_prints_and_draws(onelook: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = onelook("data", "check", folder, "-o", tmp_path / "sheets")
    assert code == 0
    assert "voc, 2 classes" in out
    assert "no problems found" in out
    assert cv2.imread(str(tmp_path / "sheets/train.png")).shape == (400, 400, 3)


def test_check_exits_with_1_where_something_is_wrong(onelook: Run, folder: Path) -> None:
    (folder / "JPEGImages/a.png").unlink()
    code, out, _ = onelook("data", "check", folder)
    assert code == 1
    assert "missing picture: 1\n  JPEGImages/a.jpg: No such file" in out
    code, out, _ = onelook("data", "check", folder, "--json")
    facts = json.loads(out)
    assert (code, facts["format"], facts["splits"][0]["objects"]) == (1, "voc", 12)
    assert facts["problems"][0]["kind"] == "missing picture"


def test_what_cannot_be_read_is_one_line(onelook: Run, tmp_path: Path) -> None:
    for arguments in (
        ("data", "check", tmp_path),
        ("anchors", tmp_path / "x"),
        ("data", "convert", tmp_path, "x", "--to", "voc"),
    ):
        code, out, err = onelook(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("error: ")


def test_convert_says_what_is_lost(onelook: Run, folder: Path, tmp_path: Path) -> None:
    code, out, err = onelook("data", "convert", folder, tmp_path / "yolo", "--to", "yolo")
    assert (code, out, err) == (
        0,
        f"{tmp_path / 'yolo'}\n",
        "note: yolo has no 'difficult': 1 such objects are left out\n",
    )
    assert (tmp_path / "yolo/images/train/a.png").is_file()


def test_anchors(onelook: Run, folder: Path) -> None:
    code, out, _ = onelook("anchors", folder, "--count", 3)
    assert code == 0
    assert out.startswith("anchors = ")
    code, out, _ = onelook("anchors", folder, "--count", 3, "--json")
    facts = json.loads(out)
    assert (len(facts["anchors"]), facts["mean_iou"] > 0.5) == (3, True)
    assert onelook("anchors", folder, "--count", 30)[0] == 2
