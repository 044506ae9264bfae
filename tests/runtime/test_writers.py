import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import coco

from onelook.errors import Error, SourceError
from onelook.runtime.classification import Classification
from onelook.runtime.detections import Detections
from onelook.runtime.segmentation import Segmentation
from onelook.runtime.writers import check_formats, open_writer, run_folder

ALL = ("json", "coco", "csv", "yolo", "jpg")


def found(source: str = "street.jpg", count: int = 2, size: tuple[int, int] = (64, 48), **changes: Any) -> Detections:
    width, height = size
    return Detections(
        boxes=np.array([[1, 2, 30, 40], [5, 5, 9.5, 9]], np.float32)[:count],
        scores=np.array([0.9, 0.5], np.float32)[:count],
        classes=np.array([1, 0])[:count],
        class_names=changes.pop("class_names", ("person", "dog")),
        width=width,
        height=height,
        source=source,
        image=np.full((height, width, 3), (40, 90, 160), np.uint8),
        **changes,
    )


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# The files of each format.


def test_every_format_at_once_gives_exactly_its_files(tmp_path: Path) -> None:
    with open_writer(ALL, tmp_path / "out") as writer:
        writer.write(found("street.jpg"))
    expected = ["coco.json", "labels/street.txt", "results.csv", "results.json", "street.jpg"]
    assert tree(tmp_path / "out") == expected
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in writer.files) == expected


def test_only_the_formats_asked_for_are_written(tmp_path: Path) -> None:
    with open_writer({"yolo"}, tmp_path) as writer:
        writer.write(found())
    assert tree(tmp_path) == ["labels/street.txt"]


def test_an_unknown_format_is_refused_with_the_ones_there_are(tmp_path: Path) -> None:
    with pytest.raises(Error, match="cannot save as 'jpeg'; the formats are json, coco, csv, yolo, jpg"):
        open_writer({"jpeg", "json"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_json_file_holds_each_picture_on_a_line(tmp_path: Path) -> None:
    pictures = [found("a.jpg"), found("пёс.jpg", count=0), found("clip.mp4", frame=3, time=0.12)]
    with open_writer({"json"}, tmp_path) as writer:
        for picture in pictures:
            writer.write(picture)
    text = (tmp_path / "results.json").read_text("utf-8")
    assert "пёс.jpg" in text  # not "\\u043f\\u0451\\u0441"
    assert json.loads(text) == {"images": [picture.to_dict() for picture in pictures]}
    assert [json.loads(line.rstrip(",")) for line in text.splitlines()[1:-1]] == json.loads(text)["images"]


def test_the_coco_file_is_what_pycocotools_loads_as_results(tmp_path: Path) -> None:
    with open_writer({"coco"}, tmp_path) as writer:
        writer.write(found("val/000000000139.jpg"))
        writer.write(found("val/000000000285.jpg", count=0))
        writer.write(found("val/000000000632.jpg", count=1))
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": i, "width": 64, "height": 48} for i in (139, 285, 632)],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
        "annotations": [],
    }
    truth.createIndex()
    loaded = truth.loadRes(str(tmp_path / "coco.json"))
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[139]))
    assert [(a["bbox"], a["category_id"], a["score"]) for a in annotations] == [
        ([1, 2, 29, 38], 2, 0.9),
        ([5, 5, 4.5, 4], 1, 0.5),
    ]
    assert len(loaded.getAnnIds()) == 3


def test_two_pictures_of_one_name_have_two_ids_in_the_coco_file(tmp_path: Path) -> None:
    with open_writer({"coco"}, tmp_path) as writer:
        for source in ("a/1.jpg", "b/1.jpg"):
            writer.write(found(source))
        for source in ("a/clip.mp4", "b/clip.mp4"):
            for frame in range(2):
                writer.write(found(source, frame=frame))
    ids = [row["image_id"] for row in json.loads((tmp_path / "coco.json").read_text())]
    assert len(set(ids)) == 6


