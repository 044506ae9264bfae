"""Files that are there when a folder is listed, and gone when they are read."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from onelook import DataError, SourceError
from onelook.data import Dataset, Sample, imagenet, open_images, read, voc, write, yolo
from onelook.runtime.sources import pictures


def test_a_picture_that_vanishes_is_an_error_and_the_others_are_read(tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((4, 4, 3), np.uint8))
    queue = list(pictures(tmp_path))
    (tmp_path / "1.png").unlink()
    assert queue[0].load().shape == queue[2].load().shape == (4, 4, 3)
    with pytest.raises(SourceError, match=r"1\.png: no such file"):
        queue[1].load()


def test_a_folder_that_vanishes_is_an_error_in_its_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "x.png"), np.zeros((4, 4, 3), np.uint8))
    queue = pictures(tmp_path)
    assert next(queue).load().shape == (4, 4, 3)
    (tmp_path / "b" / "x.png").unlink()
    (tmp_path / "b").rmdir()
    with pytest.raises(SourceError, match=r"b: No such file"):
        next(queue).load()
    assert not list(queue)


@pytest.mark.parametrize(
    ("format", "module", "suffix", "said"),
    [
        ("voc", voc, ".xml", "unreadable"),
        ("voc", voc, ".png", ""),  # the annotation says the size
        ("voc", voc, ".txt", "the split 'train' is gone"),
        ("yolo", yolo, ".txt", ""),  # a picture without labels shows no object
        ("yolo", yolo, ".png", "missing picture"),
        ("open-images", open_images, ".csv", "No such file or directory"),
        ("open-images", open_images, ".png", "unreadable"),
    ],
)
def test_labels_that_vanish_are_a_problem_or_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, module: ModuleType, suffix: str, said: str
) -> None:
    samples = []
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((30, 40, 3), np.uint8))
        samples.append(Sample(tmp_path / f"{name}.png", 40, 30, np.array([[1, 2, 9, 9]], np.float32), np.array([0])))
    write([Dataset(tmp_path, "voc", "train", ("cat",), tuple(samples))], tmp_path / "set", format)
    listing: Callable[..., list[str]] = module.listing

    def listed(folder: Path, *suffixes: tuple[str, ...]) -> list[str]:
        names = listing(folder, *suffixes)
        for name in names:
            if name.endswith(suffix):
                (folder / name).unlink()
        return names

    monkeypatch.setattr(module, "listing", listed)
    try:
        problems = read(tmp_path / "set", "train").problems
    except DataError as error:
        assert str(error).endswith(said)
        assert str(error).isprintable()
    else:
        kinds = {problem.kind for problem in problems}
        assert said in kinds if said else not kinds


def test_a_class_folder_that_vanishes_is_one_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "train" / name / "x.png"), np.zeros((4, 4, 3), np.uint8))
    found = imagenet.folders

    def then_gone(path: Path) -> list[Path]:
        result = found(path)
        for folder in result:
            if folder.name == "b":
                (folder / "x.png").unlink(missing_ok=True)
                folder.rmdir()
        return result

    monkeypatch.setattr(imagenet, "folders", then_gone)
    dataset = imagenet.read(tmp_path, "train")
    assert [sample.image.parent.name for sample in dataset.samples] == ["a"]
