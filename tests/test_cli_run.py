"""What `detect`, `classify` and `segment` do with a stream of results, whoever makes it."""

import json
import signal
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest

from onelook.cli.run import Report, run
from onelook.errors import SourceError
from onelook.runtime.detections import Detections

OnError = Callable[[SourceError], None]


class Quiet(Report[Detections]):
    task = "detect"

    def show(self, found: Detections) -> None:
        pass

    def end(self) -> None:
        pass


def nothing(source: str, width: int = 8) -> Detections:
    return Detections(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        classes=np.zeros(0, np.int64),
        class_names=("cat",),
        width=width,
        height=6,
        source=source,
        image=np.zeros((6, width, 3), np.uint8),
    )


def sources_of(folder: Path) -> list[str]:
    return [image["source"] for image in json.loads((folder / "results.json").read_text())["images"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heeded_while_pictures_fail(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = []

    def stream(on_error: OnError) -> Generator[Detections]:
        try:
            yield nothing("a.png")
            for i in range(1000):
                if i == 3:  # as if it came: a real one would hit the libraries of other tests in this process too
                    signal.getsignal(number)(number, None)  # type: ignore[operator, misc]
                on_error(SourceError(f"{i}: does not answer"))
        finally:
            closed.append(True)

    before = signal.getsignal(number)
    assert run(stream, ["x"], None, ["json"], str(tmp_path), Quiet(None, False)) == 130
    assert closed == [True]
    assert signal.getsignal(number) == before
    assert sources_of(tmp_path) == ["a.png"]
    *errors, failed, last = capsys.readouterr().err.splitlines()
    assert errors == [f"error: {i}: does not answer" for i in range(4)]
    assert failed == "4 of 5 pictures could not be read"
    assert last == "interrupted; the files hold the 1 pictures done until then"


def test_a_picture_that_cannot_be_drawn_is_told_and_the_others_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stream(on_error: OnError) -> Generator[Detections]:
        yield from (nothing("a.png"), nothing("wide.png", width=70_000), nothing("b.png"))

    report = Quiet(3, True)
    assert run(stream, ["x"], 3, ["jpg", "json"], str(tmp_path), report) == 1
    assert sources_of(tmp_path) == ["a.png", "wide.png", "b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.jpg", "results.json"]
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == report.pictures == 3
    assert err == "error: wide.png: cannot be drawn: no JPEG can have 70000 × 6 pixels\n"