def test_the_csv_file_has_a_header_and_a_row_for_each_detection(tmp_path: Path) -> None:
    with open_writer({"csv"}, tmp_path) as writer:
        writer.write(found('a "b", c.jpg', class_names=("line\nbreak", "semi;colon")))
        writer.write(found("empty.jpg", count=0))
        writer.write(found("clip.mp4", count=1, frame=3, time=0.12))
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["name"]) for row in rows] == [
        ('a "b", c.jpg', "semi;colon"),
        ('a "b", c.jpg', "line\nbreak"),
        ("clip.mp4", "dog"),
    ]
    assert [float(rows[0][key]) for key in ("x1", "y1", "x2", "y2", "score")] == [1, 2, 30, 40, 0.9]
    assert [rows[2][key] for key in ("frame", "time", "width", "height", "class")] == ["3", "0.12", "64", "48", "1"]
    assert (rows[0]["frame"], rows[0]["time"]) == ("", "")


def test_a_spreadsheet_sees_no_formula_in_the_csv_file(tmp_path: Path) -> None:
    with open_writer({"csv"}, tmp_path) as writer:
        writer.write(found("=1+1.jpg", class_names=("@SUM(A1)", "-dog")))
        writer.write(found("-x.jpg", class_names=("+1", "\tdog")))
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in list(csv.reader(file))[1:] for cell in (row[0], row[5])]
    assert len(cells) == 8
    assert all(cell.startswith("'") for cell in cells)


