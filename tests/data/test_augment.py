"""Boxes are compared with those of the pixels: one object, red on blue, looked for in the result."""

import colorsys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onelook import rle
from onelook.data.augment import (
    UNDECIDED,
    VISIBLE,
    YOLO_V1,
    Augmentation,
    Labelled,
    affine,
    augment,
    flip,
    hsv,
    load,
    mosaic,
    random_resized_crop,
)
from onelook.data.polygons import fill
from onelook.data.sample import Rle, Sample
from onelook.errors import SourceError
from onelook.runtime.resize import GREY, place

SIZE = 96, 128
STILL = Augmentation(
    flip=0, hue=0, saturation=0, value=0, degrees=0, translate=0, scale=0, shear=0, crop=0, mosaic=0
)  # fmt: skip
UPRIGHT = replace(STILL, translate=0.3, scale=0.5, crop=0.2)

seeds = st.integers(0, 2**32).map(np.random.default_rng)
resizes = st.sampled_from(("letterbox", "stretch"))


def painted(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Labelled:
    """Red objects on blue; the class of each is its number."""
    image = np.full((height, width, 3), (0, 0, 255), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255, 0, 0
    return Labelled(image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes)))


def red(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return image[..., 0].astype(int) - image[..., 2] > 0


def found(image: NDArray[np.uint8]) -> list[int]:
    """The box around what is red."""
    y, x = np.nonzero(red(image))
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


@st.composite
def pictures(draw: st.DrawFn) -> Labelled:
    """A picture of 100 to 400 pixels a side with one object."""
    height, width = draw(st.integers(100, 400)), draw(st.integers(100, 400))
    x1, y1 = draw(st.integers(0, width - 20)), draw(st.integers(0, height - 20))
    return painted(height, width, (x1, y1, draw(st.integers(x1 + 20, width)), draw(st.integers(y1 + 20, height))))


def assert_valid(made: Labelled, size: tuple[int, int]) -> None:
    assert made.image.shape == (*size, 3)
    assert made.image.dtype == np.uint8
    assert made.boxes.dtype == np.float32
    assert made.classes.dtype == np.int64
    assert made.boxes.shape == (len(made.classes), 4)
    assert (made.boxes >= 0).all()
    assert (made.boxes <= (size[1], size[0]) * 2).all()
    assert (made.boxes[:, :2] < made.boxes[:, 2:]).all()


@given(pictures(), st.integers(0, 1))
def test_flip_takes_the_box_along_and_twice_is_nothing(labelled: Labelled, axis: int) -> None:
    once = flip(labelled, axis)
    np.testing.assert_array_equal(once.boxes[0], found(once.image))
    assert (red(once.image) == np.flip(red(labelled.image), axis)).all()
    twice = flip(once, axis)
    np.testing.assert_array_equal(twice.image, labelled.image)
    np.testing.assert_array_equal(twice.boxes, labelled.boxes)


@given(pictures())
def test_nothing_to_do_is_the_runtimes_letterbox_to_a_pixel(labelled: Labelled) -> None:
    made = augment(lambda _: labelled, 0, 1, SIZE, np.random.default_rng(0), STILL)
    placement = place(labelled.image, np.zeros((*SIZE, 3), np.uint8), "letterbox", "linear")
    np.testing.assert_allclose(placement.to_picture(made.boxes), labelled.boxes, atol=1 / min(placement.scale))


@settings(max_examples=200)
@given(pictures(), seeds, resizes)
def test_boxes_of_moved_scaled_and_cropped_pictures_fit_the_pixels(
    labelled: Labelled, rng: np.random.Generator, resize: str
) -> None:
    made = affine(labelled, SIZE, rng, replace(UPRIGHT, resize=resize))
    assert_valid(made, SIZE)
    if len(made.boxes):
        np.testing.assert_allclose(made.boxes[0], found(made.image), atol=1.5)


@settings(max_examples=200)
@given(pictures(), seeds)
def test_boxes_of_turned_and_sheared_pictures_fit_the_pixels(labelled: Labelled, rng: np.random.Generator) -> None:
    made = affine(labelled, SIZE, rng, replace(UPRIGHT, degrees=45, shear=10))
    assert_valid(made, SIZE)
    x1, y1, x2, y2 = made.boxes[0] if len(made.boxes) else np.zeros(4)
    assume(min(x1, y1) > 0 and x2 < SIZE[1] and y2 < SIZE[0])  # what is cut may be smaller than its cut box
    np.testing.assert_allclose((x1, y1, x2, y2), found(made.image), atol=1.5)


@given(pictures(), seeds)
def test_an_object_is_dropped_where_little_of_it_remains(labelled: Labelled, rng: np.random.Generator) -> None:
    height, width = labelled.image.shape[:2]
    made = affine(labelled, (height, width), rng, replace(STILL, translate=0.9))
    share = red(made.image).sum() / red(labelled.image).sum()
    assume(abs(share - VISIBLE) > 0.1)
    assert len(made.boxes) == (share > VISIBLE)


@settings(max_examples=50)
@given(st.lists(pictures(), min_size=4, max_size=4), st.integers(0, 2**32), resizes)
def test_boxes_of_mosaics_fit_the_pixels_and_no_grey_is_left(four: list[Labelled], seed: int, resize: str) -> None:
    changes = replace(STILL, scale=0.4, resize=resize)
    made = mosaic(
        [replace(labelled, classes=np.array([i])) for i, labelled in enumerate(four)],
        SIZE,
        np.random.default_rng(seed),
        changes,
    )
    assert_valid(made, SIZE)
    for box, i in zip(made.boxes, made.classes, strict=True):
        others_blank = [labelled if i == k else painted(*labelled.image.shape[:2]) for k, labelled in enumerate(four)]
        alone = mosaic(others_blank, SIZE, np.random.default_rng(seed), changes)
        np.testing.assert_allclose(box, found(alone.image), atol=1.5)

    white = [replace(labelled, image=np.full_like(labelled.image, 255)) for labelled in four]
    assert mosaic(white, SIZE, np.random.default_rng(seed), changes).image.min() == 255


def known(labelled: Labelled) -> Labelled:
    """With the outlines of the objects, and a map of what is red."""
    outlines = tuple((box[[[0, 1], [2, 1], [2, 3], [0, 3]]],) for box in labelled.boxes)
    return replace(labelled, outlines=outlines, class_map=red(labelled.image).astype(np.uint8))


@settings(max_examples=100)
@given(st.lists(pictures(), min_size=4, max_size=4), st.integers(0, 2**32), st.booleans())
def test_outlines_and_class_maps_go_where_the_pixels_go(four: list[Labelled], seed: int, four_at_once: bool) -> None:
    changes = Augmentation(0.5, 0, 0, 0, degrees=30, shear=5, crop=0.2, mosaic=float(four_at_once), upside_down=0.5)
    made = augment(lambda i: known(four[i]), 0, 4, SIZE, np.random.default_rng(seed), changes)
    plain = augment(lambda i: four[i], 0, 4, SIZE, np.random.default_rng(seed), changes)
    np.testing.assert_array_equal(made.image, plain.image)
    np.testing.assert_array_equal(made.boxes, plain.boxes)
    assert len(made.outlines) == len(made.boxes)
    assert made.class_map is not None

    def surely(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Not at its border, where red and blue are mixed, nor at the picture's, beyond which a border may lie."""
        return cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0

    is_red, is_blue = (np.abs(made.image - np.array(colour)).max(2) < 60 for colour in ((255, 0, 0), (0, 0, 255)))
    is_grey = np.abs(made.image - np.array((GREY,) * 3)).max(2) < 5
    for number, pixels in ((1, is_red), (0, is_blue), (UNDECIDED, is_grey)):
        assert (made.class_map[surely(pixels)] == number).all()
    for box, outline in zip(made.boxes, made.outlines, strict=True):
        inside = fill(outline, SIZE)
        assert is_red[surely(inside)].all()
        y, x = np.nonzero(inside)
        # The box is around the whole turned object, cut; the outline is of what is left of it.
        assert (np.array((x.min(), y.min())) >= box[:2] - 1).all()
        assert (np.array((x.max(), y.max())) <= box[2:] + 1).all()
    if len(made.outlines) == (4 if four_at_once else 1):
        union = np.any([fill(outline, SIZE) for outline in made.outlines], axis=0)
        assert union[surely(is_red)].all()


def test_masks_of_every_kind_become_outlines(tmp_path: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), image)
    triangle = np.array(((5, 5), (20, 5), (5, 20)), np.float32)
    pixels = np.zeros((40, 60), np.bool_)
    pixels[10:30, 30:50] = True
    pixels[15:20, 35:40] = False  # a hole
    masks = ((triangle,), None, Rle((40, 60), rle.compress(rle.encode(pixels))))
    boxes = np.array(((5, 5, 20, 20), (0, 0, 9, 9), (30, 10, 50, 30)), np.float32)
    sample = Sample(tmp_path / "x.png", 60, 40, boxes, np.arange(3), masks=masks)
    labelled = load(sample, (40, 60), outlined=True)
    assert labelled.classes.tolist() == [0, 2]  # of the one without a mask only the box is known
    np.testing.assert_array_equal(labelled.outlines[0][0], triangle)
    np.testing.assert_array_equal(fill(labelled.outlines[1], (40, 60)), pixels)
    assert load(sample, (40, 60)).outlines == ()


@pytest.mark.parametrize("changes", [Augmentation(), Augmentation(degrees=20, shear=5, crop=0.3, mosaic=1), YOLO_V1])
def test_the_same_generator_gives_the_same_picture(changes: Augmentation) -> None:
    pool = [painted(60, 50 + i, (5, 5, 40, 30), (10, 35, 30, 55)) for i in range(9)]
    a, b, other = (augment(pool.__getitem__, 2, 9, SIZE, np.random.default_rng(seed), changes) for seed in (7, 7, 8))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.classes, b.classes)
    assert (a.image != other.image).any()


