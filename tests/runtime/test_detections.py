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

from onelook.errors import Error
from onelook.names import COCO
from onelook.runtime.detections import Detection, Detections
from onelook.runtime.draw import colour

NAMES = ("person", "dog", "traffic light")


def detections(**changes: Any) -> Detections:
    found: dict[str, Any] = {
        "boxes": [[10, 20, 60, 50], [0, 0, 99.5, 80], [5.25, 6, 7, 8]],
        "scores": [0.9, 0.5, 0.25],
        "classes": [1, 0, 2],
        "class_names": NAMES,
        "width": 100,
        "height": 80,
    }
    return Detections(**{**found, **changes})


@st.composite
def any_detections(draw: st.DrawFn) -> Detections:
    width, height = draw(st.integers(1, 20000)), draw(st.integers(1, 20000))
    count = draw(st.integers(0, 6))
    share = st.floats(0, 1, width=32)
    corners = np.array([[draw(share) for _ in range(4)] for _ in range(count)], np.float32).reshape(-1, 2, 2)
    boxes = np.sort(corners, 1).reshape(-1, 4) * np.array([width, height] * 2, np.float32)
    scores = sorted((draw(share) for _ in range(count)), reverse=True)
    ids = [draw(st.integers(0, 2)) for _ in range(count)]
    return Detections(boxes, np.array(scores, np.float32), np.array(ids, np.int64), NAMES, width, height)


def rows(found: Detections) -> list[tuple[list[float], float, str]]:
    return [(one.box.tolist(), one.score, one.name) for one in found]


# The type itself.


def test_plain_lists_become_arrays_of_the_documented_types() -> None:
    found = detections(class_names=list(NAMES))
    assert [a.dtype.name for a in (found.boxes, found.scores, found.classes)] == ["float32", "float32", "int64"]
    assert found.names == ["dog", "person", "traffic light"]
    assert found.class_names == NAMES


def test_nothing_found_is_a_value_like_any_other() -> None:
    nothing = detections(boxes=[], scores=[], classes=[])
    assert nothing.boxes.shape == (0, 4)
    assert len(nothing) == 0
    assert not any([list(nothing), nothing.names, nothing.to_coco(), nothing.to_dict()["detections"]])
    assert nothing.to_yolo() == ""
    assert len(nothing.filter(0.5, {"dog"})) == 0
    assert "nothing" in repr(nothing)


def test_going_through_gives_each_detection_with_its_name() -> None:
    assert rows(detections()) == [
        ([10, 20, 60, 50], pytest.approx(0.9), "dog"),
        ([0, 0, 99.5, 80], 0.5, "person"),
        ([5.25, 6, 7, 8], 0.25, "traffic light"),
    ]
    one = detections()[-1]
    assert isinstance(one, Detection)
    assert (one.class_id, one.name) == (2, "traffic light")


def test_a_number_that_is_too_large_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        detections()[3]


@given(any_detections(), st.data())
def test_indexing_agrees_with_a_list_of_the_detections(found: Detections, data: st.DataObject) -> None:
    listed = rows(found)
    mask = data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    numbers = data.draw(st.lists(st.integers(0, len(found) - 1))) if len(found) else []
    part = data.draw(st.slices(len(found)))
    assert rows(found[np.array(mask, bool)]) == rows(found[mask]) == [x for x, k in zip(listed, mask, strict=True) if k]
    assert rows(found[np.array(numbers, int)]) == rows(found[numbers]) == [listed[i] for i in numbers]
    assert rows(found[part]) == listed[part]


@given(any_detections(), st.none() | st.floats(0, 1), st.none() | st.sets(st.sampled_from(NAMES)))
def test_filter_agrees_with_a_loop(found: Detections, score: float | None, names: set[str] | None) -> None:
    kept = []
    for box, s, name in rows(found):
        good_enough = score is None or np.float32(s) >= np.float32(score)
        if good_enough and (names is None or name in names):
            kept.append((box, s, name))
    assert rows(found.filter(score, names)) == kept
    assert rows(found.filter(score=score).filter(names=names)) == kept


