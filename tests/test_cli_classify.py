"""`onelook classify` as a user meets it, and what it has in common with `onelook detect`."""

import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from onelook import Classifier, loading
from onelook.cli import main
from onelook.runtime import terminal

Make = Callable[..., Path]
PROGRAM = (sys.executable, "-m", "onelook")


def onelook(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *map(os.fspath, (os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments))]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, timeout=120, check=False
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        squares = np.random.default_rng(i).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), squares.repeat(40, 0).repeat(40, 1))
    return folder


# What is printed.


def test_one_picture_gives_a_table_of_its_likeliest_classes_and_no_file(
    classifier_file: Make, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = onelook("classify", photos / "0.png", "--model", classifier_file(), folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    head, _, *rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert head == ["class", "probability"]
    expected = Classifier(classifier_file())(photos / "0.png").top()
    assert rows == [[label.name, f"{label.score:.3f}"] for label in expected]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]

    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("onelook.zoo.fetch", lambda name: (Path(name),))
    monkeypatch.setattr(loading, "convert", lambda *_: None)  # the file is put there by hand
    kept = loading.model_file("mobilenet_v2_1.0_224")  # what is taken where no model is named
    kept.parent.mkdir(parents=True)
    shutil.copy(classifier_file(), kept)
    again = onelook("classify", photos / "0.png", folder=tmp_path, ONELOOK_HOME=str(tmp_path / "home"))
    assert (again.returncode, again.stdout) == (0, result.stdout)


def test_a_folder_gives_a_line_for_each_picture_and_a_summary(
    classifier_file: Make, photos: Path, tmp_path: Path
) -> None:
    result = onelook("classify", photos, "--model", classifier_file(), "--top", "2", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    *lines, summary = result.stdout.splitlines()
    for i, line in enumerate(lines):
        top = Classifier(classifier_file())(photos / f"{i}.png").top(2)
        assert line == f"{photos / f'{i}.png'}: " + "; ".join(f"{label.score:.2f} {label.name}" for label in top)
    assert len(lines) == 4
    assert re.fullmatch(r"4 pictures, [0-9.]+ pictures/s", summary)


def test_json_goes_to_stdout_alone(classifier_file: Make, photos: Path, tmp_path: Path) -> None:
    (photos / "2.png").write_bytes(b"broken")
    words = ("--model", classifier_file(), "--json", "--top", "2", "--save", "csv,jpg", "-o", "out")
    result = onelook("classify", photos, *words, folder=tmp_path)
    assert result.returncode == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(row["source"]).name for row in rows] == ["0.png", "1.png", "3.png"]
    for row in rows:
        top = Classifier(classifier_file())(row["source"]).top(2)
        assert [(one["name"], one["class"]) for one in row["classes"]] == [(one.name, one.class_id) for one in top]
    assert result.stderr.splitlines()[-1] == "1 of 4 pictures could not be read"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.jpg", "1.jpg", "3.jpg", "results.csv"]


def test_a_folder_with_a_broken_picture_does_the_others_into_every_format_and_exits_with_1(
    classifier_file: Make, photos: Path, tmp_path: Path
) -> None:
    (photos / "2.png").write_bytes(b"\x89PNG broken")
    (photos / "sub").mkdir()
    shutil.copy(photos / "0.png", photos / "sub" / "=0.png")
    words = ("--model", classifier_file(), "--save", "jpg,json,csv", "-o", "out", "--batch", "3", "--threads", "1")
    result = onelook("classify", photos, *words, folder=tmp_path)
    assert result.returncode == 1
    error, summary = result.stderr.splitlines()
    assert error.startswith(f"error: {photos / '2.png'}: ")
    assert summary == "1 of 5 pictures could not be read"
    assert result.stdout.splitlines()[-1] == "6 files in out"
    out = tmp_path / "out"
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == ["0.jpg", "1.jpg", "3.jpg", "results.csv", "results.json", "sub/=0.jpg"]
    images = json.loads((out / "results.json").read_text())["images"]
    assert [Path(image["source"]).name for image in images] == ["0.png", "1.png", "3.png", "=0.png"]
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"] * 4
    assert {row["name"] for row in rows} == {"cat", "dog", "bird", "'=1+1"}
    plain = cv2.imread(str(photos / "0.png")).astype(int)
    drawn = cv2.imread(str(out / "0.jpg"))
    assert np.abs(drawn[:60, :60] - plain[:60, :60]).mean() > 10 * np.abs(drawn[120:] - plain[120:]).mean()


def test_all_broken_exits_with_2_and_no_file_is_named_that_is_not_there(
    classifier_file: Make, model_file: Make, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for i in range(2):
        (broken / f"{i}.png").write_bytes(b"broken")
    for verb, model in (("classify", classifier_file()), ("detect", model_file("v3"))):
        result = onelook(verb, broken, "--model", model, "--save", "json", folder=tmp_path)
        assert result.returncode == 2
        assert result.stderr.splitlines()[-1] == "2 of 2 pictures could not be read"
        assert len(result.stderr.splitlines()) == 3
        assert [line for line in result.stdout.splitlines() if not (tmp_path / line).exists()] == []
    empty = tmp_path / "empty"
    empty.mkdir()
    result = onelook("classify", empty, "--model", classifier_file(), folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {empty}: no pictures or videos in this folder\n"


def test_a_video_gives_numbered_frames_and_an_annotated_video(classifier_file: Make, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (320, 240))
    for i in range(6):
        writer.write(np.random.default_rng(i).integers(0, 256, (240, 320, 3), np.uint8))
    writer.release()
    words = ("--model", classifier_file(), "--save", "jpg,csv", "-o", "out", "--engine", "onnxruntime")
    result = onelook("classify", "clip.avi", *words, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split(":")[0] for line in result.stdout.splitlines()[:6]] == [f"clip.avi frame {i}" for i in range(6)]
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == [str(i) for i in range(6) for _ in range(4)]
    assert int(cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == 6


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.jpg", "--model", "{model}"), "gone.jpg: no such file or folder"),
        (("--model", "{model}"), "Missing argument"),
        (("{photos}", "--model", "{detector}"), "is a model to detect, not to classify; use 'onelook detect'"),
        (("{photos}", "--model", "gone.onnx"), "gone.onnx: there is no such model file"),
        (("{photos}", "--model", "mobilenet"), "no model named 'mobilenet'"),
        (("{photos}", "--model", "{model}", "--top", "0"), "'--top': 0 is not in the range"),
        (
            ("{photos}", "--model", "{model}", "--save", "jpg,coco"),
            "cannot save as 'coco'; the formats are json, csv, jpg",
        ),
        (("{photos}", "--model", "{model}", "--save", "yolo"), "cannot save as 'yolo'"),
        (("{photos}", "--model", "{model}", "--batch", "0"), "batch must be 1 or more"),
        (("{photos}", "--model", "{model}", "--threads", "-1"), "threads must be 1 or more"),
        (("{photos}", "--model", "{wrong}"), "gives probabilities of shape (1, 4); its metadata names 1 classes"),
    ],
)
def test_mistakes_are_told_in_one_line_and_exit_with_2(
    classifier_file: Make,
    model_file: Make,
    photos: Path,
    arguments: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {"model": classifier_file(), "wrong": classifier_file(names='["cat"]'), "detector": model_file("v3")}
    words = [word.format(photos=photos, **files) for word in arguments]
    monkeypatch.chdir(photos.parent)
    monkeypatch.setattr(terminal, "silence_native_stderr", lambda: None)  # of this process it would be the tests'
    monkeypatch.setattr(sys, "argv", ["onelook", "classify", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    stdout, stderr = capsys.readouterr()
    assert (stop.value.code, stdout) == (2, "")
    last = stderr.strip().splitlines()[-1]
    assert message in last
    assert last.lower().startswith("error: ")
    assert len(stderr.splitlines()) == (1 if last.startswith("e") else 4)  # click's say how the verb is used
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


# Terminals, names, Ctrl-C.


def on_terminal(*arguments: object, folder: Path, stdout_too: bool = False) -> tuple[int, str, str]:
    """Exit code, stdout, and what came to a terminal that is stderr (and stdout)."""
    master, terminal = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while data := os.read(master, 1 << 16):
                shown.extend(data)
        except OSError:  # EIO: the last writer has closed it
            pass

    output = terminal if stdout_too else subprocess.PIPE
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "400"}
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdout=output, stderr=terminal, cwd=folder, env=environment
    )
    os.close(terminal)
    reader = threading.Thread(target=read)
    reader.start()
    stdout = process.communicate(timeout=120)[0]
    reader.join()
    os.close(master)
    return process.returncode, (stdout or b"").decode(), shown.decode()


@pytest.mark.parametrize("verb", ["classify", "detect"])
def test_json_arrives_on_stdout_though_progress_is_drawn_on_a_terminal(
    verb: str, classifier_file: Make, model_file: Make, photos: Path, tmp_path: Path
) -> None:
    model = classifier_file() if verb == "classify" else model_file("v3")
    words = (verb, "photos", "--model", model, "--json", "--save", "none")
    code, stdout, terminal = on_terminal(*words, folder=tmp_path)
    assert code == 0
    assert [json.loads(line)["source"] for line in stdout.splitlines()] == [f"photos/{i}.png" for i in range(4)]
    assert "4/4" in terminal
    assert "source" not in terminal
    code, stdout, terminal = on_terminal(*words, folder=tmp_path, stdout_too=True)
    assert (code, stdout) == (0, "")
    rows = [json.loads(line) for line in terminal.splitlines()]  # no bar comes between them
    assert [row["source"] for row in rows] == [f"photos/{i}.png" for i in range(4)]


@pytest.mark.parametrize("verb", ["classify", "detect"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # of most locales, and of C.UTF-8
def test_names_that_are_not_utf8_come_out_as_valid_json(
    verb: str, errors: str, classifier_file: Make, model_file: Make, photos: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for i, name in enumerate((b"caf\xe9.png", b"\xe7\x8b\x97.png")):
        shutil.copy(photos / f"{i}.png", os.fsencode(odd) + b"/" + name)
    model = classifier_file() if verb == "classify" else model_file("v3")
    command = [*PROGRAM, verb, "odd", "--model", str(model), "--json", "--save", "none"]
    environment = {**os.environ, "PYTHONIOENCODING": f"utf-8:{errors}"}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    sources = [json.loads(line)["source"] for line in result.stdout.decode("utf-8").splitlines()]
    assert sources == ["odd/caf\udce9.png", "odd/狗.png"]


def test_every_picture_has_one_line_whatever_its_name(classifier_file: Make, photos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for name in (b"caf\xe9.png", b"a\nb.png", b"\x1b[2J.png", b"[red]x.png"):
        shutil.copy(photos / "0.png", os.fsencode(odd) + b"/" + name)
    words = ("classify", "odd", "--model", classifier_file(), "--top", "1", "--save", "jpg,json,csv", "-o", "out")
    result = onelook(*words, folder=tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert (result.returncode, result.stderr) == (0, "")
    *lines, summary, files = result.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("odd/[red]x.png: ") for line in lines)
    assert summary.startswith("4 pictures, ")
    assert files == "6 files in out"
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_ctrl_c_leaves_whole_files_of_what_was_done(classifier_file: Make, photos: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    shutil.copy(photos / "0.png", many / "00000.png")
    for i in range(1, 20_000):
        os.link(many / "00000.png", many / f"{i:05}.png")
    command = [*PROGRAM, "classify", "many", "--model", str(classifier_file()), "--save", "json,csv,jpg", "-o", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    out = tmp_path / "out"
    images = json.loads((out / "results.json").read_text())["images"]
    done = len(images)
    assert 20 <= done < 20_000
    assert stderr == f"interrupted; the files hold the {done} pictures done until then\n"
    assert f"{done} pictures, " in stdout
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 4 * done
    assert sorted(path.stem for path in out.glob("*.jpg")) == [f"{i:05}" for i in range(done)]
    assert {path.suffix for path in out.iterdir()} == {".json", ".csv", ".jpg"}
