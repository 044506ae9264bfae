"""A program that is told to end: what it was doing is finished, and its files are whole."""

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


def test_sigterm_leaves_whole_files_of_what_was_done(model_file: Callable[..., Path], tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    cv2.imwrite(str(many / "00000.png"), np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8))
    for i in range(1, 20_000):
        os.link(many / "00000.png", many / f"{i:05}.png")
    command = [sys.executable, "-m", "onelook", "detect", str(many), "--model", str(model_file("v3"))]
    process = subprocess.Popen(
        [*command, "--save", "json,coco,csv,yolo", "-o", "out"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    labels = tmp_path / "out" / "labels"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (labels.is_dir() and len(list(labels.glob("*.txt"))) > 20):
        time.sleep(0.05)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.startswith("interrupted; the files hold the ")
    images = json.loads((tmp_path / "out/results.json").read_text())["images"]
    assert 20 < len(images) < 20_000
    assert len(list(labels.glob("*.txt"))) == len(images)
    rows = sum(len(image["detections"]) for image in images)
    assert len(json.loads((tmp_path / "out/coco.json").read_text())) == rows
    assert len((tmp_path / "out/results.csv").read_text().splitlines()) == 1 + rows
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]


def test_a_second_signal_is_what_it_would_be_without_the_first() -> None:
    program = """
import os, signal
from onelook.cli.show import stoppable
before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
for number in (signal.SIGINT, signal.SIGTERM):
    with stoppable() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
with stoppable():
    pass
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == -signal.SIGTERM
