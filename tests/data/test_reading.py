"""Which format a folder is of, its splits, and the classes that are asked for."""

import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onelook.data import FORMATS, Dataset, Sample, read, splits
from onelook.data.files import read_bytes
from onelook.data.writing import write
from onelook.errors import DataError
from onelook.names import COCO

Picture = Callable[..., Path]


@pytest.fixture
def dataset(tmp_path: Path, picture: Picture) -> Dataset:
    boxes = np.array([[1, 2, 10, 20], [3, 4, 30, 25]], np.float32)
    sample = Sample(picture(tmp_path / "a.png"), 40, 30, boxes, np.array([0, 1]), labels=np.array([1]))
    return Dataset(tmp_path, "voc", "train", ("cat", "dog"), (sample,))


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_recognised(tmp_path: Path, dataset: Dataset, format: str) -> None:
    write([dataset, replace(dataset, split="val")], tmp_path / format, format)
    found = read(tmp_path / format)
    assert (found.format, found.split, len(found)) == (format, "train", 1)
    assert splits(tmp_path / format) == splits(tmp_path / format, format) == ("train", "val")


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path, dataset: Dataset) -> None:
    write([replace(dataset, split="trainval"), replace(dataset, split="test")], tmp_path / "x", "voc")
    with pytest.raises(DataError, match=r"has no split 'train'; it has test, trainval"):
        read(tmp_path / "x", "train")


def test_a_split_is_found_by_the_beginning_of_its_name(tmp_path: Path, dataset: Dataset) -> None:
    names = ("train2017", "validation", "trainval")
    write([replace(dataset, split=name) for name in names], tmp_path / "x", "coco")
    assert read(tmp_path / "x", "train").split == "train2017"
    assert read(tmp_path / "x", "val").split == "validation"


def test_nothing_to_read_is_said_in_one_line(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "x", "no such file"), (tmp_path, "no dataset"), (Path("a\0b"), "no such file")):
        with pytest.raises(DataError, match=message):
            read(path)
    with pytest.raises(DataError, match="unknown format 'pascal'"):
        read(tmp_path, format="pascal")


def test_links_to_themselves_and_pipes_do_not_block(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "annotations").mkdir()
    os.mkfifo(tmp_path / "annotations/instances_train.json")
    with pytest.raises(DataError, match="not an ordinary file"):
        read(tmp_path)
    (tmp_path / "annotations/instances_train.json").unlink()
    (tmp_path / "annotations").rmdir()
    os.mkfifo(tmp_path / "data.yaml")
    os.mkfifo(tmp_path / "a.xml")
    assert read(tmp_path, "all").problems[0].kind == "unreadable"
    (tmp_path / "a.xml").unlink()
    with pytest.raises(DataError):
        read(tmp_path, "all")


def test_classes_come_in_the_order_asked_for(tmp_path: Path, dataset: Dataset) -> None:
    write([dataset], tmp_path / "x", "coco")
    found = read(tmp_path / "x", names=("horse", "dog"))
    assert found.names == ("horse", "dog")
    assert found.samples[0].classes.tolist() == [1]
    assert found.samples[0].boxes.tolist() == [[3, 4, 30, 25]]
    assert [(problem.kind, problem.what) for problem in found.problems] == [
        ("unknown class", "1 objects of cat, not wanted")
    ]


def test_parents_and_labels_follow_their_classes(tmp_path: Path, dataset: Dataset) -> None:
    write([replace(dataset, parents=((), (0,)))], tmp_path / "x", "open-images")
    found = read(tmp_path / "x", names=("dog", "ant", "cat"))
    assert found.parents == ((2,), (), ())
    assert found.samples[0].labels.tolist() == [0]


def test_cocos_classes_are_the_same_in_darknets_spelling(tmp_path: Path, dataset: Dataset) -> None:
    official = tuple({"sofa": "couch", "tvmonitor": "tv"}.get(name, name) for name in COCO)
    sample = replace(dataset.samples[0], classes=np.array([COCO.index("sofa"), 0]))
    write([replace(dataset, names=official, samples=(sample,))], tmp_path / "x", "coco")
    found = read(tmp_path / "x", names=COCO)
    assert found.samples[0].classes.tolist() == [COCO.index("sofa"), 0]
    assert not found.problems


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"[]")
    tracemalloc.start()
    assert read_bytes(path) == b"[]"
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
