"""A clock that is set back: durations and deadlines are of a clock that nobody sets."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import onelook

SOURCES = Path(onelook.__file__).parent


def test_no_module_asks_what_time_of_day_it_is() -> None:
    asked = re.compile(r"\btime\.(time|time_ns|ctime|localtime|gmtime)\(|\b(datetime|date)\.(now|utcnow|today)\(")
    found = [
        f"{path.relative_to(SOURCES)}:{number}"
        for path in SOURCES.rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if asked.search(line)
    ]
    assert not found


def test_a_video_has_the_times_of_its_frames_while_the_clock_runs_backwards(
    model_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(4):
        video.write(np.full((48, 64, 3), 60 * i, np.uint8))
    video.release()
    now = [2e9]

    def earlier() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", earlier)
    found = list(onelook.load(model_file("v3")).stream(path))
    assert [one.time for one in found] == pytest.approx([0, 0.1, 0.2, 0.3])
