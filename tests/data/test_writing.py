"""What is written reads back the same, in so far as the format can hold it."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from onelook import rle
from onelook.data import FORMATS, Dataset, Rle, Sample, read, splits
from onelook.data.sample import FLAGS, Mask
from onelook.data.writing import convert, write
from onelook.errors import DataError, Error

Picture = Callable[..., Path]
WIDTH, HEIGHT = 40, 30

sides = st.tuples(*[st.floats(0, 1, width=32)] * 4)


@st.composite
def some_masks(draw: st.DrawFn, box: np.ndarray) -> Mask:
    kind = draw(st.sampled_from(["none", "polygon", "polygons", "rle"]))
    if kind == "none":
        return None
    if kind == "rle":
        edges = sorted(draw(st.lists(st.integers(0, WIDTH * HEIGHT), max_size=6)))
        return Rle((HEIGHT, WIDTH), rle.compress(np.diff([0, *edges, WIDTH * HEIGHT])))
    x1, y1, x2, y2 = box
    polygon = np.array([[x1, y1], [x2, y1], [x2, y2]], np.float32)
    return (polygon,) if kind == "polygon" else (polygon, polygon[::-1])


@st.composite
def samples(draw: st.DrawFn, image: Path, classes: int) -> Sample:
    corners = np.array(draw(st.lists(sides, max_size=4)), np.float32).reshape(-1, 2, 2) * [WIDTH, HEIGHT]
    if draw(st.booleans()):
        corners = corners.round()
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] > 1e-3).all(1)]
    n = len(boxes)
    index = st.integers(0, classes - 1)
    labels = draw(st.lists(index, unique=True, max_size=2))
    found = tuple(draw(some_masks(box)) for box in boxes) if draw(st.booleans()) else ()
    return Sample(
        image,
        WIDTH,
        HEIGHT,
        boxes,
        np.array([draw(index) for _ in range(n)], np.int64),
        **{flag: np.array([draw(st.booleans()) for _ in range(n)], np.bool_) for flag in FLAGS},
        areas=np.array([draw(st.floats(1, 1000, width=32)) for _ in range(n)], np.float32),
        masks=found,
        labels=np.array(sorted(labels), np.int64),
        absent=np.array([i for i in range(classes) if i not in labels], np.int64),
    )


words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=6)
class_names = st.lists(words, min_size=1, max_size=4, unique_by=str.casefold).map(sorted).map(tuple)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, picture: Picture) -> Path:
    return picture(tmp_path_factory.mktemp("image") / "a.png", WIDTH, HEIGHT)


@st.composite
def datasets(draw: st.DrawFn, image: Path) -> Dataset:
    names = draw(class_names)
    return Dataset(image.parent, "x", "train", names, tuple(draw(st.lists(samples(image, len(names)), max_size=3))))


@pytest.mark.parametrize("format", ["voc", "coco", "open-images", "yolo"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_any_dataset_comes_back(
    tmp_path_factory: pytest.TempPathFactory, image: Path, format: str, draw: st.DataObject
) -> None:
    dataset = draw.draw(datasets(image))
    folder = tmp_path_factory.getbasetemp() / f"written-{format}"
    shutil.rmtree(folder, ignore_errors=True)
    notes = write([dataset], folder, format)
    if not dataset.samples and format == "yolo":
        return  # a folder without a picture is no dataset of it
    found = read(folder)
    holds = FORMATS[format].HOLDS
    assert not found.problems
    assert len(found) == len(dataset)
    if format != "voc":  # which knows only the classes that it has objects of
        assert found.names == dataset.names
    marks = [flag for flag in ("difficult", "crowd") if flag not in holds]  # such objects are left out
    trained = [
        one.where(~np.any([getattr(one, flag) for flag in marks], 0)) if marks else one for one in dataset.samples
    ]
    for a, b in zip(trained, sorted(found.samples, key=lambda one: len(one.image.stem)), strict=True):
        assert (b.width, b.height) == (WIDTH, HEIGHT)
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=1e-5)
        assert [dataset.names[i] for i in a.classes] == [found.names[i] for i in b.classes]
        for flag in FLAGS:
            expected = getattr(a, flag) if flag in holds else np.zeros(len(a), np.bool_)
            assert getattr(b, flag).tolist() == expected.tolist()
        if "labels" in holds:
            assert (sorted(b.labels.tolist()), sorted(b.absent.tolist())) == (a.labels.tolist(), a.absent.tolist())
        if format == "coco":
            assert a.areas.tolist() == b.areas.tolist()
            for mask, other in zip(a.masks, b.masks or [None] * len(a), strict=False):
                assert outline(mask) == outline(other)
    lost = {note.split("'")[1] for note in notes if "'" in note}
    assert not lost & holds
    assert ("difficult" in lost) == (format != "voc" and any(sample.difficult.any() for sample in dataset.samples))


def outline(mask: Mask) -> object:
    if isinstance(mask, Rle):
        return mask.size, mask.counts
    return None if mask is None else [polygon.tolist() for polygon in mask]


def sample_of(image: Path, **more: object) -> Sample:
    return Sample(image, WIDTH, HEIGHT, np.array([[1, 2, 10, 20.5]], np.float32), np.array([0]), **more)  # type: ignore[arg-type]


def test_whole_numbers_are_written_whole(tmp_path: Path, image: Path) -> None:
    write([Dataset(tmp_path, "x", "train", ("cat",), (sample_of(image),))], tmp_path / "x", "voc")
    text = (tmp_path / "x/Annotations/a.xml").read_text()
    assert "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>10</xmax><ymax>20.5</ymax></bndbox>" in text


def test_pictures_of_one_name_get_others(tmp_path: Path, picture: Picture) -> None:
    names = ["1/a.png", "2/a.png", "3/A.jpg", "4/.hidden.jpg", "5/b\nc.jpg", "6/photo.jfif", "6/photo.jpg"]
    images = [picture(tmp_path / "in" / name.replace("jfif", "png"), number=i) for i, name in enumerate(names)]
    images[5] = images[5].rename(images[5].with_suffix(".jfif"))
    dataset = Dataset(tmp_path, "x", "train", ("cat",), tuple(map(sample_of, images)))
    for format in ("voc", "coco", "open-images", "yolo"):
        write([dataset], tmp_path / format, format)
        found = read(tmp_path / format)
        assert len(found) == len(names)
        assert not found.problems
        assert {one.image.read_bytes() for one in found.samples} == {image.read_bytes() for image in images}
        assert len({one.image.stem.casefold() for one in found.samples}) == len(names)


def test_pictures_are_linked_and_one_in_two_splits_is_there_once(tmp_path: Path, image: Path) -> None:
    one = Dataset(tmp_path, "x", "train", ("cat",), (sample_of(image),))
    write([one, replace(one, split="trainval")], tmp_path / "x", "voc")
    assert [file.name for file in (tmp_path / "x/JPEGImages").iterdir()] == ["a.png"]
    assert os.path.samefile(tmp_path / "x/JPEGImages/a.png", image)
    other = replace(one, split="val", samples=(sample_of(image, difficult=np.array([True])),))
    assert splits(tmp_path / "x") == ("train", "trainval")
    write(
        [one, replace(other, samples=(replace(other.samples[0], boxes=other.samples[0].boxes + 1),))],
        tmp_path / "y",
        "voc",
    )
    assert len(list((tmp_path / "y/JPEGImages").iterdir())) == 2


def test_a_missing_picture_is_said_and_left_out(tmp_path: Path, image: Path) -> None:
    dataset = Dataset(tmp_path, "x", "train", ("cat",), (sample_of(image), sample_of(tmp_path / "none.png")))
    for format in ("voc", "coco", "open-images", "yolo"):
        notes = write([dataset], tmp_path / format, format)
        assert notes == ["1 pictures are missing or unreadable; they are left out with their labels"]
        assert len(read(tmp_path / format)) == 1


def test_nothing_is_written_into_a_folder_that_is_not_empty(tmp_path: Path, image: Path) -> None:
    dataset = Dataset(tmp_path, "x", "train", ("cat",), (sample_of(image),))
    (tmp_path / "x").mkdir()
    (tmp_path / "x/y").write_text("")
    with pytest.raises(DataError, match="not empty"):
        write([dataset], tmp_path / "x", "voc")
    with pytest.raises(Error, match="cannot write"):
        write([dataset], tmp_path / "x/y", "voc")
    with pytest.raises(DataError, match="unknown format"):
        write([dataset], tmp_path / "z", "pascal")
    with pytest.raises(DataError, match="different names"):
        write([dataset, dataset], tmp_path / "z", "voc")
    with pytest.raises(DataError, match="same classes"):
        write([dataset, replace(dataset, split="val", names=("dog",))], tmp_path / "z", "voc")


def test_classification_sets_go_to_folders(tmp_path: Path, picture: Picture) -> None:
    names = ("tench, Tinca tinca", "my cat")
    images = [picture(tmp_path / f"in/{i}.png", number=i) for i in range(3)]
    found = [Sample(image, WIDTH, HEIGHT, labels=np.array([i % 2])) for i, image in enumerate(images)]
    dataset = Dataset(tmp_path, "x", "val", names, (*found, Sample(images[0], WIDTH, HEIGHT)))
    notes = write([dataset], tmp_path / "x", "imagenet")
    assert len(notes) == 1
    assert "1 pictures that have none" in notes[0]
    assert {folder.name for folder in (tmp_path / "x/val").iterdir()} == {"n01440764", "my cat"}
    back = read(tmp_path / "x", "val", names=names)
    assert [one.labels.tolist() for one in sorted(back.samples, key=lambda one: one.image.name)] == [[0], [1], [0]]
    with pytest.raises(DataError, match="class a_b: 2 classes have that name"):
        write([replace(dataset, names=("a\tb", "a_b"))], tmp_path / "z", "imagenet")
    with pytest.raises(DataError, match="no folder can have that name"):
        write([replace(dataset, names=("a/b", "c"))], tmp_path / "y", "imagenet")


def test_ids_of_classes_and_pictures_stay(tmp_path: Path, picture: Picture) -> None:
    image = picture(tmp_path / "000000000139.jpg", WIDTH, HEIGHT)
    dataset = Dataset(tmp_path, "coco", "val2017", ("car", "dog"), (sample_of(image),), ids=("3", "18"))
    write([dataset], tmp_path / "x", "coco")
    content = json.loads((tmp_path / "x/annotations/instances_val2017.json").read_text())
    assert [category["id"] for category in content["categories"]] == [3, 18]
    assert (content["images"][0]["id"], content["annotations"][0]["image_id"]) == (139, 139)
    write([replace(dataset, format="open-images", ids=("/m/0k4j", "/m/0bt9lr"))], tmp_path / "y", "open-images")
    assert read(tmp_path / "y", "val").ids == ("/m/0k4j", "/m/0bt9lr")


def test_a_hierarchy_comes_back(tmp_path: Path, image: Path) -> None:
    parents = ((), (0,), (0, 1), (2,))
    dataset = Dataset(tmp_path, "x", "train", ("a", "b", "c", "d"), (sample_of(image),), parents=parents)
    write([dataset], tmp_path / "x", "open-images")
    assert read(tmp_path / "x").parents == parents


def test_splits_with_different_classes_get_all_of_them(tmp_path: Path, image: Path) -> None:
    dataset = Dataset(tmp_path, "coco", "train", ("cat", "dog"), (sample_of(image),))
    write([dataset], tmp_path / "one", "coco")
    write([replace(dataset, split="val", names=("dog", "ant"))], tmp_path / "two", "coco")
    shutil.move(tmp_path / "two/annotations/instances_val.json", tmp_path / "one/annotations")
    shutil.move(tmp_path / "two/val", tmp_path / "one")
    convert(tmp_path / "one", tmp_path / "x", "yolo")
    train, val = read(tmp_path / "x", "train"), read(tmp_path / "x", "val")
    assert train.names == val.names == ("cat", "dog", "ant")
    assert (train.samples[0].classes.tolist(), val.samples[0].classes.tolist()) == ([0], [1])


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # in pycocotools
def test_real_data_around_the_formats(shared: Callable[[str], Path], tmp_path: Path) -> None:
    source = shared("data/coco-tiny")
    expected = read(source, "val2017")
    convert(source, tmp_path / "coco", "coco", "val2017")
    found = read(tmp_path / "coco", "val")
    assert found.ids == expected.ids
    for a, b in zip(expected.samples, found.samples, strict=True):
        assert a.boxes.tolist() == b.boxes.tolist()
        assert a.areas.tolist() == b.areas.tolist()
        assert list(map(outline, a.masks)) == list(map(outline, b.masks))
        assert all(
            coco_mask.decode({"size": list(mask.size), "counts": mask.counts}).sum()
            for mask in b.masks
            if isinstance(mask, Rle)
        )
    for number, format in enumerate(("yolo", "open-images", "voc")):
        previous = tmp_path / ("coco", "yolo", "open-images")[number]
        convert(previous, tmp_path / format, format)
    found = read(tmp_path / "voc", "val", names=expected.names)
    for a, b in zip(sorted(expected.samples, key=lambda one: one.image), found.samples, strict=True):
        np.testing.assert_allclose(a.boxes[~a.crowd], b.boxes, atol=1e-3)
        assert a.classes[~a.crowd].tolist() == b.classes.tolist()


def test_names_that_cannot_be_printed_can_be_read_again(tmp_path: Path, image: Path) -> None:
    dataset = Dataset(tmp_path, "x", "train-small", ("hard\u00a0hat", "dog"), (sample_of(image),))
    write([dataset], tmp_path / "x", "yolo")
    assert read(tmp_path / "x", "train-small").names == ("hard_hat", "dog")
