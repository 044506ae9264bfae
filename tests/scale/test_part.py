"""A part of a job in one process, with a detector that fails in every way there is."""

import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from onelook.errors import Error, ModelError, SourceError
from onelook.runtime.detections import Detections
from onelook.runtime.sources import Picture

pytest.importorskip("pyarrow")

from pyarrow import parquet

from onelook.scale.folder import Folder
from onelook.scale.job import part_name
from onelook.scale.part import DEATHS, TRIES, Part, do_part
from onelook.scale.table import SCHEMA

OnError = Callable[[SourceError], None]


class Death(BaseException):
    """Ends everything where it is raised, as the end of the process would."""


class Fake:
    """A detector of one object as large as the picture; `harm` is called with each name first."""

    def __init__(self, harm: Callable[[str], object] = lambda name: None):
        self.harm = harm
        self.seen: list[str] = []

    def __call__(self, queue: Iterator[Picture], on_error: OnError) -> Generator[Detections]:
        for picture in queue:
            name = Path(picture.name).name
            self.seen.append(name)
            self.harm(name)
            try:
                height, width, _ = picture.load().shape
            except SourceError as error:
                on_error(error)
                continue
            box = np.array([[0, 0, width, height]], np.float32)
            yield Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64), ("cat",), width, height, picture.name)


@pytest.fixture
def pictures(tmp_path: Path) -> list[tuple[Folder, str]]:
    folder = Folder.open(str(tmp_path / "pictures"))
    Path(folder.path).mkdir()
    for i in range(5):
        cv2.imwrite(f"{folder.path}/{i}.png", np.zeros((10 + i, 20, 3), np.uint8))
    return [(folder, path) for path in folder.pictures()]


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    return Folder.open(str(tmp_path / "results"))


def rows(output: Folder, number: int = 7) -> list[dict[str, object]]:
    table = parquet.ParquetFile(f"{output.path}/{part_name(number)}").read()
    assert table.schema.equals(SCHEMA)
    found: list[dict[str, object]] = table.to_pylist()
    return found


def sources(found: list[dict[str, object]]) -> list[str]:
    return [Path(str(row["source"])).name for row in found]


def kill(*names: str) -> Callable[[str], None]:
    def harm(name: str) -> None:
        if name in names:
            raise Death

    return harm


def finish(pictures: list[tuple[Folder, str]], fake: Fake, output: Folder) -> tuple[Part, int]:
    """Begins the part until it is done, as Ray does; gives how many processes that took."""
    for process in range(1, 100):
        try:
            return do_part(7, pictures, fake, output, "job"), process
        except (Death, RuntimeError):
            assert not output.names("parts")
    raise AssertionError("it goes on for ever")


def test_each_picture_is_a_row_in_order_and_an_unreadable_one_says_why(
    pictures: list[tuple[Folder, str]], output: Folder
) -> None:
    Path(pictures[1][1]).write_bytes(b"no picture")
    Path(pictures[3][1]).unlink()
    assert do_part(7, pictures, Fake(), output, "job") == Part(7, 5, 2)
    found = rows(output)
    assert sources(found) == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert found[2] == {
        "source": pictures[2][1], "width": 20, "height": 12, "boxes": [[0, 0, 20, 12]], "scores": [1], "classes": [0],
        "names": ["cat"], "error": None,
    }  # fmt: skip
    assert found[3] == {**dict.fromkeys(found[2]), "source": pictures[3][1], "error": f"{pictures[3][1]}: no such file"}
    assert "not a picture" in str(found[1]["error"])
    assert [path.name for path in Path(output.path).rglob("*") if path.is_file()] == ["part-0000007.parquet"]


def test_a_part_that_is_there_is_not_done_again_unless_it_is_of_another_job_or_damaged(
    pictures: list[tuple[Folder, str]], output: Folder
) -> None:
    do_part(7, pictures, Fake(), output, "job")
    again = Fake()
    assert do_part(7, pictures, again, output, "job") == Part(7, 5, 0)
    assert not again.seen
    do_part(7, pictures, again, output, "other job")
    assert len(again.seen) == 5
    path = Path(output.path) / part_name(7)
    path.write_bytes(path.read_bytes()[:-20])
    do_part(7, pictures, again, output, "other job")
    assert len(again.seen) == 10
    assert len(rows(output)) == 5


def test_a_death_that_is_not_the_fault_of_a_picture_leaves_no_trace(
    pictures: list[tuple[Folder, str]], output: Folder
) -> None:
    deaths = iter([True, True, True, True])

    def harm(name: str) -> None:
        if name == "2.png" and next(deaths, False):
            raise Death

    part, processes = finish(pictures, Fake(harm), output)
    assert part == Part(7, 5, 0)
    assert processes == 5
    assert sources(rows(output)) == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert not output.names("tries")


def test_pictures_that_kill_the_process_become_failures_and_the_others_are_found(
    pictures: list[tuple[Folder, str]], output: Folder
) -> None:
    part, processes = finish(pictures, Fake(kill("1.png", "3.png")), output)
    assert part == Part(7, 5, 2)
    assert processes == TRIES + 2 * DEATHS + 1
    found = rows(output)
    assert sources(found) == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert [row["error"] is not None for row in found] == [False, True, False, True, False]
    assert "the process ended or hung" in str(found[1]["error"])


def test_a_note_of_tries_that_was_cut_short_does_not_stop_the_part(
    pictures: list[tuple[Folder, str]], output: Folder
) -> None:
    output.write("tries/part-0000007.json", b'{"tries": ')
    assert do_part(7, pictures, Fake(), output, "job") == Part(7, 5, 0)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("no room"), "{}: MemoryError no room"),
        (Error("2.png: the model gave boxes that are not numbers"), "2.png: the model gave boxes that are not numbers"),
        (ModelError("m.onnx: ONNX Runtime cannot run it"), "m.onnx: ONNX Runtime cannot run it"),
    ],
)
def test_an_exception_is_the_failure_of_its_picture_if_another_process_has_it_too(
    error: Exception, told: str, pictures: list[tuple[Folder, str]], output: Folder
) -> None:
    def harm(name: str) -> None:
        if name == "2.png":
            raise error

    assert finish(pictures, Fake(harm), output) == (Part(7, 5, 1), DEATHS + 1)
    assert rows(output)[2]["error"] == told.format(pictures[2][1])


def test_a_process_that_is_being_ended_makes_no_failures(pictures: list[tuple[Folder, str]], output: Folder) -> None:
    def harm(name: str) -> None:
        raise ValueError("cannot schedule new futures after shutdown")

    with pytest.raises(RuntimeError, match="after shutdown"):
        do_part(7, pictures, Fake(harm), output, "job")
    assert finish(pictures, Fake(), output) == (Part(7, 5, 0), 1)


HANG = """
import ctypes, sys
from onelook.scale.folder import Folder
from onelook.scale.part import do_part

def detect(queue, on_error):
    for picture in queue:
        ctypes.PyDLL(None).sleep(60)  # with Python's lock
        yield

pictures = Folder.open(sys.argv[1])
do_part(7, [(pictures, path) for path in pictures.pictures()], detect, Folder.open(sys.argv[2]), "job", patience=0.3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sleep is of the C library of Unix")
def test_a_library_that_hangs_ends_its_process(pictures: list[tuple[Folder, str]], output: Folder) -> None:
    command = [sys.executable, "-c", HANG, pictures[0][0].path, output.path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1, result.stderr
    assert "Timeout" in result.stderr
    assert output.names("tries") == ["part-0000007.json"]
