"""Selective search (Uijlings et al., 2013, IJCV 104): boxes that objects may be in, from regions joined step by step."""

import heapq
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.errors import MissingDependencyError
from onelook.runtime.picture import Pixels

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

COLOUR_BINS = 25  # of each channel
TEXTURE_BINS = 10  # of each channel and orientation
ORIENTATIONS = 8
DEVIATION = 1.0  # of the Gaussian whose derivatives are the texture, pixels
SMOOTHING = (
    0.8  # deviation of the Gaussian before the first segmentation, pixels; as in Felzenszwalb and Huttenlocher, 2004
)

Colours = Literal["hsv", "lab"]
COLOURS: tuple[Colours, ...] = ("hsv", "lab")
_CONVERSIONS = {"hsv": cv2.COLOR_RGB2HSV_FULL, "lab": cv2.COLOR_RGB2LAB}


class Strategy(NamedTuple):
    """One way to group, of the many that complement each other (section 3.2)."""

    colours: Colours
    k: int
    """Of the first segmentation: the larger, the larger its regions. None has fewer pixels than this."""
    measures: str
    """Which similarities are summed: letters of C (colour), T (texture), S (size) and F (fill)."""


# The paper's "Fast": eight strategies.
FAST = tuple(Strategy(colours, k, measures) for colours in COLOURS for k in (50, 100) for measures in ("CTSF", "TSF"))


class Regions(NamedTuple):
    """Regions of a picture, R of them."""

    sizes: Floats
    """[R] pixels."""
    boxes: Ints
    """[R, 4] xyxy, the tightest."""
    colour: Floats
    """[R, 75] histograms, each of sum 1."""
    texture: Floats
    """[R, 240] histograms, each of sum 1."""
    neighbours: Ints
    """[E, 2] pairs i < j of regions that touch."""


def selective_search(image: Pixels, strategies: Sequence[Strategy] = FAST, seed: int = 0) -> NDArray[np.float32]:
    """Boxes around everything that may be an object: xyxy in pixels, float32 [P, 4], no two alike.

    A photograph of 500 x 375 has about 2000. They come in the paper's random order (section 3.3): those from the top of
    the hierarchies tend to be first, so that the first ones are a selection of all scales.

    Args:
        image: RGB uint8 [H, W, 3].
        strategies: to group by.
        seed: of the order.

    Raises:
        MissingDependencyError: scikit-image, which makes the first regions, is not installed.
    """
    random = np.random.default_rng(seed)

    @cache
    def pixels(colours: str) -> Pixels:
        return np.asarray(cv2.cvtColor(image, _CONVERSIONS[colours]), np.uint8)

    @cache
    def bins(colours: str) -> tuple[Ints, Ints]:
        return colour_bins(pixels(colours)), texture_bins(pixels(colours))

    @cache
    def regions(colours: str, k: int) -> Regions:
        return describe(segment(pixels(colours), k), *bins(colours))

    boxes, values = [], []
    for strategy in strategies:
        found = group(regions(strategy.colours, strategy.k), strategy.measures)
        boxes.append(found)
        # "v = RND x i" with i = 1 for the region that is the whole picture, which was made last.
        values.append(random.random(len(found)) * np.arange(len(found), 0, -1))
    ranked = np.concatenate(boxes)[np.concatenate(values).argsort(kind="stable")]
    _, first = np.unique(ranked, axis=0, return_index=True)
    return ranked[np.sort(first)].astype(np.float32)


