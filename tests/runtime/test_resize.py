import numpy as np
import pytest
from hypothesis import given, settings
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