def test_filter_keeps_a_score_equal_to_the_threshold_though_float32_rounds_it_down() -> None:
    assert float(np.float32(0.7)) < 0.7
    found = detections(boxes=[[0, 0, 1, 1]], scores=[0.7], classes=[0])
    assert len(found.filter(score=0.7)) == len(found.filter(score=np.float64(0.7))) == 1


def test_filter_takes_one_name_as_it_is_and_refuses_one_that_the_model_does_not_have() -> None:
    assert detections().filter(names="dog").names == ["dog"]
    with pytest.raises(Error, match="no class 'traffic-light'; did you mean 'traffic light'"):
        detections().filter(names=["dog", "traffic-light"])


def test_the_parts_keep_the_picture_and_where_it_came_from() -> None:
    image = np.zeros((80, 100, 3), np.uint8)
    part = detections(image=image, source="a.mp4", frame=3, time=0.12, fps=25.0)[:1]
    assert part.image is image
    assert (part.source, part.frame, part.time, part.fps, part.width) == ("a.mp4", 3, 0.12, 25.0, 100)


def test_lengths_that_disagree_and_classes_without_a_name_are_refused() -> None:
    with pytest.raises(ValueError, match="3 boxes, 2 scores and 3 classes"):
        detections(scores=[0.9, 0.5])
    for classes in ([0, 1, 3], [0, 1, -1]):
        with pytest.raises(ValueError, match="from 0 to 2"):
            detections(classes=classes)


@pytest.mark.parametrize("broken", [{"scores": [0.9, np.nan, 0.1]}, {"boxes": [[0, 0, np.inf, 1]] * 3}])
def test_a_model_that_gives_no_numbers_is_an_error_in_one_line(broken: dict[str, Any]) -> None:
    with pytest.raises(Error, match=r"^street.jpg: the model gave boxes or scores that are not numbers") as error:
        detections(source="street.jpg", **broken)
    assert "\n" not in str(error.value)


def test_its_text_says_what_was_found_in_one_line() -> None:
    text = repr(detections(classes=[1, 1, 0], source="street.jpg"))
    assert text == "Detections(2 dog, 1 person in street.jpg, 100 × 80)"


# Other formats.


@given(any_detections())
def test_yolo_text_gives_back_the_same_boxes(found: Detections) -> None:
    lines = found.to_yolo().splitlines()
    assert len(lines) == len(found)
    for line, one in zip(lines, found, strict=True):
        class_id, *numbers = line.split(" ")
        x, y, w, h, score = map(float, numbers)
        corners = [(x - w / 2) * found.width, (y - h / 2) * found.height]
        corners += [(x + w / 2) * found.width, (y + h / 2) * found.height]
        np.testing.assert_allclose(corners, one.box, atol=1.1e-6 * max(found.width, found.height))
        assert score == pytest.approx(one.score, abs=1e-6)
        assert int(class_id) == one.class_id


@given(any_detections())
def test_coco_rows_give_back_the_same_boxes(found: Detections) -> None:
    for row, one in zip(found.to_coco(7), found, strict=True):
        x, y, w, h = row["bbox"]
        np.testing.assert_allclose([x, y, x + w, y + h], one.box, atol=0.0101)
        assert row["score"] == pytest.approx(one.score, abs=0.51e-5)
        assert row["image_id"] == 7
        assert row["category_id"] == one.class_id + 1  # not COCO's own classes: 1 to C


@given(any_detections())
def test_the_dictionary_survives_json_and_gives_back_the_same_boxes(found: Detections) -> None:
    text = json.dumps(found.to_dict(), allow_nan=False)
    data = json.loads(text)
    assert (data["source"], data["width"], data["height"]) == (found.source, found.width, found.height)
    assert "frame" not in data
    for row, one in zip(data["detections"], found, strict=True):
        np.testing.assert_allclose(row["box"], one.box, atol=0.0051)
        assert row["score"] == pytest.approx(one.score, abs=0.51e-5)
        assert (row["name"], row["class"]) == (one.name, one.class_id)


# Masks.


