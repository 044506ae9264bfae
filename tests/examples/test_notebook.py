"""The notebook that goes from a classifier to masks: that it runs and finds the coins, and what was committed of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "from_classifier_to_masks.ipynb"
TIMEOUT = 900  # seconds a cell
ABSOLUTE = re.compile(r"""(?:^|[\s'"=(\[,:])(?:/[\w.-]+/|~/|[A-Za-z]:\\|file://)""", re.MULTILINE)
ROW = re.compile(r"^(\S.*?) +(\d+) +(\d+) +(\d+) +(\d+\.\d+)$", re.MULTILINE)  # of the table at the end


class Step(NamedTuple):
    """A row of that table."""

    right: int
    wrong: int
    runs: int


def outputs(cells: list[Any]) -> Iterator[dict[str, Any]]:
    for cell in cells:
        yield from cell.get("outputs", ())


def texts(cells: list[Any]) -> Iterator[str]:
    """All that was printed or shown, but for pictures."""
    for output in outputs(cells):
        found = output.get("data", {"text/plain": output.get("text", "")})
        for kind, content in found.items():
            if not kind.startswith("image/"):
                yield "".join(content)


def table(cells: list[Any]) -> dict[str, Step]:
    (*_, last) = texts(cells)
    return {name: Step(int(right), int(wrong), int(runs)) for name, right, wrong, runs, _ in ROW.findall(last)}


def check(steps: dict[str, Step]) -> None:
    assert list(steps) == ["sliding windows", "R-CNN", "YOLO", "Mask R-CNN"]
    windows, rcnn, yolo, masks = steps.values()
    assert windows.runs > 3 * rcnn.runs > 300
    assert yolo.runs == masks.runs == 1
    assert min(windows.right, rcnn.right) >= 16
    assert min(yolo.right, masks.right) >= 20
    assert max(step.wrong for step in steps.values()) <= 12


@pytest.fixture(scope="module")
def committed() -> list[Any]:
    cells: list[Any] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return cells


def test_it_runs_in_an_empty_folder_and_every_step_finds_the_coins(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert not [output for output in outputs(notebook.cells) if output.get("name") == "stderr"]
    check(table(notebook.cells))
    assert not list(tmp_path.iterdir())  # what it makes is in a temporary folder


def test_what_was_committed_of_it_is_a_whole_run(committed: list[Any]) -> None:
    code = [cell for cell in committed if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    check(table(committed))


def test_no_output_names_a_place_on_the_machine_that_it_ran_on(committed: list[Any]) -> None:
    assert ABSOLUTE.search("Saved in '/tmp/a/b.png'")
    assert ABSOLUTE.search(r"C:\Users\somebody")
    assert not ABSOLUTE.search("annotations/train.json, 3/4, a / b")
    assert not [text for text in texts(committed) if ABSOLUTE.search(text)]
    assert not [output for output in outputs(committed) if output.get("name") == "stderr"]


def test_its_pictures_are_small(committed: list[Any]) -> None:
    pictures = [
        "".join(content)
        for output in outputs(committed)
        for kind, content in output.get("data", {}).items()
        if kind.startswith("image/")
    ]
    assert len(pictures) >= 6
    assert max(map(len, pictures)) < 150_000 * 4 / 3  # base64
    assert NOTEBOOK.stat().st_size < 1_000_000
