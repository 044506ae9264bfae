"""Prior boxes against the papers' formulas in loops, their matching against a naive search of the best pair."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import naive
from onelook.boxes import xyxy_to_cxcywh
from onelook.detectors.priors import BACKGROUND, IGNORED, Priors, assign, match, multibox_shapes
from onelook.detectors.targets import targets

SHAPES = (((30.0, 20.0), (10.0, 40.0), (8.0, 8.0)), ((70.0, 50.0),))
GRIDS = ((2, 3), (1, 2))
SIZE = (60, 90)


def maps(classes: int = 2, grids: Sequence[tuple[int, int]] = GRIDS, batch: int = 1) -> list[Tensor]:
    """Raw maps of random numbers for SHAPES."""
    torch.manual_seed(0)
    counts = [len(own) for own in SHAPES]
    return [
        torch.randn(batch, a * k, *grid, dtype=torch.float64)
        for k in (4, classes)
        for a, grid in zip(counts, grids, strict=True)
    ]


def test_the_default_boxes_are_those_of_section_2_2() -> None:
    first, second = multibox_shapes((0.1, 0.2, 0.37), ((2,), (2, 3)))
    root = math.sqrt
    expected = [0.1, 0.1, root(0.02), root(0.02), 0.1 * root(2), 0.1 / root(2), 0.1 / root(2), 0.1 * root(2)]
    assert [side for one in first for side in one] == pytest.approx(expected)
    assert len(second) == 6
    for w, h in second[2:]:
        assert w * h == pytest.approx(0.04)
    assert sorted(w / h for w, h in second) == pytest.approx([1 / 3, 1 / 2, 1, 1, 2, 3])


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("size", [(60, 90), (128, 32)])
def test_there_is_a_prior_of_each_shape_at_each_place(relative: bool, size: tuple[int, int]) -> None:
    shapes = tuple(tuple((w / 100, h / 100) for w, h in own) for own in SHAPES) if relative else SHAPES
    found = Priors(shapes, relative).boxes(maps(), size)
    expected = []
    for (rows, columns), own in zip(GRIDS, shapes, strict=True):
        for w, h in own:
            unit = min(size) if relative else 1
            for j in range(rows):
                for i in range(columns):
                    centre = (i + 0.5) / columns * size[1], (j + 0.5) / rows * size[0]
                    expected.append((*centre, w * unit, h * unit))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_what_maps_say_is_in_the_order_of_the_priors() -> None:
    raw, batch, classes = maps(batch=2), 2, 2
    offsets, logits = Priors(SHAPES).flat(raw)
    n = 0
    for k, (rows, columns) in enumerate(GRIDS):
        for a in range(len(SHAPES[k])):
            for j in range(rows):
                for i in range(columns):
                    for b in range(batch):
                        assert offsets[b, n].tolist() == raw[k][b, 4 * a : 4 * a + 4, j, i].tolist()
                        own = raw[2 + k][b, classes * a : classes * (a + 1), j, i]
                        assert logits[b, n].tolist() == own.tolist()
                    n += 1
    assert offsets.shape == (batch, n, 4)
    assert logits.shape == (batch, n, classes)


coordinate = st.floats(-500, 500)
side = st.floats(0.5, 500)
box = st.tuples(coordinate, coordinate, side, side)


@given(box, box, st.sampled_from([(1.0, 1.0), (0.1, 0.2)]))
def test_offsets_are_those_of_equation_2_and_decode_to_the_box(
    one: tuple[float, ...], prior: tuple[float, ...], variances: tuple[float, float]
) -> None:
    priors = Priors(SHAPES, variances=variances)
    truth = torch.tensor(naive.around(*one), dtype=torch.float64)
    offsets = priors.encode(truth, torch.tensor(prior, dtype=torch.float64))
    (cx, cy, w, h), (px, py, pw, ph), (v, u) = one, prior, variances
    expected = ((cx - px) / pw / v, (cy - py) / ph / v, math.log(w / pw) / u, math.log(h / ph) / u)
    assert offsets.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    decoded = priors.decode(offsets, torch.tensor(prior, dtype=torch.float64))
    torch.testing.assert_close(decoded, truth, rtol=1e-9, atol=1e-9)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), st.sampled_from([0.0, 1e-3, 500.0]))
def test_whatever_a_network_says_decodes_to_numbers(offsets: list[float], side: float) -> None:
    boxes = Priors(SHAPES).decode(torch.tensor(offsets), torch.tensor((250.0, 250.0, side, side)))
    assert boxes.isfinite().all()
    assert (boxes[2:] >= boxes[:2]).all()


def naive_match(overlap: list[list[float]], positive: float, negative: float) -> list[int]:
    """Pairs of an object and a prior, the best first, each used once; then what is left by the two thresholds."""
    if not overlap:
        return []
    found = []
    for column in zip(*overlap, strict=True):
        best = max(column)
        found.append(column.index(best) if best >= positive else BACKGROUND if best < negative else IGNORED)
    pairs = [(value, -i, -j) for i, row in enumerate(overlap) for j, value in enumerate(row) if value > 0]
    objects, priors = set(), set()
    for _, i, j in sorted(pairs, reverse=True):
        if -i not in objects and -j not in priors:
            objects.add(-i)
            priors.add(-j)
            found[-j] = -i
    return found


@st.composite
def overlaps(draw: st.DrawFn) -> list[list[float]]:
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    share = st.one_of(st.just(0.0), st.floats(0.01, 1))
    values = draw(st.lists(share, min_size=rows * columns, max_size=rows * columns, unique_by=lambda x: x or object()))
    return [values[i * columns : (i + 1) * columns] for i in range(rows)]


@given(overlaps(), st.sampled_from([(0.5, 0.5), (0.5, 0.4), (0.9, 0.1)]))
def test_matching_is_the_naive_search(overlap: list[list[float]], thresholds: tuple[float, float]) -> None:
    found = match(torch.tensor(overlap, dtype=torch.float64), *thresholds)
    assert found.tolist() == naive_match(overlap, *thresholds)


def test_a_crowd_is_matched_as_the_naive_search_has_it() -> None:
    """Many objects want the same few priors, and each has to look on."""
    overlap = torch.rand(40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    overlap = overlap * torch.linspace(1, 0.1, 50)
    assert match(overlap, 0.5, 0.4).tolist() == naive_match(overlap.tolist(), 0.5, 0.4)


def test_two_objects_with_one_best_prior_get_a_prior_each() -> None:
    assert match(torch.tensor([[0.8, 0.1, 0.0], [0.9, 0.3, 0.2]]), 0.5, 0.5).tolist() == [1, 0, BACKGROUND]


def test_between_the_thresholds_a_prior_is_ignored() -> None:
    overlap = torch.tensor([[0.9, 0.5, 0.49, 0.4, 0.39, 0.0]])
    assert match(overlap, 0.5, 0.4).tolist() == [0, 0, IGNORED, IGNORED, BACKGROUND, BACKGROUND]


def test_an_object_beyond_all_priors_has_none() -> None:
    assert match(torch.tensor([[0.0, 0.0]]), 0.5, 0.5).tolist() == [BACKGROUND] * 2


def test_the_matches_of_a_batch_are_numbers_of_its_targets() -> None:
    priors = xyxy_to_cxcywh(torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]))
    labels = targets(
        [torch.tensor([[0.0, 0, 10, 10]]), torch.zeros(0, 4), torch.tensor([[41.0, 41, 50, 50], [1, 1, 10, 10]])],
        [torch.tensor([3]), torch.zeros(0), torch.tensor([4, 5])],
    )
    expected = [[0, -1, -1], [-1, -1, -1], [2, -1, 1]]
    assert assign(labels, priors, 3, 0.5, 0.5).tolist() == expected
    turned = labels._replace(picture=labels.picture.flip(0), boxes=labels.boxes.flip(0))
    assert assign(turned, priors, 3, 0.5, 0.5).tolist() == [[2, -1, -1], [-1, -1, -1], [0, -1, 1]]