@st.composite
def with_masks(draw: st.DrawFn) -> tuple[Detections, NDArray[np.bool_]]:
    count, height, width = draw(st.integers(0, 4)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    masks = draw(nps.arrays(np.bool_, (count, height, width)))
    ids = [draw(st.integers(0, 2)) for _ in range(count)]
    scores = np.linspace(0.9, 0.3, count)
    return Detections(np.zeros((count, 4)), scores, ids, NAMES, width, height, masks=masks), masks  # type: ignore[arg-type]


@given(with_masks(), st.data())
def test_masks_stay_with_their_detections(made: tuple[Detections, NDArray[np.bool_]], data: st.DataObject) -> None:
    found, masks = made
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))), bool)
    part = data.draw(st.slices(len(found)))
    for one, expected in (
        (found, masks),
        (found[mask], masks[mask]),
        (found[mask.tolist()], masks[mask]),
        (found[part], masks[part]),
        (found[[]], masks[:0]),
        (found.filter(0.5, {"dog"}), masks[(found.scores >= 0.5) & (found.classes == 1)]),
    ):
        np.testing.assert_array_equal(np.asarray(one.masks), expected)


@given(with_masks())
def test_json_and_coco_have_the_run_lengths_of_each_mask(made: tuple[Detections, NDArray[np.bool_]]) -> None:
    found, masks = made
    codes = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    expected = [{"size": list(code["size"]), "counts": code["counts"].decode()} for code in codes]
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["rle"] for row in data["detections"]] == expected
    assert [row["segmentation"] for row in json.loads(json.dumps(found.to_coco()))] == expected
    assert [row["score"] for row in data["detections"]] == pytest.approx(found.scores.tolist(), abs=1e-5)


@given(with_masks())
def test_polygons_give_back_each_mask(made: tuple[Detections, NDArray[np.bool_]]) -> None:
    found, masks = made
    rows = json.loads(json.dumps(found.to_polygons()))["detections"]
    for row, mask in zip(rows, masks, strict=True):
        assert bool(row["polygons"]) == mask.any()
        if row["polygons"]:
            filled = coco_mask.merge(coco_mask.frPyObjects(row["polygons"], *mask.shape))
            assert filled == coco_mask.encode(np.asfortranarray(mask, np.uint8))


@given(with_masks())
def test_the_png_numbers_the_objects_with_the_first_on_top(made: tuple[Detections, NDArray[np.bool_]]) -> None:
    found, masks = made
    read = np.asarray(Image.open(io.BytesIO(found.to_png())))
    for y, x in np.ndindex(read.shape):
        assert read[y, x] == next((i + 1 for i in range(len(masks)) if masks[i, y, x]), 0)


def test_more_than_255_objects_are_numbered_in_16_bits() -> None:
    masks = np.eye(300, dtype=bool)[:, None]
    found = Detections(np.zeros((300, 4)), np.ones(300), [0] * 300, NAMES, 300, 1, masks=masks)  # type: ignore[arg-type]
    read = np.asarray(Image.open(io.BytesIO(found.to_png())))
    assert read.ravel().tolist() == list(range(1, 301))


def test_without_masks_nothing_is_said_of_them_and_what_needs_them_is_an_error() -> None:
    found = detections()
    assert not any("rle" in row for row in found.to_dict()["detections"])
    assert not any("segmentation" in row for row in found.to_coco())
    for ask in (found.to_png, found.to_polygons):
        with pytest.raises(Error, match="there are no masks: the model finds boxes alone"):
            ask()


def test_masks_of_another_number_or_size_are_refused() -> None:
    for shape in ((2, 80, 100), (3, 100, 80)):
        with pytest.raises(ValueError, match=r"Masks\(. of .*\) for 3 boxes in a picture of 100 × 80"):
            detections(masks=np.zeros(shape, bool))


def test_masks_are_painted_under_boxes_and_each_object_has_its_colour() -> None:
    masks = np.zeros((2, 80, 100), bool)
    masks[0, 20:60, 20:60], masks[1, 30:70, 30:90] = True, True
    found = detections(
        boxes=[[20, 20, 60, 60], [30, 30, 90, 70]], scores=[0.9, 0.5], classes=[1, 1], masks=masks, image=grey()
    )
    drawn = found.draw()
    for y, x, number in ((59, 55, 0), (69, 75, 1), (60, 89, 1)):
        assert tuple(drawn[y, x]) == colour(number)
    for y, x, number in ((50, 25, 0), (50, 50, 0), (65, 75, 1)):
        assert not np.isin(drawn[y, x], (100,)).all()
        nearest = [np.abs(drawn[y, x].astype(int) - colour(i)).sum() for i in range(2)]
        assert int(np.argmin(nearest)) == number
    assert (found.image == 100).all()


