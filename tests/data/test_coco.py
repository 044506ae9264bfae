"""COCO's JSON files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from onelook.data import Dataset, Rle, read, splits
from onelook.errors import DataError

IMAGE = {"id": 7, "file_name": "a.jpg", "width": 40, "height": 30}
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]


def make(folder: Path, annotations: list[Any], images: list[Any] | None = None, categories: Any = CATEGORIES) -> Path:
    file = folder / "annotations/instances_train2017.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": [IMAGE] if images is None else images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))
    return folder


def annotation(*box: float, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 18, "bbox": list(box), "iscrowd": 0, **more}


def read_one(folder: Path, *annotations: Any) -> Dataset:
    return read(make(folder, list(annotations)))


def test_ids_with_gaps_become_indices_in_their_order(tmp_path: Path) -> None:
    dataset = read_one(tmp_path, annotation(1, 2, 10, 20, area=123.5), annotation(0, 0, 5, 5, category_id=3, iscrowd=1))
    sample = dataset.samples[0]
    assert (dataset.names, dataset.ids, dataset.split) == (("car", "dog"), ("3", "18"), "train2017")
    assert sample.boxes.tolist() == [[1, 2, 11, 22], [0, 0, 5, 5]]
    assert sample.classes.tolist() == [1, 0]
    assert sample.areas.tolist() == [123.5, 25]
    assert sample.id == 7
    assert sample.crowd.tolist() == [False, True]
    assert sample.image == tmp_path / "a.jpg"


def test_pictures_are_in_the_folder_of_their_split(tmp_path: Path) -> None:
    (tmp_path / "images/train2017").mkdir(parents=True)
    make(tmp_path, [])
    for path in (tmp_path, tmp_path / "annotations/instances_train2017.json"):
        assert read(path).samples[0].image == tmp_path / "images/train2017/a.jpg"


def test_masks_are_kept(tmp_path: Path) -> None:
    pixels = np.zeros((30, 40), np.uint8, order="F")
    pixels[3:9, 4:20] = 1
    encoded = coco_mask.encode(pixels)
    text = {"size": [30, 40], "counts": encoded["counts"].decode()}
    lengths = {"size": [30, 40], "counts": [123, *[6, 24] * 15, 6, 30 * 40 - 123 - 30 * 15 - 6]}
    polygons = [[0, 0, 9, 0, 9, 9], [1, 1, 2, 2, 3, 1.5, 1, 1]]
    masks = [text, lengths, polygons, [], [[]]]
    sample = read_one(tmp_path, *(annotation(1, 2, 10, 20, segmentation=mask) for mask in masks)).samples[0]
    for found in sample.masks[:2]:
        assert isinstance(found, Rle)
        assert found.size == (30, 40)
        assert found.counts == encoded["counts"]
    assert [polygon.reshape(-1).tolist() for polygon in sample.masks[2] or ()] == polygons
    assert sample.masks[3:] == (None, None)


def test_a_mask_of_more_pixels_than_a_picture_may_have_is_none(tmp_path: Path) -> None:
    side = 1 << 15
    image = {"id": 1, "file_name": "gone.jpg", "width": side, "height": side}
    mask = {"size": [side, side], "counts": [side * side]}
    content = {
        "images": [image],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 9], "segmentation": mask}],
    }
    file = tmp_path / "instances_x.json"
    file.write_text(json.dumps(content))
    dataset = read(file, "x")
    assert [problem.what for problem in dataset.problems] == ["32768 x 32768 are more pixels than a picture may have"]
    assert not dataset.samples[0].masks


@pytest.mark.parametrize(
    "mask",
    [
        [[1, 2, 3]],
        [[1, 2, 3, 4]],
        [[0, 0, 9, 0, 9, float("nan")]],
        [[10**400] * 6],
        "x",
        5,
        {"size": [30, 40], "counts": [1, 2]},
        {"size": [30, 40], "counts": "P"},
        {"size": [30, 40], "counts": [[1200]]},
        {"size": [30, 40], "counts": [1300, -100]},
        {"size": [30, 40], "counts": None},
        {"size": [40, 30], "counts": [1200]},
        {"size": [10**30, 40], "counts": [1200]},
        {"counts": [1200]},
    ],
)
def test_a_bad_mask_leaves_the_box(tmp_path: Path, mask: Any) -> None:
    dataset = read_one(tmp_path, annotation(1, 2, 10, 20, segmentation=mask))
    assert [problem.kind for problem in dataset.problems] == ["bad mask"]
    assert dataset.samples[0].boxes.tolist() == [[1, 2, 11, 22]]
    assert not any(mask is not None for mask in dataset.samples[0].masks)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (annotation(1, 2, 3), "bad object"),
        (annotation(1, 2, 3, "4"), "bad object"),
        ("x", "bad object"),
        (annotation(1, 2, 3, 4, image_id=8), "unknown picture"),
        (annotation(1, 2, 3, 4, image_id=[]), "unknown picture"),
        (annotation(1, 2, 3, 4, category_id=8), "unknown class"),
        (annotation(1, 2, 3, 4, category_id={}), "unknown class"),
        (annotation(1, 2, 3, float("nan")), "not a number"),
        (annotation(1, 2, 3, 10**400), "not a number"),
        (annotation(1, 2, 3, 0), "empty box"),
        (annotation(50, 2, 3, 3), "empty box"),
    ],
)
def test_a_bad_object_is_left_out(tmp_path: Path, entry: Any, kind: str) -> None:
    dataset = read_one(tmp_path, annotation(1, 2, 10, 20), entry)
    expected = [("annotations/instances_train2017.json: annotations[1]", kind)]
    assert [(problem.where, problem.kind) for problem in dataset.problems] == expected
    assert len(dataset.samples[0]) == 1


def test_bad_pictures_and_categories_are_left_out(tmp_path: Path) -> None:
    images = [IMAGE, IMAGE, "x", {"id": 8}, {**IMAGE, "id": 9, "file_name": "\0"}, {**IMAGE, "id": 10, "width": -1}]
    categories = [*CATEGORIES, CATEGORIES[0], {"id": "x", "name": "y"}, 5]
    dataset = read(make(tmp_path, [], images, categories))
    kinds = [problem.kind for problem in dataset.problems]
    assert kinds == ["duplicate", *["bad category"] * 2, "duplicate", *["bad picture"] * 3, "missing picture"]
    assert (len(dataset), len(dataset.names)) == (1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "not readable as JSON"),
        ("[]", "a list of 'images'"),
        ('{"images": [], "annotations": {}, "categories": []}', "a list of 'annotations'"),
    ],
    ids=range(6),
)
def test_what_is_no_coco_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    file = make(tmp_path, []) / "annotations/instances_train2017.json"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([7, 18, 2**70, "7"]),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inside),
    max_leaves=6,
)


def entries(*keys: str) -> st.SearchStrategy[list[Any]]:
    return st.lists(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(keys, JSON)), max_size=3)


@given(
    entries("id", "file_name", "width", "height"),
    entries("image_id", "category_id", "bbox", "segmentation", "area", "iscrowd"),
    entries("id", "name"),
)
def test_any_content_makes_a_dataset(
    tmp_path_factory: pytest.TempPathFactory, images: list[Any], annotations: list[Any], categories: list[Any]
) -> None:
    odd = [{**annotation(1, 2, 3, 4), **entry} for entry in annotations if isinstance(entry, dict)]
    folder = make(
        tmp_path_factory.getbasetemp() / "coco", annotations + odd, [IMAGE, *images], [*CATEGORIES, *categories]
    )
    dataset = read(folder)
    assert len(dataset) >= 1
    assert all("\n" not in problem.where + problem.what for problem in dataset.problems)


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = make(tmp_path_factory.getbasetemp() / "coco-bytes", [])
    (folder / "annotations/instances_train2017.json").write_bytes(data)
    with pytest.raises(DataError) as error:
        read(folder)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # in pycocotools
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_data_as_pycocotools_has_it(shared: Callable[[str], Path], split: str) -> None:
    folder = shared("data/coco-tiny")
    dataset = read(folder, split)
    assert splits(folder) == ("train2017", "val2017")
    coco = COCO(str(folder / f"annotations/instances_{split}.json"))
    assert list(dataset.names) == [category["name"] for category in coco.loadCats(coco.getCatIds())]
    assert len(dataset) == len(coco.imgs) == 80
    for sample, image in zip(dataset.samples, coco.dataset["images"], strict=True):
        expected = coco.imgToAnns[image["id"]]
        boxes = np.array([one["bbox"] for one in expected]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(sample.boxes, boxes, atol=0.01)
        np.testing.assert_allclose(sample.areas, [one["area"] for one in expected], rtol=1e-6)
        assert [dataset.ids[i] for i in sample.classes] == [str(one["category_id"]) for one in expected]
        for mask, one in zip(sample.masks, expected, strict=True):
            if isinstance(mask, Rle):
                pixels = coco_mask.decode({"size": list(mask.size), "counts": mask.counts})
                assert (pixels == coco.annToMask(one)).all()
