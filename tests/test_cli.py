"""The command line as a user meets it: what it prints where, what it writes, how it exits."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from onelook import __version__

Make = Callable[..., Path]
Files = Callable[[str], tuple[Path, Path]]


def onelook(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onelook", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120, check=False
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        image = np.random.default_rng(i).integers(0, 256, (48, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder


def test_one_picture_gives_a_table_and_a_picture(model_file: Make, photos: Path, tmp_path: Path) -> None:
    result = onelook("detect", photos / "0.png", "--model", model_file("v3"), folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.split("\n")
    assert lines[1].split()[:2] == ["class", "score"]
    assert any(line.split()[:1] in (["cat"], ["dog"], ["bird"]) for line in lines)
    assert lines[-2] == "runs/detect-1/0.jpg"
    assert cv2.imread(str(tmp_path / "runs/detect-1/0.jpg")).shape == (48, 80, 3)
    again = onelook("detect", photos / "0.png", "--model", model_file("v3"), folder=tmp_path)
    assert "runs/detect-2/0.jpg" in again.stdout


def test_folder_with_a_broken_picture_does_the_others_and_exits_with_1(
    model_file: Make, photos: Path, tmp_path: Path
) -> None:
    (photos / "2.png").write_bytes(b"\x89PNG broken")
    formats = "jpg,json,coco,yolo,csv"
    result = onelook("detect", photos, "--model", model_file("v3"), "--save", formats, "-o", "out", folder=tmp_path)
    assert result.returncode == 1
    assert "2.png" in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[-1] == "1 of 4 pictures could not be read"
    out = tmp_path / "out"
    assert sorted(path.name for path in out.glob("*.jpg")) == ["0.jpg", "1.jpg", "3.jpg"]
    images = json.loads((out / "results.json").read_text())["images"]
    assert [Path(image["source"]).name for image in images] == ["0.png", "1.png", "3.png"]
    objects = sum(len(image["detections"]) for image in images)
    assert objects == len(json.loads((out / "coco.json").read_text()))
    assert objects == len(list(csv.DictReader((out / "results.csv").read_text().splitlines())))
    assert objects == sum(len(path.read_text().splitlines()) for path in (out / "labels").iterdir())
    assert f"3 pictures, {objects} objects" in result.stdout


def test_json_goes_to_stdout_alone(model_file: Make, photos: Path, tmp_path: Path) -> None:
    result = onelook(
        "detect", photos, "--model", model_file("v3"), "--json", "--save", "none", "--classes", "cat", folder=tmp_path
    )
    assert (result.returncode, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == 4
    assert {one["name"] for row in rows for one in row["detections"]} == {"cat"}
    assert not (tmp_path / "runs").exists()


def test_video_gives_an_annotated_video_and_numbered_frames(model_file: Make, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (80, 48))
    for i in range(6):
        writer.write(np.random.default_rng(i).integers(0, 256, (48, 80, 3), np.uint8))
    writer.release()
    result = onelook("detect", clip, "--model", model_file("v3"), "--save", "jpg,json", "-o", "out", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    frames = json.loads((tmp_path / "out/results.json").read_text())["images"]
    assert [frame["frame"] for frame in frames] == list(range(6))
    assert [frame["time"] for frame in frames] == pytest.approx([i / 5 for i in range(6)], abs=0.01)
    video = cv2.VideoCapture(str(tmp_path / "out/clip.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("detect", "gone.jpg", "--model", "{model}"), "gone.jpg"),
        (("detect", "gone.jpg", "--model", "gone.onnx"), "gone.onnx: there is no such model file"),
        (("detect", "x.jpg", "--model", "yolov33"), "yolov33"),
        (("detect", "x.jpg", "--model", "net.cfg"), "a Darknet model is two files"),
        (("detect", "{photos}", "--model", "{model}", "--threshold", "2"), "score_threshold must be from 0 to 1"),
        (("detect", "{photos}", "--model", "{model}", "--save", "pdf"), "pdf"),
        (("detect", "{photos}", "--model", "{model}", "--classes", "cow"), "the model has no class 'cow'"),
        (("detect", "{photos}", "--model", "{model}", "--engine", "abacus"), "engine 'abacus' is unknown"),
        (("detect", "{photos}", "--model", "{model}", "--threads", "0"), "threads must be 1 or more"),
        (("detect", "{photos}", "--model", "{model}", "--batch", "0"), "batch must be 1 or more"),
        (("detect", "{photos}", "--model", "{model}", "--size", "96"), "takes pictures of 64x64 alone"),
        (
            ("detect", "{photos}", "--model", "{classifier}"),
            "is a model to classify, not to detect; use 'onelook classify'",
        ),
        (("info", "gone.onnx"), "there is no such model file"),
        (("convert", "gone.cfg", "gone.weights"), "gone.cfg: cannot be read"),
        (("detect",), "Missing argument"),
        (("dance",), "No such command"),
    ],
)
def test_mistakes_are_told_in_one_line_and_exit_with_2(
    model_file: Make, classifier_file: Make, photos: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    files = {"model": model_file("v3"), "classifier": classifier_file(), "photos": photos}
    words = [word.format(**files) for word in arguments]
    result = onelook(*words, folder=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    last = result.stderr.strip().splitlines()[-1]
    assert message in last
    assert last.lower().startswith("error: ")
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("runs/*"))


def test_convert_info_and_detect_work_together(darknet_files: Files, photos: Path, tmp_path: Path) -> None:
    cfg, weights = darknet_files("v2")
    names = tmp_path / "my.names"
    names.write_text("Katze\n狗\nптица\n", encoding="utf-8")
    result = onelook("convert", cfg, weights, "-o", "v2.onnx", "--names", names, "--threshold", "0.3", folder=tmp_path)
    assert (result.returncode, result.stdout) == (0, "v2.onnx\n"), result.stderr
    result = onelook("info", "v2.onnx", "--json", folder=tmp_path)
    facts = json.loads(result.stdout)
    assert facts["classes"] == ["Katze", "狗", "птица"]
    assert facts["score_threshold"] == 0.3
    assert facts["parameters"] > 1000
    assert facts["multiply_adds"] > 100_000
    assert facts["origin"]["weights"] == weights.name
    assert "Katze, 狗, птица" in onelook("info", "v2.onnx", folder=tmp_path, PYTHONIOENCODING="utf-8").stdout
    result = onelook("detect", photos, "--model", "v2.onnx", "--threads", "1", "--batch", "3", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_info_of_a_classifier_says_what_it_takes_and_no_thresholds(classifier_file: Make, tmp_path: Path) -> None:
    path = classifier_file(parameters="18436", multiply_adds="18432", origin='{"by": "me", "network": "linear"}')
    facts = json.loads(onelook("info", path, "--json", folder=tmp_path).stdout)
    assert (facts["task"], facts["classes"]) == ("classify", ["cat", "dog", "bird", "=1+1"])
    assert facts["input"] == {"width": 48, "height": 32, "dynamic_size": False, "batch": None}
    assert (facts["resize"], facts["crop"], facts["parameters"]) == ("crop", 0.875, 18436)
    assert facts["origin"] == {"by": "me", "network": "linear"}
    assert not {"score_threshold", "iou_threshold"} & set(facts)
    shown = onelook("info", path, folder=tmp_path).stdout
    assert "48 x 32, crop of 87.5%, any number of pictures a run" in shown
    assert "18,436" in shown
    assert "threshold" not in shown


def test_models_lists_the_zoo(tmp_path: Path) -> None:
    assert "yolov4-tiny" in onelook("models", folder=tmp_path).stdout
    rows = json.loads(onelook("models", "--json", folder=tmp_path).stdout)
    assert {"yolov3", "yolo-fastest-1.1-xl", "mobilenet_v2_1.0_224"} <= {row["name"] for row in rows["models"]}


def test_nothing_found_is_said(model_file: Make, photos: Path, tmp_path: Path) -> None:
    words = ("--model", model_file("v3"), "--threshold", "1", "--save", "none")
    one, all_four = (onelook("detect", source, *words, folder=tmp_path) for source in (photos / "0.png", photos))
    assert (one.returncode, one.stdout) == (0, "nothing found\n")
    assert all_four.stdout.startswith("nothing found\n4 pictures, 0 objects, ")


def test_version_and_help(tmp_path: Path) -> None:
    assert __version__ in onelook("--version", folder=tmp_path).stdout
    for verb in ("detect", "classify", "convert", "info", "models"):
        assert verb in onelook("--help", folder=tmp_path).stdout
        assert onelook(verb, "--help", folder=tmp_path).returncode == 0


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>&- >&-", 2)])
def test_a_stream_that_is_closed_is_no_traceback(
    closed: str, code: int, model_file: Make, photos: Path, tmp_path: Path
) -> None:
    source = photos if code == 0 else "gone.jpg"
    arguments = f"detect {source} --model {model_file('v3')} --save json -o out"
    command = f"{sys.executable} -m onelook {arguments} {closed}"
    result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == code
    assert result.stderr == ""
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())["images"]) == (0 if code else 4)


def test_ctrl_c_leaves_whole_files_of_what_was_done(model_file: Make, photos: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    data = (photos / "0.png").read_bytes()
    for i in range(20_000):
        os.link(photos / "0.png", many / f"{i:05}.png") if i else (many / "00000.png").write_bytes(data)
    command = [sys.executable, "-m", "onelook", "detect", str(many), "--model", str(model_file("v3"))]
    process = subprocess.Popen(
        [*command, "--save", "json,csv,yolo", "-o", "out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    labels = tmp_path / "out" / "labels"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (labels.is_dir() and len(list(labels.glob("*.txt"))) > 20):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.startswith("interrupted; the files hold the ")
    images = json.loads((tmp_path / "out/results.json").read_text())["images"]
    assert 20 < len(images) < 20_000
    assert len(list(labels.glob("*.txt"))) == len(images)
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {".json", ".csv", ".txt"}


def test_darknet_model_loaded_by_its_two_files_is_converted_once(
    darknet_files: Files, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onelook as library

    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path / "home"))
    detector = library.load(darknet_files("v3"), class_names=("a", "b", "c"))
    (file,) = (tmp_path / "home" / "converted").iterdir()
    before = file.stat().st_mtime_ns
    again = library.load(darknet_files("v3"), class_names=("a", "b", "c"))
    assert file.stat().st_mtime_ns == before
    assert again(photos / "0.png").names == detector(photos / "0.png").names
    assert detector.info.names == ("a", "b", "c")