# Numbers and names.


def test_numbers_are_written_short() -> None:
    assert '"score": 0.9,' in json.dumps(detections().to_dict())


def test_a_frame_of_a_video_says_which_and_when() -> None:
    data = detections(source="clip.mp4", frame=75, time=3.0029999, fps=24.98).to_dict()
    assert (data["source"], data["frame"], data["time"]) == ("clip.mp4", 75, 3.003)


def test_the_eighty_classes_of_coco_get_its_official_ids() -> None:
    # https://cocodataset.org: person is 1, stop sign 13 (12 is not used), toothbrush 90.
    found = detections(class_names=COCO, classes=[0, COCO.index("stop sign"), COCO.index("toothbrush")])
    assert [row["category_id"] for row in found.to_coco()] == [1, 13, 90]


@pytest.mark.parametrize(
    ("source", "frame", "image_id"),
    [
        ("val2017/000000000139.jpg", None, 139),
        ("street.cam1.jpg", None, "street.cam1"),
        ("https://a.org/b/42.png", None, 42),
        ("٣.jpg", None, "٣"),
        ("clip.mp4", 12, "clip_000012"),
    ],
)
def test_a_picture_is_called_in_coco_files_as_its_file(source: str, frame: int | None, image_id: int | str) -> None:
    found = detections(source=source, frame=frame)
    assert {row["image_id"] for row in found.to_coco()} == {image_id}


# Drawing and saving.


def grey(width: int = 100, height: int = 80) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 100, np.uint8)


def test_it_draws_on_the_picture_given_or_the_one_kept_or_reads_it_again(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(grey()).save(path)
    expected = detections().draw(grey())
    assert (expected != 100).any()
    np.testing.assert_array_equal(detections(image=grey()).draw(), expected)
    np.testing.assert_array_equal(detections(source=str(path)).draw(), expected)
    np.testing.assert_array_equal(detections().draw(grey()[..., 0]), expected)  # a grey picture serves


def test_without_a_picture_or_with_one_of_another_size_it_says_what_to_do() -> None:
    with pytest.raises(Error, match=r"array: the picture was not kept; give it to draw: .draw\(image\)"):
        detections().draw()
    with pytest.raises(Error, match=r"frame 7 of clip\.mp4: the picture was not kept"):
        detections(source="clip.mp4", frame=7).draw()
    with pytest.raises(Error, match="picture of 50 × 40; the result is of 100 × 80"):
        detections().draw(grey(50, 40))
    with pytest.raises(Error, match=r"gone\.jpg"):
        detections(source="gone.jpg").draw()


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".webp", ".bmp"])
def test_a_saved_picture_is_read_by_pillow_in_the_same_colours(suffix: str, tmp_path: Path) -> None:
    found = detections(image=grey())
    path = found.save(tmp_path / f"пёс{suffix}")
    read = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"), np.float64)
    assert np.abs(read - found.draw()).mean() < (12 if suffix in {".jpg", ".JPEG"} else 3)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_picture_that_cannot_be_saved_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    found = detections(image=grey())
    old = tmp_path / "x.txt"
    old.write_text("mine")
    with pytest.raises(Error, match=r"'\.txt' is no picture format"):
        found.save(old)
    with pytest.raises(Error, match="No such file or directory"):
        found.save(tmp_path / "missing" / "x.jpg")
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(Error, match="directory"):
        found.save(tmp_path / "x.jpg")
    assert old.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.jpg", "x.txt"]


def test_a_picture_too_large_for_its_format_is_an_error_in_one_line(tmp_path: Path) -> None:
    long = np.zeros((1, 65600, 3), np.uint8)
    found = Detections([], [], [], NAMES, 65600, 1, image=long)  # type: ignore[arg-type]
    with pytest.raises(Error, match=r"cannot hold 65600 × 1 pixels; try \.png") as error:
        found.save(tmp_path / "x.jpg")
    assert "\n" not in str(error.value)
    with Image.open(found.save(tmp_path / "x.png")) as read:
        assert read.size == (65600, 1)
