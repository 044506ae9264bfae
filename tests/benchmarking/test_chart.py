"""The speed-accuracy picture: what is where, and that it can be read."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onelook.benchmarking import Benchmark, Failure, Latency, Machine, Measurement, chart
from onelook.benchmarking.published import PUBLISHED
from onelook.data import Dataset, Sample

colors = pytest.importorskip("matplotlib.colors")
MACHINE = Machine("Intel Core 2 Duo", 2, "Linux", {})
DATA = Dataset(Path("data/coco128"), "coco", "val", ("cat",), (Sample(Path("x"), 9, 9),) * 7)


def row(family: str, size: int, time: float, ap: float, engine: str = "onnxruntime (CPU)") -> Measurement:
    latency = Latency(time, 1.2 * time, 50)
    return Measurement(f"{family}-{size}", family, Path("x"), "detect", engine, (size, size), latency, latency, 9.0,
                       1, 1, 1, 1, {"ap": ap, "ap50": 0.9}, ())  # fmt: skip


def benchmark(*rows: Measurement | Failure) -> Benchmark:
    return Benchmark(rows, MACHINE, 1, None, "coco", DATA)


ROWS = (row("b", 416, 20, 0.31), row("a", 320, 100, 0.4), row("b", 320, 10, 0.28), row("b", 608, 45, 0.33))


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_a_curve_a_family_in_the_order_of_time_in_percent() -> None:
    (axes,) = chart.speed_accuracy(benchmark(*ROWS, Failure("c", "auto", None, "broken"))).axes
    curves = [np.array(line.get_xydata()) for line in axes.lines]
    np.testing.assert_allclose(curves[0], [(10, 28), (20, 31), (45, 33)])
    np.testing.assert_allclose(curves[1], [(100, 40)])
    assert sorted(texts(axes)) == ["320", "416", "608", "a", "b"]  # a family of one size needs no size


def test_a_label_has_the_colour_of_its_curve() -> None:
    (axes,) = chart.speed_accuracy(benchmark(*ROWS)).axes
    (first, second) = ({*line.get_xdata()} for line in axes.lines)
    for text in (text for text in axes.texts if text.get_text()):
        curve = axes.lines[0 if text.xy[0] in first else 1]
        assert text.xy[0] in first | second
        np.testing.assert_allclose(np.array(colors.to_rgb(text.get_color())) / 0.65, colors.to_rgb(curve.get_color()))


def test_each_engine_has_its_curve_where_there_are_several() -> None:
    found = benchmark(ROWS[1], row("a", 320, 90, 0.4, "openvino (bfloat16)"))
    (axes,) = chart.speed_accuracy(found).axes
    assert sorted(texts(axes)) == ["a, onnxruntime", "a, openvino (bfloat16)"]


def test_times_that_differ_much_are_on_a_logarithmic_axis() -> None:
    assert chart.speed_accuracy(benchmark(*ROWS)).axes[0].get_xscale() == "log"
    near = chart.speed_accuracy(benchmark(ROWS[0], ROWS[2])).axes[0]
    assert near.get_xscale() == "linear"
    assert near.get_xlim()[0] == 0


def test_what_is_published_cannot_be_taken_for_what_was_measured() -> None:
    measured, published = chart.speed_accuracy(benchmark(*ROWS), published=True).axes
    assert measured.get_title("left") == "Measured here"
    assert "Intel Core 2 Duo, 1 thread" in measured.get_xlabel()
    assert measured.get_ylabel() == "AP, %: coco128 val, 7 pictures"
    assert published.get_title("left") == "Published, on the GPU of each paper"
    assert "as the papers print it" in published.get_xlabel()
    assert published.get_ylabel() == "AP, %: COCO test-dev"
    assert published.get_ylim() == measured.get_ylim()  # AP is read across
    for line in measured.lines:
        assert (line.get_linestyle(), line.get_markerfacecolor()) == ("-", line.get_color())
    for line in published.lines:
        assert line.get_linestyle() != "-"
        assert line.get_markerfacecolor() == "white"
    places = {tuple(place) for line in published.lines for place in np.array(line.get_xydata())}
    assert places == {(one.milliseconds, 100 * one.ap) for one in PUBLISHED}


def covered(axes: Any) -> tuple[list[Any], list[Any]]:
    """The boxes of labels, and of the middles of points."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    labels = [Text.get_window_extent(text) for text in axes.texts if text.get_text()]
    points = [axes.transData.transform(line.get_xydata()) for line in axes.lines]
    return labels, [Bbox([point - 4, point + 4]) for some in points for point in some]


def test_no_label_of_the_published_half_covers_another_or_a_point() -> None:
    figure = chart.speed_accuracy(benchmark(*ROWS), published=True)
    figure.draw_without_rendering()
    for axes in figure.axes:
        labels, points = covered(axes)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(labels, 2))
        assert not any(label.overlaps(point) for label in labels for point in points)
        assert all(axes.bbox.count_contains(label.corners()) == 4 for label in labels)


points = st.tuples(st.floats(1, 900), st.floats(0.01, 0.6))


@settings(max_examples=8)
@given(st.lists(st.lists(points, min_size=1, max_size=4), min_size=1, max_size=6))
def test_every_family_and_every_point_is_drawn_wherever_they_are(families: list[list[tuple[float, float]]]) -> None:
    rows = [row(f"family {i}", 32 + 32 * j, *point) for i, some in enumerate(families) for j, point in enumerate(some)]
    (axes,) = chart.speed_accuracy(benchmark(*rows)).axes
    assert sum(np.size(line.get_xdata()) for line in axes.lines) == len(rows)
    assert {text for text in texts(axes) if text.startswith("family")} == {f"family {i}" for i in range(len(families))}
    labels, _ = covered(axes)
    assert all(axes.bbox.count_contains(label.corners()) == 4 for label in labels)


def test_the_same_figures_give_the_same_files(tmp_path: Path) -> None:
    pictures = []
    for _ in range(2):
        files = chart.save(chart.speed_accuracy(benchmark(*ROWS)), tmp_path / "speed-accuracy")
        assert [file.name for file in files] == ["speed-accuracy.png", "speed-accuracy.svg"]
        pictures.append([file.read_bytes() for file in files])
    assert pictures[0] == pictures[1]
    assert b"<text" in pictures[0][1]  # letters stay letters


def test_a_name_is_no_formula() -> None:
    (axes,) = chart.speed_accuracy(benchmark(row("cost$_{x$", 320, 5, 0.3), row("^$$", 320, 6, 0.3))).axes
    assert sorted(texts(axes)) == ["^$$", "cost$_{x$"]
