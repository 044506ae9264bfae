"""Plots of every kind of result can be drawn, and are the same file for the same figures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from labelled import pictures
from onelook.errors import Error
from onelook.metrics import confusion, curves
from onelook.metrics.matching import outcome
from onelook.metrics.table import tables

pytest.importorskip("matplotlib")
from onelook.metrics import plots


@pytest.mark.parametrize("classes", [plots.NAMED, 40])
def test_few_and_many_classes(classes: int, tmp_path: Path) -> None:
    truths, finds = tables(*pictures(4, 30, classes, difficult=True), classes)
    together, of_class = curves(truths, finds, outcome(truths, finds), classes)
    names = [f"class {i} of a name that is longer than any line" for i in range(classes)]
    matrix = confusion(truths, finds, classes, 0.3)
    for draw in (
        lambda: plots.precision_recall(together, of_class, names),
        lambda: plots.f1_threshold(together, of_class, names),
        lambda: plots.confusion_matrix(matrix, [*names, "background"], [*names, "missed"]),
    ):
        png, pdf = plots.save(draw(), tmp_path / "figure")
        image = cv2.imread(str(png))
        assert image is not None
        assert image.std() > 5
        assert pdf.read_bytes().startswith(b"%PDF")
        first = png.read_bytes(), pdf.read_bytes()
        plots.save(draw(), tmp_path / "figure")
        assert (png.read_bytes(), pdf.read_bytes()) == first


def test_nothing_found_and_nothing_to_find(tmp_path: Path) -> None:
    samples, _ = pictures(4, 3, 2)
    nothing = [(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))] * 3
    for labels, found in ((samples, nothing), ([], [])):
        truths, finds = tables(labels, found, 2)
        together, of_class = curves(truths, finds, outcome(truths, finds), 2)
        plots.save(plots.precision_recall(together, of_class, ["cat", "dog"]), tmp_path / "a")
        plots.save(plots.f1_threshold(together, of_class, ["cat", "dog"]), tmp_path / "b")
        rows = ["cat", "dog", "background"]
        plots.save(plots.confusion_matrix(confusion(truths, finds, 2, 0.5), rows, rows), tmp_path / "c")


def test_of_a_thousand_classes_those_with_most_mistakes_are_shown() -> None:
    table = np.diag(np.full(1000, 9))
    table[7, 900] = 5
    figure = plots.confusion_matrix(table, [str(i) for i in range(1000)], [str(i) for i in range(1000)])
    (axes,) = figure.axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == plots.MOST_CLASSES
    assert {"7", "900"} <= set(shown)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Error, match="cannot be written"):
        plots.save(plots.confusion_matrix(np.eye(2, dtype=int), "ab", "ab"), tmp_path / "file/x")


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    names = ["$_$", "US$ or A$", "\ud83d", "a\nb"]
    plots.save(plots.confusion_matrix(np.eye(4, dtype=int), names, names), tmp_path / "x")
