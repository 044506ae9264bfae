"""What a segmenter says of one picture, against plain numpy, Pillow and COCO's tools."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from onelook import Error, Region, Segmentation
from onelook.runtime.draw import colour

NAMES = ("background", "cat", "dog", "potted plant")
masks = nps.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 3))


def segmentation(**changes: Any) -> Segmentation:
    mask = np.zeros((300, 400), np.uint8)
    mask[100:200, 50:350] = 2
    mask[200:250, :] = 1
    return Segmentation(**{"mask": mask, "class_names": NAMES, "width": 400, "height": 300, **changes})


def of(mask: NDArray[np.uint8], names: tuple[str, ...] = NAMES) -> Segmentation:
    return Segmentation(mask, names, mask.shape[1], mask.shape[0])


def grey(width: int = 400, height: int = 300) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 100, np.uint8)


def code(mask: NDArray[np.bool_]) -> dict[str, Any]:
    found = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


# The type itself.


@given(masks)
def test_going_through_gives_each_class_that_is_there_the_largest_first(mask: NDArray[np.uint8]) -> None:
    found = list(of(mask))
    assert sorted(region.class_id for region in found) == np.unique(mask).tolist()
    assert [region.share for region in found] == sorted((region.share for region in found), reverse=True)
    for region in found:
        assert region.name == NAMES[region.class_id]
        assert region.share == pytest.approx((mask == region.class_id).mean())
    assert sum(region.share for region in found) == pytest.approx(1)


def test_regions_and_its_text_are_plain() -> None:
    assert list(segmentation()) == [
        Region("background", pytest.approx(70_000 / 120_000), 0),
        Region("dog", 0.25, 2),
        Region("cat", pytest.approx(1 / 6), 1),
    ]
    assert [type(value) for value in next(iter(segmentation()))] == [str, float, int]
    text = repr(segmentation(source="a.mp4", frame=7))
    assert text == "Segmentation(58% background, 25% dog, 17% cat in a.mp4, frame 7, 400 × 300)"


def test_plain_lists_become_what_is_documented() -> None:
    found = Segmentation([[0, 1]], ["a", "b"], 2, 1)  # type: ignore[arg-type]
    assert (found.mask.dtype.name, found.class_names) == ("uint8", ("a", "b"))
    assert found.background is None
    assert segmentation().background == 0


def test_a_mask_of_another_size_and_a_class_without_a_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a mask of shape \(300, 400\) for a picture of 300 × 400"):
        segmentation(width=300, height=400)
    with pytest.raises(ValueError, match="class 2; there are 2 names"):
        segmentation(class_names=NAMES[:2])


# Other formats.


@given(masks)
def test_the_dictionary_survives_json_and_gives_back_the_mask(mask: NDArray[np.uint8]) -> None:
    data = json.loads(json.dumps(of(mask).to_dict(), allow_nan=False))
    assert (data["source"], data["width"], data["height"]) == ("array", mask.shape[1], mask.shape[0])
    assert {row["class"] for row in data["classes"]} == set(np.unique(mask).tolist())
    for row in data["classes"]:
        assert row["rle"] == code(mask == row["class"])
        assert row["share"] == pytest.approx((mask == row["class"]).mean(), abs=0.51e-5)
        assert row["name"] == NAMES[row["class"]]


@given(masks)
def test_polygons_give_back_all_but_the_background(mask: NDArray[np.uint8]) -> None:
    data = json.loads(json.dumps(of(mask).to_polygons(), allow_nan=False))
    assert {row["class"] for row in data["classes"]} == set(np.unique(mask).tolist()) - {0}
    for row in data["classes"]:
        filled = coco_mask.merge(coco_mask.frPyObjects(row["polygons"], *mask.shape))
        assert filled["counts"].decode() == code(mask == row["class"])["counts"]


def test_a_first_class_that_is_no_background_is_outlined_and_painted_like_all_others() -> None:
    found = segmentation(class_names=("road", "cat", "dog", "potted plant"))
    assert [row["name"] for row in found.to_polygons()["classes"]] == ["road", "dog", "cat"]
    drawn = found.draw(grey())
    assert (drawn != 100).any(2).all()
    assert tuple(drawn[99, 200]) == colour(0)


@given(masks)
def test_the_png_is_the_mask(mask: NDArray[np.uint8]) -> None:
    with Image.open(io.BytesIO(of(mask).to_png())) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), mask)


def test_a_rectangle_has_its_corners_as_outline() -> None:
    (polygon,) = segmentation().polygons(2)
    assert sorted(map(tuple, polygon.tolist())) == [(50, 100), (50, 200), (350, 100), (350, 200)]
    assert segmentation().polygons(3) == []
    assert segmentation().rle(3) == code(np.zeros((300, 400), bool))


def test_a_class_that_the_model_has_not_is_an_error() -> None:
    for ask in (segmentation().rle, segmentation().polygons):
        for class_id in (4, -1):
            with pytest.raises(Error, match=f"no class {class_id}; the model has 4, from 0"):
                ask(class_id)


# Drawing and saving.


def test_the_background_stays_and_the_classes_are_painted_with_their_names() -> None:
    drawn = segmentation().draw(grey())
    assert (drawn[:99] == 100).all()
    assert (drawn[250:] == 100).all()
    assert (drawn[100:250, 60:340] != 100).any(2).all()
    for y, class_id in ((100, 2), (249, 1)):
        assert tuple(drawn[y, 200]) == colour(class_id)
    middle = drawn[130:170, 170:230].reshape(-1, 3)
    assert (middle == colour(2)).all(1).mean() > 0.1  # the label of the dog


def test_it_draws_on_the_picture_given_or_the_one_kept_or_reads_it_again(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(grey()).save(path)
    expected = segmentation().draw(grey())
    np.testing.assert_array_equal(segmentation(image=grey()).draw(), expected)
    np.testing.assert_array_equal(segmentation(source=str(path)).draw(), expected)
    saved = segmentation(source=str(path)).save(tmp_path / "y.png")
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), expected)
    with pytest.raises(Error, match=r"the picture was not kept; give it to draw"):
        segmentation().draw()


def test_a_frame_says_which_and_when() -> None:
    data = segmentation(source="clip.mp4", frame=75, time=3.0029999, fps=24.98).to_dict()
    assert dict(list(data.items())[:3]) == {"source": "clip.mp4", "frame": 75, "time": 3.003}