@pytest.mark.parametrize("mosaics", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (10, 10000), (10000, 10), (40000, 1), (3, 5)])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_pictures_of_any_shape_and_without_objects(shape: tuple[int, int], resize: str, mosaics: int) -> None:
    changes = Augmentation(degrees=20, shear=5, crop=0.3, mosaic=mosaics, resize=resize)
    for labelled in (painted(*shape), painted(*shape, (0, 0, shape[1], shape[0]))):
        for seed in range(5):
            made = augment(lambda _, labelled=labelled: labelled, 0, 1, SIZE, np.random.default_rng(seed), changes)  # type: ignore[misc]
            assert_valid(made, SIZE)
            assert len(made.boxes) <= len(labelled.boxes) * 4


def test_what_is_shrunk_is_averaged_over_all_its_pixels() -> None:
    checks = np.indices((960, 1280)).sum(0, dtype=np.uint8) % 2 * np.uint8(255)
    labelled = Labelled(np.repeat(checks[..., None], 3, 2), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    made = affine(labelled, SIZE, np.random.default_rng(0), replace(STILL, scale=0.5))
    assert np.abs(made.image.astype(int) - 128).max() <= 1


@pytest.mark.parametrize("block", [1, 2, 3])
def test_pictures_a_whole_number_of_times_as_large_become_the_means_of_blocks(block: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE[0] * block, SIZE[1] * block, 3), np.uint8)
    nothing = painted(1, 1)
    made = affine(replace(nothing, image=image), SIZE, np.random.default_rng(0), STILL)
    means = image.reshape(SIZE[0], block, SIZE[1], block, 3).mean((1, 3))
    assert np.abs(made.image - means).max() <= 0.5


