"""`onelook train` as a user meets it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onelook import checkpoint
from onelook.backbones import create
from onelook.checkpoint import Checkpoint
from onelook.cli import main
from onelook.runtime import terminal
from onelook.training.run import read_progress
from rectangles import classification, detection

Run = Callable[..., tuple[int, str, str]]
TINY = "--model yolo_v3 --backbone mobilenet_v1 --alpha 0.25 --size 64 --batch 4 --workers 2 --device cpu".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detection(tmp_path_factory.mktemp("cli") / "shapes")


@pytest.fixture
def onelook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`onelook train` in this process, as to import torch takes seconds: exit code, stdout, stderr."""
    monkeypatch.setattr(terminal, "silence_native_stderr", lambda: None)  # of this process it would be the tests'
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["onelook", "train", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        stdout, stderr = capsys.readouterr()
        return int(stop.value.code or 0), stdout, stderr

    return run


def complaint(run: Run, *arguments: object) -> str:
    """What is said of nonsense: exit code 2, and one line on stderr alone, after notes on the dataset."""
    code, stdout, stderr = run(*arguments)
    assert (code, stdout) == (2, "")
    *notes, last = stderr.splitlines()
    assert all(note.startswith("note: ") for note in notes), stderr
    assert last.startswith("error: ")
    assert last.isprintable()
    return last.removeprefix("error: ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--model yolo_v4", "no detector named 'yolo_v4'"),
        ("--backbone mobilenet", "no architecture named 'mobilenet'"),
        ("--backbone darknet53", "darknet53 takes no 'alpha'"),
        ("--model mobilenet_v1", "mobilenet_v1 is a classifier; a backbone and a loss's switches are for detectors"),
        ("--alpha 2", "alpha, the width multiplier, must be above 0 and at most 1; found 2.0"),
        ("--optimizer lion", "optimizer must be one of sgd, adamw; found 'lion'"),
        ("--precision int8", "precision must be one of float32, bfloat16, float16; found 'int8'"),
        ("--size 100", "size must be a multiple of 32, from 32 to 8192; found 100 x 100"),
        ("--size 0", "size must be from 32 to 8192 pixels a side; found 0 x 0"),
        ("--model yolo_v1 --size 96", "size of YOLOv1 must be square, of a multiple of 64; found 96 x 96"),
        ("--batch 0", "batch must be 1 or more; found 0"),
        ("--epochs -1", "epochs must be 1 or more; found -1"),
        ("--accumulate 0", "accumulate must be 1 or more; found 0"),
        ("--learning-rate 0", "learning_rate must be above 0; found 0.0"),
        ("--learning-rate nan", "learning_rate must be above 0; found nan"),
        ("--learning-rate inf", "learning_rate must be above 0; found inf"),
        ("--multi-scale 1", "multi_scale must be from 0 to 0.9; found 1.0"),
        ("--mosaic 2", "mosaic must be from 0 to 1; found 2.0"),
        ("--mosaic nan", "mosaic must be from 0 to 1; found nan"),
        ("--patience -1", "patience must be 0 or more; found -1"),
        ("--workers -1", "workers must be 0 or more; found -1"),
        ("--seed -1", "seed must be 0 or more; found -1"),
        ("--box-loss round", "box of YoloV3Loss must be one of squared, iou, giou, diou, ciou; found 'round'"),
        ("--focal all", "focal of YoloV3Loss must be one of objectness, classes; found 'all'"),
        ("--gamma nan", "gamma of YoloV3Loss must be 0 or more; found nan"),
        ("--model yolo_v2 --focal classes", "YoloV2Loss has no switch 'focal'"),
        ("--option width", "expected an option as NAME=VALUE; found 'width'"),
        ("--option =64", "expected an option as NAME=VALUE; found '=64'"),
        ("--option levels=4", "yolo_v3 takes no 'levels'; it takes "),
        ("--option width=wide", "width of yolo_v3 must be from 4 to 65536; found 'wide'"),
        ("--option width=" + "[" * 10_000, "width of yolo_v3 must be from 4 to 65536; found '[["),
        ("--option classes=4", "classes is no option to choose: it comes of the dataset"),
        ("--model localizer --multi-scale 0.9", "multi_scale 0.9 is too much: this localizer takes one size of input"),
        ("--model retinanet --focal-alpha 3", "alpha of RetinaNetLoss must be 0 to 1; found 3.0"),
        ("--model yolo_v1 --paper --mosaic 0.1", "the paper of yolo_v1 has its own augmentation; leave yours out"),
        ("--split none", "has no split 'none'; it has train, val"),
        ("--device nonsense", "device 'nonsense' cannot be used: "),
        ("--weights gone.safetensors", "gone.safetensors: there is no such file"),
        ("--weights x.onnx", "x.onnx: expected a .tflite or .safetensors file, or two files"),
        (
            "--weights a --weights b --weights c",
            "expected one file of weights, or a .cfg and its .weights; found 3 files",
        ),
        ("--weights a.cfg --weights b.weights", "a.cfg: "),
        ("--output file", "cannot write "),
        ("--resume run", "expected either DATA to train on, or --resume RUN"),
    ],
)
def test_nonsense_is_said_in_one_line(data: Path, onelook: Run, tmp_path: Path, options: str, expected: str) -> None:
    (tmp_path / "file").touch()
    assert expected in complaint(onelook, data, *TINY, "--epochs", 1, *options.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_dataset_that_is_none_is_said_in_one_line(onelook: Run, tmp_path: Path) -> None:
    assert complaint(onelook) == "expected either DATA to train on, or --resume RUN"
    assert complaint(onelook, "gone") == "gone: no such file or folder"
    (tmp_path / "empty").mkdir()
    assert complaint(onelook, "empty").startswith("empty: no dataset of a known format in it")
    classes = classification(tmp_path / "classes", 1, 1)
    assert "has no boxes in the split 'train' to train a detector on" in complaint(onelook, classes)
    boxes = detection(tmp_path / "boxes", train=2, val=1)
    assert "has no class; mobilenet_v1 is a classifier" in complaint(onelook, boxes, "--model", "mobilenet_v1")
    for path in (boxes / "images" / "train").iterdir():
        path.unlink()
    complaint(onelook, boxes)
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_resumed_is_said_in_one_line(onelook: Run, tmp_path: Path) -> None:
    assert "there is no such file; expected the folder of a run" in complaint(onelook, "--resume", "gone")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.safetensors").write_bytes(b"no state")
    expected = "run/last.safetensors: is not the state of a training run: "
    assert complaint(onelook, "--resume", "run").startswith(expected)
    assert complaint(onelook, "--resume", "run", "--device", "gpu").startswith("device 'gpu' cannot be used: ")
    for option in ("--epochs=9", "--learning-rate=1", "--model=ssd", "--paper", "--option=width=9", "-o=x"):
        name = {"-o=x": "--output"}.get(option, option.split("=")[0])
        assert complaint(onelook, "--resume", "run", option) == (
            f"--resume goes on as the run was begun: leave out {name}, or begin another"
        )


def test_a_folder_that_holds_a_run_is_said_in_one_line(data: Path, onelook: Run, tmp_path: Path) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"a state")
    expected = f"{tmp_path}: holds a run already; go on with it by --resume, or choose another folder"
    assert complaint(onelook, data, *TINY, "-o", tmp_path) == expected


