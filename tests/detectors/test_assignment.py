"""Which predictions answer for which objects, against the loops of section 2.1 of YOLOv3 and of YOLOv4."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive
from onelook.detectors.assignment import assign, last

ANCHORS = (((40.0, 30.0), (70.0, 80.0)), ((12.0, 20.0), (25.0, 24.0)), ((6.0, 7.0),))
SIZE = (64, 96)
GRIDS = ((2, 3), (4, 6), (8, 12))

Place = tuple[int, int, int, int, int]  # scale, picture, anchor, row, column


def expected(things: list[naive.Thing], share: float) -> dict[Place, int]:
    """The object of each prediction that answers for one; a later object takes the place of an earlier one."""
    found: dict[Place, int] = {}
    every = [(scale, i, shape) for scale, own in enumerate(ANCHORS) for i, shape in enumerate(own)]
    for number, one in enumerate(things):
        fits = [naive.iou((0, 0, *shape), (0, 0, *one.sides)) for _, _, shape in every]
        best = fits.index(max(fits))
        for k, (scale, anchor, _) in enumerate(every):
            if k == best or fits[k] > share:
                found[scale, one.picture, anchor, *one.cell(SIZE, GRIDS[scale])] = number
    return found


def assigned(things: list[naive.Thing], share: float) -> dict[Place, int]:
    anchors = [torch.tensor(own, dtype=torch.float64) for own in ANCHORS]
    found: dict[Place, int] = {}
    for scale, answers in enumerate(assign(naive.as_targets(things), anchors, SIZE, GRIDS, share)):
        for picture, anchor, row, column, target in torch.stack(tuple(answers), dim=1).tolist():
            assert (scale, picture, anchor, row, column) not in found
            found[scale, picture, anchor, row, column] = target
    return found


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_assign_is_the_naive_loop(seed: int, share: float) -> None:
    things = naive.things(SIZE, 3, seed)
    assert assigned(things, share) == expected(things, share)


def test_the_later_of_two_like_objects_in_a_cell_is_answered_for() -> None:
    first, second = (naive.Thing(1, (10.0, 10.0, 22.0 + i, 30.0), i) for i in range(2))
    assert assigned([first, second], 1) == {(1, 1, 0, 1, 1): 1}
    assert assigned([second, first], 1) == {(1, 1, 0, 1, 1): 1}


def test_unlike_objects_in_a_cell_have_an_anchor_each() -> None:
    things = [naive.Thing(0, (10.0, 10.0, 22.0, 30.0), 0), naive.Thing(0, (3.0, 7.0, 28.0, 31.0), 1)]
    assert assigned(things, 1) == {(1, 0, 0, 1, 1): 0, (1, 0, 1, 1, 0): 1}


def test_an_object_beyond_the_border_is_of_the_last_cell() -> None:
    things = [naive.Thing(0, (90.0, 57.0, 96.0 + 8, 64.0 + 8), 0), naive.Thing(0, (-9.0, -9.0, 4.0, 2.0), 1)]
    assert assigned(things, 1) == {(1, 0, 0, 3, 5): 0, (1, 0, 0, 0, 0): 1}


def test_with_a_share_every_anchor_that_fits_answers() -> None:
    things = [naive.Thing(0, (0.0, 0.0, 20.0, 20.0), 0)]
    fits = {
        place: naive.iou((0, 0, *shape), (0, 0, 20, 20)) for place, shape in (((1, 0), (12, 20)), ((1, 1), (25, 24)))
    }
    assert sorted(fits.values()) == pytest.approx([0.6, 400 / 600])
    assert [{place[2] for place in assigned(things, share)} for share in (1.0, 0.63, 0.5)] == [{1}, {1}, {0, 1}]


def test_no_objects_are_assigned_to_nothing() -> None:
    assert assigned([], 0.2) == {}


@given(places=st.lists(st.integers(0, 6), max_size=12), data=st.data())
def test_last_is_the_one_with_the_highest_number_of_its_place(places: list[int], data: st.DataObject) -> None:
    numbers = data.draw(st.permutations(range(len(places))))
    place, number = (torch.tensor(x, dtype=torch.int64) for x in (places, numbers))
    by_order = [max(j for j, other in enumerate(places) if other == own) == i for i, own in enumerate(places)]
    by_number = [
        max(n for n, other in zip(numbers, places, strict=True) if other == own) == mine
        for mine, own in zip(numbers, places, strict=True)
    ]
    assert last(place).tolist() == by_order
    assert last(place, number).tolist() == by_number
