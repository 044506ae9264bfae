from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelook.runtime.resize import GREY, place


def darknet_letterbox(image: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Darknet's letterbox_image in loops: whole-number sizes, bilinear between corner pixels, bars of 0.5."""
    height, width = image.shape[:2]
    if side / width < side / height:
        new_width, new_height = side, height * side // width
    else:
        new_width, new_height = width * side // height, side
    canvas = np.full((side, side, 3), 127.5)
    top, left = (side - new_height) // 2, (side - new_width) // 2
    for r in range(new_height):
        for c in range(new_width):
            y, x = r * (height - 1) / (new_height - 1), c * (width - 1) / (new_width - 1)
            i, j = min(int(y), height - 2), min(int(x), width - 2)
            dy, dx = y - i, x - j
            square = image[i : i + 2, j : j + 2].astype(float)
            rows = square[0] * (1 - dy) + square[1] * dy
            canvas[top + r, left + c] = rows[0] * (1 - dx) + rows[1] * dx
    return canvas


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 31), (40, 40), (10, 7)])
def test_darknet_sampling_gives_darknets_pixels(height: int, width: int) -> None:
    yy, xx = np.mgrid[:height, :width]
    image = np.stack((yy * 4, xx * 4, (yy + xx) * 2), -1).astype(np.uint8)
    canvas = np.zeros((32, 32, 3), np.uint8)
    place(image, canvas, "letterbox", "darknet")
    expected = darknet_letterbox(image, 32)
    # OpenCV rounds places to 1/32 of a pixel, and the bars are 128 for Darknet's 127.5.
    assert np.abs(canvas.astype(float) - expected)[:-1].max() <= 1.0


def test_darknet_sampling_leaves_the_last_row_black_where_darknets_float32_does() -> None:
    """Darknet's (h - 1) * ((H - 1) / (h - 1)) falls short of H - 1 for a picture of 640 x 480 in 320 x 320."""
    image = np.full((480, 640, 3), 200, np.uint8)
    canvas = np.zeros((320, 320, 3), np.uint8)
    place(image, canvas, "letterbox", "darknet")
    assert (canvas[40:279] == 200).all()
    assert (canvas[279] == 0).all()
    assert (canvas[280:] == GREY).all()
    place(image, canvas, "letterbox", "linear")
    assert (canvas[40:280] == 200).all()


@settings(deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    columns=st.sampled_from([32, 64, 96]),
    rows=st.sampled_from([32, 64, 96]),
    resize=st.sampled_from(["letterbox", "stretch"]),
    sampling=st.sampled_from(["linear", "darknet"]),
)
def test_the_whole_picture_maps_to_its_place_and_back(
    width: int, height: int, columns: int, rows: int, resize: str, sampling: str
) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    canvas = np.zeros((rows, columns, 3), np.uint8)
    placement = place(image, canvas, resize, sampling)
    mine = (canvas != GREY).any(-1)
    y, x = mine.any(1).nonzero()[0], mine.any(0).nonzero()[0]
    box = np.array([[x[0], y[0], x[-1] + 1, y[-1] + 1]], np.float32)
    slack = max(1 / side for side in placement.scale)  # the half of an odd bar
    back = placement.to_picture(box)
    assert np.abs(back - [0, 0, width, height]).max() <= slack * (0.51 if sampling == "darknet" else 0.01)
    assert (canvas[mine] == 77).all() or sampling == "darknet"
    if resize == "stretch":
        assert mine.all()


def test_boxes_are_cut_at_the_edges_of_the_picture() -> None:
    placement = place(np.zeros((10, 20, 3), np.uint8), np.zeros((32, 32, 3), np.uint8), "stretch", "linear")
    found = placement.to_picture(np.array([[-5, -5, 40, 40], [8, 8, 16, 16]], np.float32))
    np.testing.assert_allclose(found, [[0, 0, 20, 10], [5, 2.5, 10, 5]])


def test_pictures_longer_than_opencv_can_warp_are_placed() -> None:
    canvas = np.zeros((32, 32, 3), np.uint8)
    placement = place(np.full((2, 70_000, 3), 9, np.uint8), canvas, "letterbox", "darknet")
    assert (canvas != GREY).any()
    assert placement.to_picture(np.array([[0, 15, 32, 17]], np.float32))[0, 2] == pytest.approx(70_000)