@given(st.lists(st.tuples(st.text(), st.text(min_size=1), st.text(min_size=1)), max_size=4))
def test_any_names_come_back_from_json_and_csv(names: list[tuple[str, str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with open_writer({"json", "csv"}, folder) as writer:
            for source, person, dog in names:
                writer.write(found(source, class_names=(person, dog)))
        images = json.loads((Path(folder) / "results.json").read_text("utf-8"))["images"]
        rows = list(csv.DictReader(io.StringIO((Path(folder) / "results.csv").read_bytes().decode())))
    assert [(i["source"], i["detections"][0]["name"], i["detections"][1]["name"]) for i in images] == [
        (source, dog, person) for source, person, dog in names
    ]
    expected = [(source, name) for source, person, dog in names for name in (dog, person)]
    assert [(row["source"], row["name"]) for row in rows] == [
        tuple(f"'{cell}" if cell[:1] in tuple("=+-@\t\r\n＝＋－＠") else cell for cell in pair) for pair in expected
    ]


def test_a_file_name_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    with open_writer(ALL, tmp_path) as writer:
        writer.write(found("caf\udce9.jpg"))
    (image,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["images"]
    assert image["source"] == "caf\udce9.jpg"
    assert "caf\\udce9.jpg" in (tmp_path / "results.csv").read_text("utf-8")
    assert len(tree(tmp_path)) == 5


def test_yolo_labels_are_one_file_a_picture_or_frame_and_empty_for_nothing(tmp_path: Path) -> None:
    with open_writer({"yolo"}, tmp_path) as writer:
        writer.write(found("a.jpg", count=0))
        for frame in (0, 123):
            writer.write(found("clip.mp4", frame=frame))
    assert tree(tmp_path) == ["labels/a.txt", "labels/clip_000000.txt", "labels/clip_000123.txt"]
    assert (tmp_path / "labels/a.txt").read_text() == ""
    class_id, *box = (tmp_path / "labels/clip_000123.txt").read_text().splitlines()[0].split()
    assert class_id == "1"
    np.testing.assert_allclose(np.array(box, float), [15.5 / 64, 21 / 48, 29 / 64, 38 / 48, 0.9], atol=1e-6)


def test_a_drawn_jpeg_is_read_by_pillow_in_the_right_colours_and_quality(tmp_path: Path) -> None:
    picture = found(size=(640, 480))
    with open_writer({"jpg"}, tmp_path) as writer:
        writer.write(picture)
    with Image.open(tmp_path / "street.jpg") as image:
        assert np.abs(np.asarray(image, float) - picture.draw()).mean() < 2
        reference = io.BytesIO()
        Image.fromarray(picture.draw()).save(reference, "JPEG", quality=90)
        with Image.open(reference) as same_quality:
            assert image.quantization == same_quality.quantization  # type: ignore[attr-defined]


def test_a_picture_that_no_jpeg_can_hold_is_its_own_error_and_the_next_one_is_written(tmp_path: Path) -> None:
    with open_writer({"jpg", "json"}, tmp_path) as writer:
        writer.write(found("a.png"))
        with pytest.raises(SourceError) as error:
            writer.write(found("wide.png", size=(65_501, 8)))
        writer.write(found("b.png", size=(65_500, 8)))
    assert str(error.value) == "wide.png: cannot be drawn: no JPEG can have 65501 × 8 pixels"
    assert tree(tmp_path) == ["a.jpg", "b.jpg", "results.json"]
    images = json.loads((tmp_path / "results.json").read_text())["images"]
    assert [image["source"] for image in images] == ["a.png", "wide.png", "b.png"]


# Of classifiers.

SIX = ("tench", "=1+1", "-dog", "@SUM(A1)", 'a "b", c', "狗")


def classified(source: str = "street.jpg", size: tuple[int, int] = (320, 240), **changes: Any) -> Classification:
    width, height = size
    return Classification(
        probabilities=np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01], np.float32),
        class_names=SIX,
        width=width,
        height=height,
        source=source,
        image=np.full((height, width, 3), (40, 90, 160), np.uint8),
        **changes,
    )


def test_every_format_of_a_classifier_gives_exactly_its_files_named_as_those_of_detections(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "a").mkdir(parents=True)
    sources = [str(photos / "x.jpg"), str(photos / "a" / "x.png"), "else/x.jpg", "https://a.org/x.jpg?size=9", "array"]
    trees = []
    for task, result, formats in (
        ("detect", found, ("json", "csv", "jpg")),
        ("classify", classified, ("json", "csv", "jpg")),
    ):
        with open_writer(formats, tmp_path / task, [photos], task) as writer:
            for source in sources:
                writer.write(result(source))  # type: ignore[operator]
            for frame in range(3):
                writer.write(result("clip.mp4", frame=frame))  # type: ignore[operator]
        assert sorted(str(path.relative_to(tmp_path / task)) for path in writer.files) == tree(tmp_path / task)
        trees.append(tree(tmp_path / task))
    assert trees[0] == trees[1]
    assert {"x.jpg", "a/x.jpg", "x-2.jpg", "x-3.jpg", "array.jpg", "clip.mp4", "results.csv"} <= set(trees[1])
    assert len(video_of(tmp_path / "classify" / "clip.mp4")[1]) == 3


@pytest.mark.parametrize("name", ["coco", "yolo", "pdf"])
def test_formats_of_detectors_are_refused_to_classifiers_in_one_line(name: str, tmp_path: Path) -> None:
    for refuse in (
        lambda: check_formats([name], "classify"),
        lambda: open_writer({name}, tmp_path / "out", (), "classify"),
    ):
        with pytest.raises(Error) as error:
            refuse()
        assert str(error.value) == f"cannot save as {name!r}; the formats are json, csv, jpg"
    assert not (tmp_path / "out").exists()


def test_the_json_file_holds_the_likeliest_classes_of_each_picture_on_a_line(tmp_path: Path) -> None:
    with open_writer({"json"}, tmp_path, task="classify") as writer:
        writer.write(classified("пёс.jpg"))
        writer.write(classified("caf\udce9.mp4", frame=3, time=0.12))
    lines = (tmp_path / "results.json").read_text("utf-8").splitlines()
    one, two = (json.loads(line.rstrip(",")) for line in lines[1:-1])
    assert json.loads("\n".join(lines)) == {"images": [one, two]}
    assert [row["name"] for row in one["classes"]] == list(SIX[:5])
    assert [row["score"] for row in one["classes"]] == [0.4, 0.3, 0.15, 0.1, 0.04]
    assert (one["source"], two["source"], two["frame"], two["time"]) == ("пёс.jpg", "caf\udce9.mp4", 3, 0.12)


def test_the_csv_file_has_a_row_for_each_rank_and_no_formula(tmp_path: Path) -> None:
    with open_writer({"csv"}, tmp_path, task="classify") as writer:
        writer.write(classified("=1+1.jpg"))
        writer.write(classified("clip.mp4", frame=3, time=0.12))
    text = (tmp_path / "results.csv").read_text("utf-8")
    assert text.splitlines()[0] == "source,frame,time,width,height,rank,name,class,score"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["rank"], row["name"], row["class"], row["score"]) for row in rows[:5]] == [
        ("1", "tench", "0", "0.4"),
        ("2", "'=1+1", "1", "0.3"),
        ("3", "'-dog", "2", "0.15"),
        ("4", "'@SUM(A1)", "3", "0.1"),
        ("5", 'a "b", c', "4", "0.04"),
    ]
    assert [[row[key] for key in ("source", "frame", "time", "width")] for row in (rows[0], rows[5])] == [
        ["'=1+1.jpg", "", "", "320"],
        ["clip.mp4", "3", "0.12", "320"],
    ]
    assert len(rows) == 10