def segment(pixels: Pixels, k: int) -> Ints:
    """The first regions (Felzenszwalb and Huttenlocher, 2004): [H, W, 3] -> the number of each pixel's region [H, W].

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError:
        raise MissingDependencyError(
            'scikit-image is not installed, and selective search needs it; pip install "onelook[rcnn]"'
        ) from None
    return np.asarray(felzenszwalb(pixels, k, SMOOTHING, k), np.int64)


def colour_bins(pixels: Pixels) -> Ints:
    """Which bins of a histogram of 75 each pixel counts in: [H, W, 3] -> [H W, 3]."""
    bins = pixels.reshape(-1, 3).astype(np.int64) * COLOUR_BINS // 256
    return bins + COLOUR_BINS * np.arange(3)


def texture_bins(pixels: Pixels) -> Ints:
    """Which bins of a histogram of 240 each pixel counts in: [H, W, 3] -> [H W, 24].

    They are of the Gaussian derivatives along eight directions, where those are positive, from 0 to the steepest slope
    of the channel.
    """
    radius = round(4 * DEVIATION)
    gaussian = cv2.getGaussianKernel(2 * radius + 1, DEVIATION)
    slope = gaussian * np.arange(-radius, radius + 1)[:, None]
    dx, dy = (cv2.sepFilter2D(pixels, cv2.CV_32F, *kernels) for kernels in ((slope, gaussian), (gaussian, slope)))
    angles = np.arange(ORIENTATIONS, dtype=np.float32) * np.float32(2 * np.pi / ORIENTATIONS)
    along = np.cos(angles)[:, None] * dx[..., None, :] + np.sin(angles)[:, None] * dy[..., None, :]  # [H, W, 8, 3]
    steepest = np.maximum(along.max((0, 1, 2)), 1e-6)
    bins = np.clip(along * (TEXTURE_BINS / steepest), 0, TEXTURE_BINS - 1).astype(np.int64)
    return bins.reshape(len(bins) * bins.shape[1], -1) + TEXTURE_BINS * np.arange(ORIENTATIONS * 3)


def describe(labels: Ints, colour: Ints, texture: Ints) -> Regions:
    """The regions of a segmentation.

    Args:
        labels: of each pixel [H, W], from 0.
        colour, texture: bins of each pixel.
    """
    flat, count = labels.ravel(), int(labels.max()) + 1
    sizes = np.bincount(flat, minlength=count)
    places = np.indices(labels.shape).reshape(2, -1)[::-1]  # x, y
    boxes = np.tile(np.array((*labels.shape[::-1], 0, 0), np.int64), (count, 1))
    for axis, place in enumerate(places):
        np.minimum.at(boxes[:, axis], flat, place)
        np.maximum.at(boxes[:, 2 + axis], flat, place + 1)

    def histogram(bins: Ints, total: int) -> Floats:
        counts = np.bincount((flat[:, None] * total + bins).ravel(), minlength=count * total)
        return counts.reshape(count, total) / (sizes[:, None] * bins.shape[1])

    sides = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    touching = np.concatenate([np.sort(np.stack((a.ravel(), b.ravel()), 1), 1) for a, b in sides])
    code = np.unique(touching[touching[:, 0] < touching[:, 1]] @ np.array((count, 1)))
    return Regions(
        sizes.astype(np.float64),
        boxes,
        histogram(colour, 3 * COLOUR_BINS),
        histogram(texture, 3 * ORIENTATIONS * TEXTURE_BINS),
        np.stack(np.divmod(code, count), 1),
    )


def group(regions: Regions, measures: str) -> Ints:
    """Algorithm 1: join the two neighbours that are most alike, again and again, until one region is left.

    Args:
        regions: the first ones, R.
        measures: of a strategy.

    Returns:
        Boxes of all regions there ever were, xyxy [2 R - 1, 4]: the first ones, then each new one, the whole picture
        last.
    """
    count = len(regions.sizes)
    parts = [part for letter, part in zip("CT", (regions.colour, regions.texture), strict=True) if letter in measures]
    histograms = np.concatenate([*parts, np.zeros((count, 0))], 1)
    # Room for the regions to come.
    sizes, boxes, histograms = (
        np.concatenate((x, np.zeros((count - 1, *x.shape[1:]), x.dtype)))
        for x in (regions.sizes, regions.boxes, histograms)
    )

    def similarity(i: Any, j: Any) -> list[float]:
        return alike(Looks(histograms[i], sizes[i], boxes[i]), Looks(histograms[j], sizes[j], boxes[j]), area, measures)

    area = float(regions.sizes.sum())
    pairs = regions.neighbours
    near: dict[int, set[int]] = {i: set() for i in range(count)}  # those that are left, each with its neighbours
    for i, j in pairs.tolist():
        near[i].add(j)
        near[j].add(i)
    queue = [(-s, i, j) for s, (i, j) in zip(similarity(*pairs.T), pairs.tolist(), strict=True)]
    heapq.heapify(queue)
    for new in range(count, 2 * count - 1):
        _, i, j = heapq.heappop(queue)
        while i not in near or j not in near:  # its similarities have gone with a region
            _, i, j = heapq.heappop(queue)
        sizes[new] = sizes[i] + sizes[j]
        boxes[new] = around(boxes[i], boxes[j])
        histograms[new] = (sizes[i] * histograms[i] + sizes[j] * histograms[j]) / sizes[new]
        others = (near.pop(i) | near.pop(j)) - {i, j}
        near[new] = others
        for other in others:
            near[other] -= {i, j}
            near[other].add(new)
        ordered = sorted(others)
        for other, s in zip(ordered, similarity(ordered, new), strict=True):
            heapq.heappush(queue, (-s, other, new))
    return boxes


class Looks(NamedTuple):
    """What the similarity of regions is seen by; N regions, or one for all."""

    histograms: Floats
    """[N, n] those of colour and of texture side by side, as far as the strategy has them."""
    sizes: Floats
    """[N] pixels."""
    boxes: Ints
    """[N, 4] xyxy."""


def alike(a: Looks, b: Looks, area: float, measures: str) -> list[float]:
    """How similar regions are, each in 0..1 for every measure: the sum of section 3.2.

    Args:
        a, b: N regions each.
        area: of the picture, pixels.
        measures: of a strategy.
    """
    total = np.minimum(a.histograms, b.histograms).sum(-1)  # s_colour + s_texture
    size = a.sizes + b.sizes
    if "S" in measures:
        total = total + 1 - size / area
    if "F" in measures:
        box = around(a.boxes, b.boxes)
        total = total + 1 - ((box[..., 2:] - box[..., :2]).prod(-1) - size) / area
    return np.asarray(total).tolist()


def around(a: Ints, b: Ints) -> Ints:
    """The tightest boxes around pairs of boxes, xyxy [..., 4]."""
    return np.concatenate((np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])), -1)
