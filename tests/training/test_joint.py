"""YOLO9000's joint training: the tree of classes, the two datasets, a run on both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from onelook import TrainingError
from onelook.data import read
from onelook.names import imagenet
from onelook.training import resume, train
from onelook.training.joint import join, read_tree
from onelook.training.loader import Loader
from onelook.training.run import read_progress
from rectangles import ALONE, PLAIN, TINY, classification, detection, settings

TREE = "colour -1\nred 0\ngreen 0\nblue 0\n"


def tree(folder: Path, text: str = TREE) -> Path:
    path = folder / "colours.tree"
    path.write_text(text)
    return path


def test_a_tree_is_read_line_by_line(tmp_path: Path) -> None:
    found = read_tree(tree(tmp_path, "n02084071 -1\n\nhot dog 0\nn02085620   0\n"))
    assert found.names == ("n02084071", "hot dog", imagenet()["n02085620"])
    assert found.parents == (-1, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red -1\nblue\n", r"colours.tree:2: expected a class and the number of its parent; found 'blue'"),
        ("red -1\nblue x\n", r"colours.tree:2: expected a class"),
        ("red -1\nblue 1\n", r"class 1 has the parent 1; expected one that stands before it"),
        ("red -1\nred -1\n", r"each of a name of its own; found 1 names"),
        ("", r"found 0 names"),
    ],
)
def test_a_file_that_is_no_tree_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        read_tree(tree(tmp_path, text))
    with pytest.raises(TrainingError, match="nowhere: cannot be read"):
        read_tree(tmp_path / "nowhere")


def test_pictures_of_known_classes_come_behind_those_with_boxes(tmp_path: Path) -> None:
    names = read_tree(tree(tmp_path, "blue -1\nred -1\n")).names
    boxes = read(detection(tmp_path / "boxes"), "train", names=names)
    joined = join(boxes, classification(tmp_path / "classes"), "train")
    behind = joined.samples[len(boxes) :]
    assert joined.samples[: len(boxes)] == boxes.samples
    assert [(sample.image.parent.name, sample.labels.tolist()) for sample in behind] == [("blue", [0])] * 4 + [
        ("red", [1])
    ] * 4
    with pytest.raises(TrainingError, match="no pictures of the classes"):
        join(read(tmp_path / "boxes", "train", names=("grey",)), tmp_path / "classes", "train")


def test_a_picture_of_a_class_as_a_whole_is_in_no_mosaic(tmp_path: Path) -> None:
    """What it shows, at an unknown place, would be taken for background there. Each has a colour that no other has."""
    data = detection(tmp_path / "boxes", train=6)
    joined = join(read(data, "train"), classification(tmp_path / "classes"), "train")
    whole = [i for i, sample in enumerate(joined.samples) if not len(sample)]
    loader = Loader(joined.samples, settings(batch=6, augmentation=PLAIN, epochs=2), ALONE)
    seen: list[int] = []
    load = loader._load
    loader._load = lambda index, size: seen.append(index) or load(index, size)  # type: ignore[func-returns-value, method-assign]
    mosaics = replace(PLAIN, mosaic=1.0)
    for i in range(6):
        loader._make(i, (0, 0, i), (64, 64), mosaics)
    assert len(seen) == 24
    assert not set(seen) & set(whole)
    for i in whole:
        loader._make(i, (0, 0, i), (64, 64), mosaics)
    assert len(seen) == 24 + len(whole)


def test_a_run_learns_from_both_and_goes_on_where_it_was(tmp_path: Path) -> None:
    boxes, classes = detection(tmp_path / "boxes"), classification(tmp_path / "classes")
    how = settings(epochs=2, batch=8, average=0.0)
    options = {**TINY, "model": "yolo_v2", "tree": tree(tmp_path), "classified": classes, "quiet": True}
    steps = iter(range(100))
    stopped = train(boxes, **options, settings=how, folder=tmp_path / "run", stop=lambda: next(steps) == 2)
    assert stopped.model is None
    about = read_progress(tmp_path / "run" / "last.safetensors")["about"]
    assert about["data"]["pictures"] == 12 + 12
    assert about["names"] == ["colour", "red", "green", "blue"]
    assert about["options"]["parents"] == [-1, 0, 0, 0]
    done = resume(tmp_path / "run", quiet=True)
    assert done.model is not None
    assert all(np.isfinite(list(epoch.values())).all() for epoch in done.history)
    torch.manual_seed(0)
    whole = train(boxes, **options, settings=how, folder=tmp_path / "whole")
    assert whole.history == done.history


@pytest.mark.parametrize("option", ["tree", "classified"])
def test_only_yolo_v2_is_trained_jointly(option: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="for yolo_v2"):
        train(tmp_path, model="yolo_v3", **{option: tmp_path})