def test_the_jpeg_of_a_classifier_bears_its_caption(tmp_path: Path) -> None:
    picture = classified()
    with open_writer({"jpg"}, tmp_path, task="classify") as writer:
        writer.write(picture)
    with Image.open(tmp_path / "street.jpg") as image:
        pixels = np.asarray(image, float)
    assert np.abs(pixels - picture.draw()).mean() < 3
    assert np.abs(pixels[:60, :60] - (40, 90, 160)).mean() > 20
    assert np.abs(pixels[-60:] - (40, 90, 160)).mean() < 3


def test_an_interruption_leaves_complete_files_of_what_was_classified(tmp_path: Path) -> None:
    def work() -> None:
        with open_writer({"json", "csv"}, tmp_path, task="classify") as writer:
            writer.write(classified("0.jpg"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert tree(tmp_path) == ["results.csv", "results.json"]
    assert len(json.loads((tmp_path / "results.json").read_text("utf-8"))["images"]) == 1
    assert len((tmp_path / "results.csv").read_text("utf-8").splitlines()) == 6


# Of segmenters, and of detectors that give masks.


def segmented(source: str = "street.jpg", **changes: Any) -> Segmentation:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 5:50] = 1
    image = np.full((48, 64, 3), (40, 90, 160), np.uint8)
    return Segmentation(mask, ("background", "пёс"), 64, 48, source, image, **changes)


def with_masks(source: str = "street.jpg", **changes: Any) -> Detections:
    masks = np.zeros((2, 48, 64), bool)
    masks[0, 2:40, 1:30] = masks[1, 5:9, 5:60] = True
    return found(source, masks=masks, **changes)


@pytest.mark.parametrize("make", [segmented, with_masks])
def test_every_format_of_masks_gives_exactly_its_files(make: Any, tmp_path: Path) -> None:
    with open_writer(("json", "polygons", "png", "jpg"), tmp_path, task="segment") as writer:
        writer.write(make("a/x.jpg"))
        writer.write(make("b/x.jpg"))
        for frame in (0, 12):
            writer.write(make("clip.mp4", frame=frame))
    files = "clip.mp4 clip_000000.png clip_000012.png polygons.json results.json x-2.jpg x-2.png x.jpg x.png"
    assert tree(tmp_path) == files.split()
    assert sorted(path.name for path in writer.files) == tree(tmp_path)
    for file, of in (("results.json", "to_dict"), ("polygons.json", "to_polygons")):
        images = json.loads((tmp_path / file).read_text("utf-8"))["images"]
        expected = [getattr(make("a/x.jpg"), of)(), getattr(make("clip.mp4", frame=12), of)()]
        assert [images[0], images[3]] == json.loads(json.dumps(expected))
    assert (tmp_path / "clip_000012.png").read_bytes() == make().to_png()
    with Image.open(tmp_path / "x.jpg") as image:
        assert np.abs(np.asarray(image, float) - make().draw()).mean() < 8


def test_a_map_never_replaces_a_picture_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("mine")
    with open_writer(("png",), tmp_path, [tmp_path], "segment") as writer:
        writer.write(segmented(str(tmp_path / "x.png")))
    assert (tmp_path / "x.png").read_text() == "mine"
    assert tree(tmp_path) == ["x-2.png", "x.png"]


def test_formats_of_boxes_are_refused_to_masks_in_one_line() -> None:
    with pytest.raises(Error, match="cannot save as 'yolo'; the formats are json, polygons, png, jpg"):
        check_formats(["yolo"], "segment")


# Videos.


def video_of(path: Path) -> tuple[float, list[Any]]:
    reader = cv2.VideoCapture(str(path))
    frames = []
    while (read := reader.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return reader.get(cv2.CAP_PROP_FPS), frames


def test_the_frames_of_a_video_become_one_video_with_its_rate_and_colours(tmp_path: Path) -> None:
    shots = [found("clip.mp4", size=(320, 240), frame=i, fps=12.5) for i in range(7)]
    with open_writer({"jpg"}, tmp_path) as writer:
        for shot in shots:
            writer.write(shot)
    assert tree(tmp_path) == ["clip.mp4"]
    fps, frames = video_of(tmp_path / "clip.mp4")
    assert fps == 12.5
    assert len(frames) == 7
    assert np.abs(frames[6].astype(float) - shots[6].draw()).mean() < 6


@pytest.mark.parametrize("fps", [None, 0.0, float("nan"), 90000.0])
def test_a_camera_that_does_not_know_its_rate_gives_a_video_of_25_frames_a_second(
    fps: float | None, tmp_path: Path
) -> None:
    with open_writer({"jpg"}, tmp_path) as writer:
        for frame in range(3):
            writer.write(found("camera 0", frame=frame, fps=fps))
    assert video_of(tmp_path / "camera 0.mp4")[0] == 25


@given(
    st.floats(0.1, 1000) | st.sampled_from([23.976, 30000 / 1001, 64.9999, 65.537, 119.973, 239.962, 655.04, 999.99])
)
@settings(max_examples=30)
def test_a_video_of_any_rate_is_written(fps: float) -> None:
    """Slow motion of a phone too, whose rate is an average: 119.973."""
    with tempfile.TemporaryDirectory() as folder:
        with open_writer({"jpg"}, folder) as writer:
            for frame in range(2):
                writer.write(found("clip.mp4", frame=frame, fps=fps))
        rate, frames = video_of(Path(folder, "clip.mp4"))
    assert len(frames) == 2
    assert rate == pytest.approx(fps, abs=0.002 if fps < 65 else 0.006 if fps < 655 else 0.06)


def test_videos_and_pictures_that_follow_each_other_are_kept_apart(tmp_path: Path) -> None:
    with open_writer({"jpg", "yolo"}, tmp_path) as writer:
        for source in ("a/clip.mp4", "b/clip.mp4", "b/clip.mp4"):  # the last one twice
            for frame in range(2):
                writer.write(found(source, frame=frame))
        writer.write(found("clip.jpg"))
        writer.write(found("clip.mp4", frame=0))
    names = ["clip", "clip-2", "clip-3", "clip-5"]
    labels = [f"labels/{name}_00000{i}.txt" for name in names for i in range(1 if name == "clip-5" else 2)]
    videos = [f"{name}.mp4" for name in names]
    assert tree(tmp_path) == sorted([*labels, "labels/clip-4.txt", "clip-4.jpg", *videos])
    assert [len(video_of(tmp_path / video)[1]) for video in videos] == [2, 2, 2, 1]


@pytest.mark.parametrize(("source", "frames"), [("camera 0", 8), ("rtsp://camera/live", 8), ("clip.mp4", 3)])
def test_the_video_of_a_camera_keeps_its_pace_where_frames_were_passed_over(
    source: str, frames: int, tmp_path: Path
) -> None:
    shots = [found(source, size=(320, 240), count=count, frame=frame) for frame, count in ((4, 2), (5, 0), (11, 2))]
    with open_writer({"jpg"}, tmp_path) as writer:
        for shot in shots:
            writer.write(shot)
    video = video_of(next(tmp_path.iterdir()))[1]
    assert len(video) == frames
    order = [0, 1, *[2] * (frames - 2)]
    assert all(np.abs(video[i].astype(float) - shots[order[i]].draw()).mean() < 6 for i in range(frames))


def test_a_stream_that_changes_its_size_stays_one_video(tmp_path: Path) -> None:
    with open_writer({"jpg"}, tmp_path) as writer:
        writer.write(found("camera 0", frame=0))
        writer.write(found("camera 0", frame=1, size=(128, 96)))
    frames = video_of(tmp_path / "camera 0.mp4")[1]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2


def test_a_video_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Error, match="1 × 1 pixels") as error, open_writer({"jpg", "json"}, tmp_path) as writer:
        writer.write(found("camera 0", frame=0, size=(1, 1)))
    assert "\n" not in str(error.value)
    assert tree(tmp_path) == ["results.json"]


# Names.


def names(sources: list[str], tmp_path: Path, roots: tuple[str, ...] = ()) -> list[str]:
    with open_writer({"jpg"}, tmp_path / "out", roots) as writer:
        for source in sources:
            writer.write(found(source))
    return [str(path.relative_to(tmp_path / "out")) for path in writer.files]


def test_pictures_of_one_name_do_not_overwrite_one_another(tmp_path: Path) -> None:
    assert names(["a/x.jpg", "b/x.jpg", "x.png", "X.jpg", "x-2.jpg", "x.jpg"], tmp_path) == [
        "x.jpg",
        "x-2.jpg",
        "x-3.jpg",
        "X-4.jpg",
        "x-2-2.jpg",
        "x-5.jpg",
    ]


def test_pictures_of_a_folder_or_pattern_keep_the_folders_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    sources = ["photos/a/x.jpg", "photos/y.jpg", "more/b/c/z.jpg", "alone/v.jpg"]
    expected = ["a/x.jpg", "y.jpg", "c/z.jpg", "v.jpg"]
    assert names(sources, tmp_path, ("photos/", "more/b/**/*.jpg", "alone/v.jpg")) == expected
    absolute = [str(tmp_path / source) for source in sources[:2]]
    assert names(absolute, tmp_path / "second", (str(tmp_path / "photos"),)) == expected[:2]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://example.org/pics/dog.jpeg?size=3", "dog.jpg"),
        ("rtsp://user:secret@example.org:554", "example.org.jpg"),
        ("camera 0", "camera 0.jpg"),
        ("array", "array.jpg"),
        ("", "picture.jpg"),
        ("..", "picture.jpg"),
        ("../../up.jpg", "up.jpg"),
        ('what?*<>|"\n.jpg', "what_______.jpg"),
        ("C:\\pictures\\dog.jpg", "C__pictures_dog.jpg"),
        ("ä" * 300 + ".jpg", "ä" * 100 + ".jpg"),
        (".hidden.jpg", "hidden.jpg"),
    ],
)
def test_any_source_gets_a_name_that_every_system_takes(source: str, name: str, tmp_path: Path) -> None:
    assert names([source], tmp_path) == [name]


