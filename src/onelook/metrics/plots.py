"""Curves and matrices as one would print them in a paper: vector and pixels, no decoration, safe for colour blindness."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error
from onelook.metrics.coco import need
from onelook.metrics.curves import Curve
from onelook.runtime import atomic
from onelook.runtime.picture import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = tuple[Curve, str, str]  # what to draw, its name and its figure
Points = Callable[[Curve], tuple[NDArray[np.float64], NDArray[np.float64]]]
Sampled = Callable[[Curve], NDArray[np.float64]]  # the values at `GRID`

# Okabe and Ito, 2008: told apart with any kind of colour vision; black is kept for the whole.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
LINES = ("-", "--", ":")
NAMED = 12  # classes up to which each has a line that can be told apart
NUMBERED = 15  # classes up to which a matrix has numbers in its cells
MOST_POINTS = 2000  # of a line: more are not seen
MOST_CLASSES = 60  # of a matrix: more names cannot be read
GRID = np.linspace(0, 1, 501)
DPI = 200
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
}


def precision_recall(together: Curve, of_class: Sequence[Curve], names: Sequence[str]) -> "Figure":
    """The highest precision at each recall or beyond it, at IoU 0.5: the area under a line is its average precision."""

    def points(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.append(0 * curve.recall[:1], curve.recall), np.append(curve.envelope[:1], curve.envelope)

    def sampled(curve: Curve) -> NDArray[np.float64]:
        return np.append(curve.envelope, 0)[np.searchsorted(curve.recall, GRID)]

    with _style():
        figure, axes = _axes("recall", "precision")
        known = [(curve, name, _two(curve.ap)) for curve, name in zip(of_class, names, strict=True) if curve.objects]
        _lines(axes, (together, "all objects", _two(together.ap)), known, points, sampled)
    return figure


def f1_threshold(together: Curve, of_class: Sequence[Curve], names: Sequence[str]) -> "Figure":
    """F1 of what is left when detections of lower scores are dropped; a dot where it is greatest for all objects."""

    def points(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.append(1, curve.scores)[::-1], np.append(0, curve.f1)[::-1]

    def sampled(curve: Curve) -> NDArray[np.float64]:
        return np.append(0, curve.f1)[np.searchsorted(-curve.scores, -GRID, "right")]

    with _style():
        figure, axes = _axes("score threshold", "F1 at IoU 0.5")
        known = [
            (curve, name, _two(curve.best.f1)) for curve, name in zip(of_class, names, strict=True) if curve.objects
        ]
        best = together.best
        _lines(axes, (together, "all objects", f"{_two(best.f1)} at {best.threshold:.3f}"), known, points, sampled)
        if best.f1 > 0:
            axes.plot(best.threshold, best.f1, "o", color="black", markersize=5)
    return figure


def confusion_matrix(table: NDArray[np.int64], rows: Sequence[str], columns: Sequence[str]) -> "Figure":
    """Shares of each row, the darker the more; numbers of objects in the cells where there is room for them.

    Args:
        table: [R, M] how often what is of the row's class was found as the column's.
        rows: names of what there is.
        columns: names of what it was found as, in the order of the rows; there may be more.
    """
    own, other, table = _shown(table)
    share = table / table.sum(1, keepdims=True).clip(1)
    with_numbers = max(table.shape) <= NUMBERED
    cell, font = (0.42, 8) if with_numbers else (0.16, 6)
    with _style():
        from matplotlib.figure import Figure

        size = (max(3.2, 1.6 + cell * len(other)), max(2.8, 1.4 + cell * len(own)))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(other)), [_short(columns[j]) for j in other], rotation=90, fontsize=font)
        axes.set_yticks(range(len(own)), [_short(rows[i]) for i in own], fontsize=font)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="found as", ylabel="is")
        for i, j in zip(*np.nonzero(table), strict=True) if with_numbers else ():
            ink = "white" if share[i, j] > 0.55 else "black"
            axes.text(j, i, str(table[i, j]), ha="center", va="center", fontsize=7, color=ink)
    return figure


def save(figure: "Figure", path: Path) -> list[Path]:
    """Writes a figure as .png and as .pdf, and gives both paths. Raises Error where that fails."""
    written = []
    for suffix in (".png", ".pdf"):
        data = io.BytesIO()
        with _style():
            # No date, so that the same figure is the same file.
            figure.savefig(
                data, format=suffix[1:], dpi=DPI, metadata={"CreationDate": None} if suffix == ".pdf" else None
            )
        written.append(atomic.save(path.with_name(path.name + suffix), data.getvalue(), Error))
    return written


def _style() -> Any:
    need("matplotlib", "drawing plots")
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _axes(x: str, y: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.005))
    return figure, axes


def _lines(axes: "Axes", together: Line, known: Sequence[Line], points: Points, sampled: Sampled) -> None:
    """A line for each class where there are few, else their mean and where the middle half lies; all objects on top."""

    def draw(line: Line, **style: Any) -> None:
        x, y = points(line[0])
        some = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(np.int64))
        axes.plot(x[some], y[some], drawstyle="steps-pre", label=f"{_short(line[1])}  {line[2]}", **style)

    if len(known) <= NAMED:
        for i, line in enumerate(known):
            draw(line, color=COLOURS[i % len(COLOURS)], linestyle=LINES[i // len(COLOURS)])
    else:
        values = np.stack([sampled(curve) for curve, _, _ in known])
        low, high = np.quantile(values, (0.25, 0.75), axis=0)
        axes.fill_between(GRID, low, high, color=COLOURS[0], alpha=0.18, linewidth=0, label="middle half of classes")
        axes.plot(GRID, values.mean(0), color=COLOURS[0], label=f"mean of {len(known)} classes")
    if len(known) != 1:
        draw(together, color="black", linewidth=2)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, handlelength=2.2)


def _shown(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The classes that are not empty, of too many the ones with the most mistakes: rows, columns, and their table."""
    square = np.zeros((max(table.shape),) * 2, np.int64)
    square[: table.shape[0], : table.shape[1]] = table
    both = square.sum(0) + square.sum(1)
    used = np.flatnonzero(both if both.any() else both + 1)
    if len(used) > MOST_CLASSES:
        wrong = (both - 2 * np.diag(square))[used]
        used = np.sort(used[np.argsort(-wrong, kind="stable")[:MOST_CLASSES]])
    own, other = used[used < table.shape[0]], used[used < table.shape[1]]
    return own, other, table[np.ix_(own, other)]


def _two(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _short(name: str) -> str:
    name = shown(name)
    return name if len(name) <= 24 else f"{name[:22]}…"