@settings(deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    columns=st.sampled_from([32, 64, 96]),
    rows=st.sampled_from([32, 64, 96]),
    resize=st.sampled_from(["letterbox", "stretch"]),
    sampling=st.sampled_from(["linear", "darknet"]),
)
def test_each_pixel_of_the_picture_has_the_nearest_of_its_part_of_the_input(
    width: int, height: int, columns: int, rows: int, resize: str, sampling: str
) -> None:
    canvas = np.zeros((rows, columns, 3), np.uint8)
    placement = place(np.full((height, width, 3), 77, np.uint8), canvas, resize, sampling)
    if sampling == "darknet":  # which may leave a row black
        place(np.full((height, width, 3), 77, np.uint8), canvas, resize, "linear")
    mine = (canvas == 77).all(-1)
    places = mine.any(1).nonzero()[0], mine.any(0).nonzero()[0]
    for own, side, found in zip(places, (height, width), placement.pixels(), strict=True):
        centres = [Fraction(2 * i + 1, 2) * len(own) / side for i in range(side)]
        assert found.tolist() == [own[0] + int(centre) for centre in centres]
        assert len(own) > side or set(found.tolist()) == set(own.tolist())


# Crops.


def between_centres(image: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float64]:
    """Bilinear sampling between the centres of pixels, one axis after the other, edges continued."""

    def along(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        place = ((np.arange(count) + 0.5) * len(values) / count - 0.5).clip(0, len(values) - 1)
        low = np.floor(place).astype(int)
        share = (place - low)[:, None, None]
        return values[low] * (1 - share) + values[np.minimum(low + 1, len(values) - 1)] * share

    return along(along(image.astype(float), rows).transpose(1, 0, 2), columns).transpose(1, 0, 2)


sides = st.integers(1, 90) | st.sampled_from([1, 2, 3, 1000])


@given(sides, sides, st.integers(1, 64), st.integers(1, 64), st.sampled_from([1.0, 0.875, 0.5]) | st.floats(0.01, 1))
@example(1, 1000, 64, 64, 0.875)
@example(1000, 1, 1, 64, 1.0)
@example(4, 4, 32, 32, 0.875)
def test_a_crop_is_the_largest_centred_part_of_the_inputs_shape_times_the_share(
    height: int, width: int, rows: int, columns: int, crop: float
) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    canvas = np.full((rows, columns, 3), 7, np.uint8)
    placement = place(image, canvas, "crop", "linear", crop)

    # What the placement says of the part, against exact fractions.
    unit = Fraction(crop) * min(Fraction(height, rows), Fraction(width, columns))
    part = rows / placement.scale[1], columns / placement.scale[0]
    for side, of_input, whole in zip(part, (rows, columns), (height, width), strict=True):
        assert side == pytest.approx(round(side), abs=1e-6)
        assert 1 <= round(side) <= whole
        assert abs(round(side) - of_input * unit) <= 0.5 + 1e-9 or round(side) == 1 > of_input * unit
    tall, wide = round(part[0]), round(part[1])
    top, left = (height - tall) // 2, (width - wide) // 2

    # And the pixels, against sampling done here. OpenCV reckons with whole numbers of 1/2048.
    expected = between_centres(image[top : top + tall, left : left + wide], rows, columns)
    assert np.abs(canvas - expected).max() <= 1.01

    corners = np.array([[0, 0, columns, rows], [columns / 2, 0, columns, rows / 4]], np.float32)
    back = [[left + x * wide / columns, top + y * tall / rows] for box in corners for x, y in box.reshape(2, 2)]
    np.testing.assert_allclose(placement.to_picture(corners).reshape(-1, 2), back, rtol=1e-5, atol=1e-3)
    assert (placement.width, placement.height) == (width, height)


def test_the_crop_of_a_photograph_is_its_middle() -> None:
    """87.5% of the 300 lines of a picture of 300 x 500: from line 19 on (of 18.75), and from column 119 on."""
    image = np.zeros((300, 500, 3), np.uint8)
    image[19 : 19 + 262, 119 : 119 + 262] = 200
    canvas = np.zeros((224, 224, 3), np.uint8)
    assert place(image, canvas, "crop", "linear", 0.875).to_picture(np.array([[0, 0, 224, 224]], np.float32)).round(
        3
    ).tolist() == [[119, 19, 381, 281]]
    assert (canvas == 200).all()


def test_a_picture_of_the_inputs_size_is_taken_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    for sampling in ("linear", "darknet"):
        canvas = np.zeros_like(image)
        place(image, canvas, "crop", sampling)
        assert np.abs(canvas.astype(int) - image)[: -1 if sampling == "darknet" else None].max() == 0


@pytest.mark.parametrize("sampling", ["linear", "darknet"])
@pytest.mark.parametrize("size", [(1, 1), (1, 70_000), (70_000, 1), (2, 3)])
def test_the_thinnest_pictures_are_cropped(sampling: str, size: tuple[int, int]) -> None:
    canvas = np.zeros((32, 32, 3), np.uint8)
    placement = place(np.full((*size, 3), 9, np.uint8), canvas, "crop", sampling, 0.875)
    assert (canvas[:-1] == 9).all()
    (box,) = placement.to_picture(np.array([[0, 0, 32, 32]], np.float32)).tolist()
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
    assert middle == pytest.approx([size[1] / 2, size[0] / 2], abs=0.51)
