"""Selective search against loops that look at every pixel again at every step."""

import itertools
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import rectangles
from onelook.errors import MissingDependencyError
from onelook.runtime.selective_search import (
    FAST,
    Strategy,
    colour_bins,
    describe,
    group,
    segment,
    selective_search,
    texture_bins,
)

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Place = tuple[int, int]
QUICK = (Strategy("hsv", 50, "CTSF"), Strategy("lab", 20, "TSF"))


def noise(seed: int, height: int = 18, width: int = 23) -> Pixels:
    """Every pixel another colour, brighter to the right so that places differ."""
    random = np.random.default_rng(seed)
    return (random.integers(0, 150, (height, width, 3)) + np.linspace(0, 100, width)[:, None]).astype(np.uint8)


def cells(seed: int, count: int, height: int = 18, width: int = 23) -> Labels:
    """Each pixel is of the nearest of some random places."""
    places = np.random.default_rng(seed).permutation(height * width)[:count]
    rows, columns = np.indices((height, width))
    distance = (rows[..., None] - places // width) ** 2 + (columns[..., None] - places % width) ** 2
    return distance.argmin(-1)


def touch(a: set[Place], b: set[Place]) -> bool:
    return any({(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & b for y, x in a)


def box(places: set[Place]) -> tuple[int, int, int, int]:
    rows, columns = [y for y, _ in places], [x for _, x in places]
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1


def shared(a: set[Place], b: set[Place], bins: Labels, width: int) -> float:
    """What two histograms of sum 1 have in common."""
    one, other = (Counter(int(value) for y, x in places for value in bins[y * width + x]) for places in (a, b))
    return sum(min(count / one.total(), other[value] / other.total()) for value, count in one.items())


def similarity(a: set[Place], b: set[Place], labels: Labels, bins: dict[str, Labels], measures: str) -> float:
    height, width = labels.shape
    area, (x1, y1, x2, y2) = height * width, box(a | b)
    return sum(
        {
            "C": lambda: shared(a, b, bins["C"], width),
            "T": lambda: shared(a, b, bins["T"], width),
            "S": lambda: 1 - (len(a) + len(b)) / area,
            "F": lambda: 1 - ((x2 - x1) * (y2 - y1) - len(a) - len(b)) / area,
        }[letter]()
        for letter in measures
    )


def regions_of(labels: Labels) -> list[set[Place]]:
    return [set(zip(*map(np.ndarray.tolist, np.nonzero(labels == i)), strict=True)) for i in range(labels.max() + 1)]


def naive_group(labels: Labels, bins: dict[str, Labels], measures: str) -> tuple[list[tuple[int, ...]], float]:
    """Boxes of all regions, and by how little the best pair was ever better than the next."""
    left = regions_of(labels)
    boxes, margin = [box(places) for places in left], np.inf
    while len(left) > 1:
        ranked = sorted(
            (
                (similarity(a, b, labels, bins, measures), i, j)
                for (i, a), (j, b) in itertools.combinations(enumerate(left), 2)
                if touch(a, b)
            ),
            reverse=True,
        )
        margin = min([margin, *(ranked[0][0] - other[0] for other in ranked[1:2])])
        _, i, j = ranked[0]
        joined = left[i] | left[j]
        left = [places for k, places in enumerate(left) if k not in (i, j)] + [joined]
        boxes.append(box(joined))
    return boxes, margin


@pytest.mark.parametrize("measures", ["CTSF", "TSF", "C", "T", "CS", "CF"])
@pytest.mark.parametrize("seed", range(2))
def test_the_grouping_is_that_of_similarities_computed_anew_at_every_step(seed: int, measures: str) -> None:
    pixels, labels = noise(seed, 12, 15), cells(seed, 8, 12, 15)
    bins = {"C": colour_bins(pixels), "T": texture_bins(pixels)}
    regions = describe(labels, bins["C"], bins["T"])
    expected, margin = naive_group(labels, bins, measures)
    assert margin > 1e-9  # else rounding would decide
    assert group(regions, measures).tolist() == [list(one) for one in expected]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_regions_are_what_a_loop_over_their_pixels_sees(seed: int, count: int) -> None:
    pixels, labels = noise(seed, 9, 12), cells(seed, count, 9, 12)
    regions = describe(labels, colour_bins(pixels), texture_bins(pixels))
    places = regions_of(labels)
    assert regions.sizes.tolist() == [len(own) for own in places]
    assert regions.boxes.tolist() == [list(box(own)) for own in places]
    pairs = itertools.combinations(range(len(places)), 2)
    assert regions.neighbours.tolist() == [[i, j] for i, j in pairs if touch(places[i], places[j])]
    for i, own in enumerate(places):
        for histogram, bins in (
            (regions.colour[i], colour_bins(pixels)),
            (regions.texture[i], texture_bins(pixels)),
        ):
            values = [int(value) for y, x in own for value in bins[y * 12 + x]]
            np.testing.assert_allclose(histogram, [values.count(k) / len(values) for k in range(len(histogram))])


def test_colours_are_counted_in_25_bins_a_channel() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    bins = colour_bins(ramp)
    assert (bins.min(0).tolist(), bins.max(0).tolist()) == ([0, 25, 50], [24, 49, 74])
    assert set(np.bincount(bins[:, 0])) == {10, 11}


def test_texture_is_the_gaussian_derivative_along_eight_directions() -> None:
    from scipy.ndimage import gaussian_filter

    pixels = noise(0, 40, 50)
    slopes = [gaussian_filter(pixels.astype(float), 1, order, mode="mirror", axes=(0, 1)) for order in ((0, 1), (1, 0))]
    bins = texture_bins(pixels).reshape(40, 50, 8, 3)
    angles = [2 * np.pi * i / 8 for i in range(8)]
    along = np.stack([np.cos(angle) * slopes[0] + np.sin(angle) * slopes[1] for angle in angles], 2)
    for i, channel in itertools.product(range(8), range(3)):
        steepest = along[..., channel].max()
        expected = np.floor(along[:, :, i, channel].clip(0) / steepest * 10).clip(max=9) + 10 * (3 * i + channel)
        assert (bins[:, :, i, channel] == expected).mean() > 0.999  # but for rounding at the edge of a bin


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_boxes_lie_in_the_picture_have_an_area_and_are_no_two_alike(seed: int, height: int, width: int) -> None:
    boxes = selective_search(noise(seed, height, width), QUICK)
    assert boxes.dtype == np.float32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes == boxes.round()).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert [0, 0, width, height] in boxes.tolist()


def test_a_seed_gives_one_order_and_another_seed_another_of_the_same_boxes() -> None:
    image = rectangles.scene(np.random.default_rng(0), 6, 96)[0] + noise(1, 96, 96) // 4
    boxes, again, other = (selective_search(image, seed=seed).tolist() for seed in (0, 0, 1))
    assert boxes == again
    assert boxes != other
    assert sorted(boxes) == sorted(other)


def test_the_top_of_the_hierarchies_tends_to_be_first() -> None:
    image = rectangles.scene(np.random.default_rng(0), 6, 96)[0] + noise(1, 96, 96) // 4
    ranks = []
    for seed in range(10):
        boxes = selective_search(image, FAST[2:3], seed).tolist()
        ranks.append(boxes.index([0, 0, 96, 96]) / len(boxes))
    assert len(boxes) > 20
    assert np.mean(ranks) < 0.15


def test_every_one_of_some_rectangles_is_among_the_boxes() -> None:
    image = np.full((120, 160, 3), 90, np.uint8)
    things = {"red": [10, 20, 50, 70], "green": [80, 10, 140, 60], "blue": [60, 70, 150, 110]}
    for name, (x1, y1, x2, y2) in things.items():
        image[y1:y2, x1:x2] = rectangles.COLOURS[name]
    boxes = selective_search(image).tolist()
    assert all(any(np.abs(np.subtract(found, one)).max() <= 2 for found in boxes) for one in things.values())


def test_a_picture_of_one_colour_is_one_box() -> None:
    assert selective_search(np.full((30, 40, 3), 7, np.uint8)).tolist() == [[0, 0, 40, 30]]


def test_a_larger_k_gives_fewer_regions_none_of_them_below_it() -> None:
    sizes = [np.bincount(segment(noise(0, 60, 80), k).ravel()) for k in (20, 200)]
    assert len(sizes[0]) > len(sizes[1])
    assert all(own.min() >= k for own, k in zip(sizes, (20, 200), strict=True))


def test_it_says_what_to_install_where_scikit_image_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(MissingDependencyError, match=r"scikit-image.*onelook\[rcnn\]"):
        selective_search(noise(0))


def test_fast_is_eight_strategies() -> None:
    assert len(set(FAST)) == 8
    assert {(one.colours, one.k, one.measures) for one in FAST} == set(
        itertools.product(("hsv", "lab"), (50, 100), ("CTSF", "TSF"))
    )