def test_a_source_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    root = str(tmp_path / "photos")
    (name,) = names([f"{root}/../../x.jpg"], tmp_path, (root,))
    assert ".." not in name


def test_no_picture_of_the_user_is_ever_overwritten(tmp_path: Path) -> None:
    photos = tmp_path / "out"
    (photos / "labels").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "b.jpg", "clip.mp4", "labels/c.txt"):
        (photos / name).write_text("mine")
    with open_writer({"jpg", "yolo"}, photos, [photos]) as writer:
        for name in ("a.jpg", "b.jpg", "b.png", "c.jpg"):
            writer.write(found(str(photos / name)))
        writer.write(found(str(photos / "clip.mp4"), frame=0))
    for name in ("a.jpg", "b.png", "b.jpg", "clip.mp4", "labels/c.txt"):
        assert (photos / name).read_text() == "mine"
    assert {"a-2.jpg", "b-2.jpg", "b-3.jpg", "c-2.jpg", "clip-2.mp4", "labels/c-2.txt"} <= set(tree(photos))


def test_the_labels_of_a_video_do_not_overwrite_those_of_its_extracted_frames(tmp_path: Path) -> None:
    with open_writer({"yolo"}, tmp_path) as writer:
        writer.write(found("frames/clip_000001.jpg", count=0))
        for frame in range(2):
            writer.write(found("clip.mp4", frame=frame))
    assert (tmp_path / "labels/clip_000001.txt").read_text() == ""
    assert len(tree(tmp_path)) == 3


