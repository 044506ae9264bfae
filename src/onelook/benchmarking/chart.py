"""The speed-accuracy picture: the time of one picture against accuracy, a curve a family over its sizes.

What papers print has a half of its own, with its own axis of time and its own name of the data, as their machine and
their pictures are others: nobody can take a distance from one half to the other for a difference of detectors.
"""

import io
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onelook.benchmarking.labels import Curves, Point, label
from onelook.benchmarking.published import PUBLISHED
from onelook.benchmarking.result import FIGURES
from onelook.errors import Error
from onelook.metrics.coco import need
from onelook.metrics.plots import COLOURS, DPI, STYLE
from onelook.runtime import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from onelook.benchmarking.result import Benchmark

MARKERS = "osD^vP<>Xhp*d"  # told apart without colour
DASHES = ("--", (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1.5)))
LOGARITHMIC = 4  # times of which the longest is so many times the shortest are on a logarithmic axis
TICKS = (1, 2, 5)  # of each power of ten
PUBLISHED_WORDS = (
    "AP, %: COCO test-dev",
    "ms for one picture, as the papers print it\nTitan X or M40, each paper's own software",
)


def speed_accuracy(found: "Benchmark", published: bool = False) -> "Figure":
    """The picture of a benchmark, and beside it, with `published`, that of the papers.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    need("matplotlib", "drawing plots")
    import matplotlib
    from matplotlib.figure import Figure

    halves = [(_measured(found), "Measured here", *_words(found))]
    if published:
        halves.append((_published(), "Published, on the GPU of each paper", *PUBLISHED_WORDS))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.8) if published else (5.4, 3.8), layout="constrained", dpi=DPI)
        parts = figure.subplots(1, len(halves), sharey=True, squeeze=False, width_ratios=(1, 1.4)[: len(halves)])[0]
        for axes, (curves, title, y, x) in zip(parts, halves, strict=True):
            axes.set_title(title, loc="left", fontweight="bold")
            axes.set(xlabel=x, ylabel=y)
            axes.tick_params(labelleft=True)
            _scale(axes, curves)
            _draw(axes, curves, hollow=axes is not parts[0])
        figure.draw_without_rendering()  # only now is it known where things are
        figure.set_layout_engine("none")  # and there they stay
        for axes, (curves, *_) in zip(parts, halves, strict=True):
            label(axes, curves)
    return figure


def save(figure: "Figure", path: Path) -> list[Path]:
    """Writes a figure as .png and as .svg, and gives both paths. Raises Error where that fails."""
    import matplotlib

    written = []
    for suffix in (".png", ".svg"):
        data = io.BytesIO()
        # No date and no random names, so that the same figure is the same file.
        with matplotlib.rc_context(STYLE | {"svg.hashsalt": "onelook"}):
            figure.savefig(data, format=suffix[1:], dpi=DPI, metadata={"Date": None} if suffix == ".svg" else None)
        written.append(atomic.save(path.with_name(path.name + suffix), data.getvalue(), Error))
    return written


def _measured(found: "Benchmark") -> Curves:
    rows = [row for row in found.measurements if not math.isnan(row.figure)]
    engines = len({row.engine for row in rows}) > 1
    curves: Curves = {}
    for row in rows:
        name = f"{row.family}, {row.short_engine}" if engines else row.family
        height, width = row.size
        size = str(width) if height == width else f"{width}x{height}"
        point = Point(row.latency.p50, 100 * row.figure, size, row.latency.p90)
        curves.setdefault(name, []).append(point)
    return _sorted(curves)


def _published() -> Curves:
    curves: Curves = {}
    for row in PUBLISHED:
        point = Point(row.milliseconds, 100 * row.ap, str(row.size or ""), row.milliseconds)
        curves.setdefault(row.family, []).append(point)
    return _sorted(curves)


def _sorted(curves: Curves) -> Curves:
    return {name: sorted(points, key=lambda point: point.time) for name, points in curves.items()}


def _words(found: "Benchmark") -> tuple[str, str]:
    """What the axes of the measured half are called."""
    figure = next(name for row in found.measurements for name in row.accuracy)
    data = found.dataset
    where = f": {data.path.name} {data.split}, {len(data)} pictures" if data else ""
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    machine = textwrap.fill(f"{found.machine.processor}, {threads}", 50)
    return f"{FIGURES.get(figure, figure)}, %{where}", f"ms for one picture, median; the bar ends at p90\n{machine}"


def _scale(axes: "Axes", curves: Curves) -> None:
    """A logarithmic axis where the times differ much, else one from 0 on."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    times = [time for points in curves.values() for point in points for time in (point.time, point.slow)]
    low, high = min(times), max(times)
    axes.margins(0.18, 0.14)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    if high < LOGARITHMIC * low:
        axes.set_xlim(0, 1.15 * high)
        return
    axes.set_xscale("log")
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    axes.xaxis.set_major_locator(FixedLocator([step * 10.0**power for power in powers for step in TICKS]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))


def _draw(axes: "Axes", curves: Curves, hollow: bool) -> None:
    """Filled points and full lines are measured, hollow points and dashed lines are published."""
    for i, points in enumerate(curves.values()):
        colour = COLOURS[i % len(COLOURS)]
        style: dict[str, Any] = {"color": colour, "marker": MARKERS[i % len(MARKERS)], "markersize": 5.5}
        x, y = [point.time for point in points], [point.accuracy for point in points]
        if hollow:
            style |= {"linestyle": DASHES[i % len(DASHES)], "linewidth": 0.9, "markerfacecolor": "white"}
        axes.plot(x, y, zorder=3, **style)
        if not hollow:
            axes.hlines(y, x, [point.slow for point in points], color=colour, linewidth=0.8, alpha=0.6)
