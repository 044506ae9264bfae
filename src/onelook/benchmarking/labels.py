"""Where the names and sizes of a picture's curves stand, so that they can be read."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Where a label may stand: angle around its point, then how far from it, in points.
ANGLES = tuple(math.pi / 4 * i for i in (2, -2, 1, -1, 3, -3, 0, 4))
DISTANCES = (5, 9, 14, 20, 27, 36, 46)
FAR = 9  # from here on a line leads to the point
RADIUS = 3.5  # of a point, in points
DARK = 0.65  # times the colour of a curve is that of its labels, so that it can be read on white
PADDING = 2  # pixels around a label
LEAVING = 20  # of the sixty places on a line to a point, those within its marker
SIZES = 3  # points up to which each has its size; of more, the first and the last


@dataclass(frozen=True, slots=True)
class Point:
    """One detector at one size."""

    time: float
    """Milliseconds."""
    accuracy: float
    """Percent."""
    size: str
    """Of its input; empty where that is not known."""
    slow: float
    """Milliseconds that nine of ten runs stay below."""


Curves = dict[str, list[Point]]  # by their names, each in the order of time
Array = NDArray[np.float64]
Place = tuple[float, Point, float]  # of a label: how far from which point, at which angle


def label(axes: "Axes", curves: Curves) -> None:
    """Writes the name of each curve and the sizes of its points, where they cover nothing and stand by no other's point.

    They have the colour of the curve, darker.

    Args:
        axes: whose limits and whose place in the picture are settled.
        curves: that are drawn there, a line each.
    """
    from matplotlib.colors import to_rgb

    labels = _Labels(axes, curves)
    colours = {
        name: tuple(DARK * part for part in to_rgb(line.get_color()))
        for name, line in zip(curves, axes.lines, strict=True)
    }
    # Those first that have the fewest places to stand.
    order = sorted(curves, key=lambda name: (len(curves[name]), -len(name)))
    for name in order:
        labels.place(name, curves[name][::-1], fontsize=7.5, color=colours[name])
    for name in order:
        for point in _sized(curves[name]):
            labels.place(point.size, [point], fontsize=6, color=colours[name])


def _sized(points: Sequence[Point]) -> Sequence[Point]:
    """Those that have their size beside them."""
    if len(points) == 1:
        return ()
    return points if len(points) <= SIZES else (points[0], points[-1])


class _Labels:
    """What is taken by points, lines and the labels so far, pixels."""

    def __init__(self, axes: "Axes", curves: Curves):
        self._axes = axes
        self._points = [point for points in curves.values() for point in points]
        self._centres = self._pixels(self._points)
        self._unit = axes.figure.dpi / 72  # pixels of a point of print
        self._boxes = [self._box(centre, np.full(2, 2 * RADIUS * self._unit)) for centre in self._centres]
        bars = [[point, dataclasses.replace(point, time=point.slow)] for point in self._points]
        self._lines = np.concatenate([_along(self._pixels(points)) for points in (*curves.values(), *bars)])

    def place(self, text: str, points: Sequence[Point], **style: Any) -> None:
        """Puts a text beside one of the points, where it is least in the way; from far off a line leads there."""
        style |= {"xy": (points[0].time, points[0].accuracy), "xytext": (0, 0), "textcoords": "offset points"}
        label = self._axes.annotate(text, ha="center", va="center", zorder=4, **style)
        size = np.array(label.get_window_extent().size)
        others = self._centres[[point not in points for point in self._points]]

        def cost(place: Place) -> float:
            start, shift = self._shift(place, size)
            box = self._box(start + shift, size + 2 * PADDING)
            outside = self._axes.bbox.count_contains(box.corners()) < 4
            covered = box.count_overlaps(self._boxes)
            crossed = ((self._lines > box.min) & (self._lines < box.max)).all(1).sum()
            apart = np.hypot(*np.maximum(box.min - others, others - box.max).clip(0).T).min(initial=np.inf)
            if place[0] > FAR:
                leader = _along(np.array([start, start + _gap(shift, size)]))[LEAVING:]
                covered += sum(other.count_contains(leader) > 0 for other in self._boxes)
            nearer = apart < 2 * place[0] * self._unit
            return float(1000 * outside + 100 * covered + 60 * nearer + 5 * crossed + place[0])

        best = min(itertools.product(DISTANCES, points, ANGLES), key=cost)
        start, shift = self._shift(best, size)
        label.xy = best[1].time, best[1].accuracy
        label.xyann = tuple(shift / self._unit)
        self._boxes.append(self._box(start + shift, size))
        if best[0] > FAR:
            gap = _gap(shift, size)
            line = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.4", "shrinkA": 0, "shrinkB": 3}
            self._axes.annotate("", label.xy, tuple(gap / self._unit), textcoords="offset points", arrowprops=line)
            self._lines = np.concatenate((self._lines, _along(np.array([start, start + gap]))))

    def _shift(self, place: Place, size: Array) -> tuple[Array, Array]:
        """Where the point is, and how far from there the middle of a text of that size, pixels."""
        far, point, angle = place
        toward = np.array([math.cos(angle), math.sin(angle)]).round(9)
        return self._pixels([point])[0], far * self._unit * toward + np.sign(toward) * size / 2

    def _pixels(self, points: Sequence[Point]) -> Array:
        """[N, 2] where points are in the picture."""
        return np.asarray(self._axes.transData.transform([(point.time, point.accuracy) for point in points]))

    def _box(self, centre: Array, size: Array) -> "Bbox":
        from matplotlib.transforms import Bbox

        return Bbox([centre - size / 2, centre + size / 2])


def _gap(shift: Array, size: Array) -> Array:
    """From a point to the nearest edge of its label, whose middle is at a distance."""
    return np.asarray(np.sign(shift) * (np.abs(shift) - size / 2).clip(0))


def _along(corners: Array) -> Array:
    """[N, 2] places on a line, densely."""
    share = np.linspace(0, 1, 60)[:, None]
    return np.concatenate([corners[:1], *(a + share * (b - a) for a, b in itertools.pairwise(corners))])