def test_ten_thousand_pictures_of_one_name_are_named_in_a_moment(tmp_path: Path) -> None:
    with open_writer({"coco"}, tmp_path) as writer:
        nothing = found("array", count=0)
        for _ in range(10_000):
            writer.write(nothing)
    assert json.loads((tmp_path / "coco.json").read_text()) == []


# Whole files only.


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Error, ZeroDivisionError])
@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_interruption_leaves_complete_files_of_what_was_done_and_no_litter(
    interruption: type[BaseException], done: int, tmp_path: Path
) -> None:
    def work() -> None:
        with open_writer(ALL, tmp_path) as writer:
            for i in range(done):
                writer.write(found(f"{i}.jpg"))
            for i in range(done):
                writer.write(found("clip.mp4", frame=i))
            raise interruption

    with pytest.raises(interruption):
        work()
    pictures = [file for i in range(done) for file in (f"{i}.jpg", f"labels/{i}.txt", f"labels/clip_00000{i}.txt")]
    video = ["clip.mp4"] if done else []
    assert tree(tmp_path) == sorted(["coco.json", "results.csv", "results.json", *pictures, *video])
    assert len(json.loads((tmp_path / "results.json").read_text())["images"]) == 2 * done
    assert len(json.loads((tmp_path / "coco.json").read_text())) == 4 * done
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 4 * done
    if done:
        assert len(video_of(tmp_path / "clip.mp4")[1]) == done