def test_weights_of_another_network_are_said_in_one_line(data: Path, onelook: Run, tmp_path: Path) -> None:
    network, options = create("mobilenet_v2", classes=2, alpha=0.35), {"classes": 2, "alpha": 0.35}
    found = Checkpoint(network, "mobilenet_v2", options, None, (64, 64), network.mean, network.std, 0.875)
    path = checkpoint.save(found, tmp_path / "x.safetensors")
    text = complaint(onelook, data, *TINY, "--weights", path)
    assert text == f"{path}: has the weights of mobilenet_v2, which is not the backbone that is trained"


def test_options_that_do_not_exist_are_said_by_name(data: Path, onelook: Run) -> None:
    for options in (("--zoom", 1), ("--epochs", "many"), ("--batch",)):
        code, stdout, stderr = onelook(data, *options)
        assert (code, stdout) == (2, "")
        assert str(options[0]) in stderr
        assert "Traceback" not in stderr


def test_interrupted_a_run_says_how_to_go_on_and_then_prints_its_model_file_alone(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onelook", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begin = [*command, str(data), *TINY, "--epochs", "12", "-o", "run"]
    with subprocess.Popen(
        begin, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        while not (tmp_path / "run" / "last.safetensors").exists() and run.poll() is None:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout) == (130, ""), stderr
    *lines, last = stderr.splitlines()
    assert last == "interrupted; go on with: onelook train --resume run"
    assert all(line.startswith("epoch ") for line in lines)
    assert 0 <= read_progress(tmp_path / "run" / "last.safetensors")["epoch"] < 12

    resume = [*command, "--resume", "run", "--device", "cpu"]
    done = subprocess.run(
        resume, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert (done.returncode, done.stdout) == (0, "run/best.onnx\n"), done.stderr
    assert done.stderr.splitlines()[-1].startswith("epoch 12/12  ")
    assert "Traceback" not in done.stderr
    assert len(read_progress(tmp_path / "run" / "last.safetensors")["history"]) == 12
    assert (tmp_path / "run" / "best.onnx").exists()