def test_uncovered_parts_are_grey() -> None:
    made = affine(painted(96, 128), SIZE, np.random.default_rng(0), replace(STILL, degrees=45))
    assert {tuple(pixel) for pixel in made.image[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()} == {(GREY,) * 3}


@given(seeds)
def test_hsv_leaves_grey_grey(rng: np.random.Generator) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    np.testing.assert_array_equal(hsv(grey, rng, 0.5, 0.9, 0), grey)
    darker = hsv(grey, rng, 0.5, 0.9, 0.9)
    assert (darker == darker[..., :1]).all()


@given(seeds)
def test_hsv_without_gains_is_the_same_picture(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(hsv(image, rng, 0, 0, 0), image)


@given(st.integers(0, 2**32), st.floats(0, 0.5), st.floats(0, 1), st.floats(0, 1))
def test_hsv_agrees_with_the_formula(seed: int, hue: float, saturation: float, value: float) -> None:
    image = np.random.default_rng(seed + 1).integers(0, 256, (6, 6, 3), np.uint8)
    shift, power_s, power_v = np.random.default_rng(seed).uniform(-1, 1, 3)
    expected = np.empty((6, 6, 3))
    for i, j in np.ndindex(6, 6):
        h, s, v = colorsys.rgb_to_hsv(*image[i, j] / 255)
        s, v = min(1, s * (1 + saturation) ** power_s), min(1, v * (1 + value) ** power_v)
        expected[i, j] = np.array(colorsys.hsv_to_rgb((h + hue * shift) % 1, s, v)) * 255
    changed = hsv(image, np.random.default_rng(seed), hue, saturation, value)
    # Hue is rounded twice, to 1/256 of a circle in which a channel passes 6 * 255 levels: 6. The others add 1 each.
    assert np.abs(changed - expected).max() <= 8


@settings(max_examples=50)
@given(st.integers(1, 200), st.integers(1, 200), seeds)
def test_random_resized_crops_show_a_part_of_the_picture_in_about_its_shape(
    height: int, width: int, rng: np.random.Generator
) -> None:
    y, x = np.indices((height, width)).astype(np.uint8)
    crop = random_resized_crop(np.stack((x, y, np.zeros_like(x)), 2), (32, 48), rng)
    assert crop.shape == (32, 48, 3)
    w, h, _ = np.ptp(crop.astype(float), axis=(0, 1))  # from the first to the last pixel, the ends averaged a little
    assume(min(height, width) > 60)
    assert w * h > 0.05 * height * width
    if 0.8 < width / height < 1.25:
        assert 0.65 < w / h < 1.55


@pytest.mark.parametrize(("height", "width", "factor"), [(800, 1200, 8), (401, 803, 4), (300, 260, 2), (190, 999, 1)])
def test_large_jpegs_are_loaded_smaller_with_their_boxes(tmp_path: Path, height: int, width: int, factor: int) -> None:
    labelled = painted(height, width, (16, 24, 160, 120), (0, 0, 9, 9), (0, 0, 9, 9))
    labelled.image[:9, :9] = 0, 0, 255
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), labelled.image[..., ::-1])
    sample = Sample(
        path, width, height, labelled.boxes, labelled.classes,
        difficult=np.array((False, True, False)), crowd=np.array((False, False, True)),
    )  # fmt: skip
    loaded = load(sample, SIZE)
    assert loaded.image.shape == (-(-height // factor), -(-width // factor), 3)
    np.testing.assert_array_equal(loaded.classes, [0])
    np.testing.assert_allclose(loaded.boxes[0], found(loaded.image), atol=1)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="cut short"):
        load(sample, SIZE)


UNDONE = dict(enumerate((
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270,
), start=2))  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_jpegs_are_turned_with_their_boxes(tmp_path: Path, orientation: int) -> None:
    """Of a picture whose sides are no multiples of eight, in any of EXIF's orientations."""
    height, width = 801, 1201
    labelled = painted(height, width, (98, 26, 498, 426))
    stored = Image.fromarray(labelled.image)
    if orientation in UNDONE:
        stored = stored.transpose(UNDONE[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    stored.save(path, exif=exif, quality=95)
    loaded = load(Sample(path, width, height, labelled.boxes, labelled.classes), SIZE)
    assert loaded.image.shape[:2] == (-(-height // 8), -(-width // 8))
    np.testing.assert_allclose(loaded.boxes[0], found(loaded.image), atol=0.6)
