"""Translucent masks: which pixels are painted in which colour."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray

from onelook import Masks
from onelook.runtime import paint
from onelook.runtime.draw import colour

GREY = 100


def picture(height: int = 200, width: int = 300) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def mixed(number: int) -> NDArray[np.float64]:
    return (1 - paint.OPACITY) * GREY + paint.OPACITY * np.array(colour(number), float)


def test_objects_are_translucent_inside_an_outline_and_the_first_lies_on_top() -> None:
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 50:150, 50:150] = True
    masks[1, 100:180, 100:280] = True
    image = picture()
    drawn = paint.objects(image, Masks.of(masks))
    assert (image == GREY).all()
    assert (drawn[~masks.any(0)] == GREY).all()
    np.testing.assert_allclose(drawn[75, 75], mixed(0), atol=1)
    np.testing.assert_allclose(drawn[125, 125], mixed(0), atol=1)  # where both are
    np.testing.assert_allclose(drawn[170, 250], mixed(1), atol=1)
    for y, x in ((50, 100), (149, 100), (100, 50), (100, 149)):
        assert tuple(drawn[y, x]) == colour(0)
    assert tuple(drawn[179, 200]) == tuple(drawn[120, 279]) == colour(1)


def test_an_outline_runs_around_a_hole_too() -> None:
    mask = np.zeros((1, 200, 300), bool)
    mask[0, 20:180, 20:280] = True
    mask[0, 80:120, 80:120] = False
    drawn = paint.objects(picture(), Masks.of(mask))
    assert (drawn[81:119, 81:119] == GREY).all()
    assert tuple(drawn[100, 79]) == tuple(drawn[79, 100]) == colour(0)


def test_classes_have_their_colours_and_what_has_no_name_is_left_as_it_is() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[:, 200:400], mask[:, 400:] = 1, 7
    drawn = paint.classes(picture(400, 600), mask, {7: "", 1: ""})
    assert (drawn[:, :200] == GREY).all()
    np.testing.assert_allclose(drawn[10, 300], mixed(1), atol=1)
    np.testing.assert_allclose(drawn[10, 500], mixed(7), atol=1)
    assert tuple(drawn[10, 200]) == tuple(drawn[10, 399]) == colour(1)
    assert tuple(drawn[10, 400]) == colour(7)


def test_a_name_stands_where_its_class_has_most_room() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[50:350, 300:580] = 1
    mask[190:200, 0:300] = 1
    with_name, without = (paint.classes(picture(400, 600), mask, {1: name}) for name in ("dog", ""))
    y, x = np.nonzero((with_name != without).any(2))
    assert abs(y.mean() - 200) < 12
    assert 400 < x.min() < x.max() < 480 + 20
    assert not (with_name != without).any(2)[mask == 0].any()


def test_the_name_of_a_flat_class_stands_above_it() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[200:206, 100:500] = 1
    with_name, without = (paint.classes(picture(400, 600), mask, {1: name}) for name in ("dog", ""))
    changed = (with_name != without).any(2)
    assert changed[170:200].any()
    assert not changed[206:].any()


@given(
    nps.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 5)),
    st.dictionaries(st.integers(0, 5), st.text(max_size=9)),
)
def test_any_mask_can_be_painted_on_any_picture(mask: NDArray[np.uint8], names: dict[int, str]) -> None:
    image = picture(*mask.shape)
    drawn = paint.classes(image, mask, names)
    assert drawn.shape == image.shape
    assert (image == GREY).all()
    masks = Masks.of(np.stack([mask == i for i in range(6)]))
    assert (paint.objects(image, masks) != GREY).any(2).all()


def test_a_read_only_or_mirrored_picture_serves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    mirrored, mask = image[:, ::-1, ::-1], np.ones((40, 60), np.uint8)
    mirrored.setflags(write=False)
    for view in (mirrored, np.ascontiguousarray(mirrored)):
        expected = paint.classes(view.copy(), mask, {1: "dog"})
        np.testing.assert_array_equal(paint.classes(view, mask[:, ::-1], {1: "dog"}), expected)
        objects = Masks.of(mask[None])
        np.testing.assert_array_equal(paint.objects(view, objects), paint.objects(view.copy(), objects))


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (2, 2)])
def test_thin_pictures_can_be_painted(shape: tuple[int, int]) -> None:
    assert (paint.classes(picture(*shape), np.ones(shape, np.uint8), {1: "dog"}) != GREY).any(2).all()