def test_no_file_is_in_its_place_before_it_is_complete(tmp_path: Path) -> None:
    with open_writer(ALL, tmp_path) as writer:
        writer.write(found("clip.mp4", frame=0))
        writer.write(found("a.jpg"))
        assert [name for name in tree(tmp_path) if "/." not in f"/{name}"] == [
            "a.jpg",
            "clip.mp4",
            "labels/a.txt",
            "labels/clip_000000.txt",
        ]
    assert not [name for name in tree(tmp_path) if name.startswith(".")]


def test_earlier_results_stay_until_the_new_ones_are_complete(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("earlier")
    with open_writer({"json"}, tmp_path) as writer:
        writer.write(found())
        assert (tmp_path / "results.json").read_text() == "earlier"
    assert len(json.loads((tmp_path / "results.json").read_text())["images"]) == 1


def in_process(code: str, *arguments: str, before: Any = None) -> "subprocess.Popen[str]":
    program = f"""
        import sys
        import numpy as np
        from onelook.errors import Error
        from onelook.runtime.detections import Detections
        from onelook.runtime.writers import open_writer
        def found(source, **changes):
            noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
            return Detections([[1, 2, 30, 40]], [0.9], [1], ("person", "dog"), 64, 48, source, noise, **changes)
        {textwrap.indent(textwrap.dedent(code), " " * 8).strip()}
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=before,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("delay", [0, 0.003, 0.02])
def test_ctrl_c_at_any_moment_leaves_complete_files(delay: float, tmp_path: Path) -> None:
    process = in_process(
        """
        with open_writer({"json", "coco", "csv", "yolo"}, sys.argv[1]) as writer:
            i = 0
            while True:
                writer.write(found(f"picture{i}.jpg"))
                i += 1
                if i == 50: print("running", flush=True)
        """,
        str(tmp_path),
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    images = json.loads((tmp_path / "results.json").read_text())["images"]
    assert len(images) >= 50
    assert abs(len(json.loads((tmp_path / "coco.json").read_text())) - len(images)) <= 1
    with (tmp_path / "results.csv").open(newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {12}
    assert all(path.read_text().count(" ") == 5 for path in (tmp_path / "labels").iterdir())
    assert not [name for name in tree(tmp_path) if Path(name).name.startswith(".")]


def with_full_disk(code: str, folder: Path, limit: int) -> str:
    """What a program prints for which no file can grow beyond `limit` bytes, as on a full disk."""
    process = in_process(
        f"""
        try:
            with open_writer(sys.argv[2].split(","), sys.argv[1]) as writer:
                {textwrap.indent(textwrap.dedent(code), " " * 16).strip()}
        except Error as error:
            print(error)
        """,
        str(folder),
        "json,coco,csv" if "frame" not in code else "jpg",
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    return process.communicate(timeout=30)[0]


@pytest.mark.parametrize("limit", [20_000, 20_001, 20_050, 20_077])
def test_a_full_disk_is_an_error_in_one_line_and_what_was_done_is_there(limit: int, tmp_path: Path) -> None:
    printed = with_full_disk('for i in range(1000): writer.write(found(f"{i}.jpg"))', tmp_path, limit)
    assert printed.startswith("cannot write")
    assert printed.count("\n") == 1
    assert len(json.loads((tmp_path / "results.json").read_text())["images"]) > 100
    assert len(json.loads((tmp_path / "coco.json").read_text())) > 100
    assert (tmp_path / "results.csv").read_bytes().endswith(b"\r\n")
    assert not [name for name in tree(tmp_path) if name.startswith(".")]


def test_a_video_on_a_full_disk_is_an_error_and_not_a_broken_file(tmp_path: Path) -> None:
    printed = with_full_disk('for i in range(300): writer.write(found("clip.mp4", frame=i))', tmp_path, 30_000)
    assert printed.startswith("cannot write")
    assert "is the disk full?" in printed
    assert tree(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(Error, match="cannot write") as error:
            open_writer({"json"}, folder)
        assert "\n" not in str(error.value)
    (tmp_path / "out" / "results.json").mkdir(parents=True)
    with pytest.raises(Error, match=r"results\.json"), open_writer({"json", "coco"}, tmp_path / "out") as writer:
        writer.write(found())
    assert tree(tmp_path / "out") == ["coco.json"]


# Folders for runs.


def test_each_run_gets_the_next_folder(tmp_path: Path) -> None:
    parent = tmp_path / "runs"
    assert run_folder(parent) == parent / "detect-1"
    assert run_folder(parent) == parent / "detect-2"
    for name in ("detect-9", "detect-x", "detect-11-old", "train-40"):
        (parent / name).mkdir()
    assert run_folder(parent).name == "detect-10"
    assert run_folder(parent, "train").name == "train-41"
    assert (parent / "detect-10").is_dir()


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: run_folder(tmp_path), range(40)))
    assert len(set(folders)) == 40


def test_a_parent_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(Error, match="cannot write"):
        run_folder(tmp_path / "runs")


def test_the_folders_of_other_verbs_are_counted_apart(tmp_path: Path) -> None:
    assert run_folder(tmp_path).name == "detect-1"
    assert run_folder(tmp_path, "classify").name == "classify-1"
    assert run_folder(tmp_path).name == "detect-2"
