"""What is wrong with a dataset is found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onelook.data import Dataset, Sample, read, splits
from onelook.data.check import TILE, check, contact_sheet, facts

Picture = Callable[..., Path]
BOXES = np.array([[0, 0, 400, 300], [0, 0, 32, 31], [0, 0, 32, 32], [0, 0, 96, 96], [0, 0, 96, 96]], np.float32)


@pytest.fixture
def dataset(tmp_path: Path, picture: Picture) -> Dataset:
    image = picture(tmp_path / "a.png", 400, 300)
    sample = Sample(image, 400, 300, BOXES, np.array([0, 1, 1, 1, 0]))
    empty = Sample(picture(tmp_path / "b.png", 400, 300, 1), 400, 300)
    return Dataset(tmp_path, "voc", "train", ("cat", "dog", "ox"), (sample, empty))


def test_counts(dataset: Dataset) -> None:
    report = check(dataset)
    split = report.splits[0]
    assert (split.pictures, split.objects, split.empty) == (2, 5, 1)
    assert split.classes == (2, 3, 0)
    assert (split.small, split.medium, split.large, split.whole) == (1, 1, 3, 1)
    assert not report.problems
    assert facts(report)["splits"][0]["classes"] == (2, 3, 0)


def test_pictures_are_looked_at(dataset: Dataset, tmp_path: Path) -> None:
    good = dataset.samples[0]
    (tmp_path / "copy.png").write_bytes(good.image.read_bytes())
    (tmp_path / "cut.png").write_bytes(good.image.read_bytes()[:-200])
    names = ("a.png", "copy.png", "cut.png", "missing.png")
    samples = [replace(good, image=tmp_path / name) for name in names]
    train = replace(dataset, samples=(*samples, replace(good, image=dataset.samples[1].image, width=300)))
    steps: list[int] = []
    report = check([train, replace(dataset, split="val")], progress=lambda: steps.append(1))
    assert [(problem.where, problem.kind) for problem in report.problems] == [
        ("copy.png", "duplicate picture"),
        ("cut.png", "unreadable picture"),
        ("missing.png", "missing picture"),
        ("b.png", "wrong size"),
        ("a.png", "picture in two splits"),
        ("b.png", "picture in two splits"),
    ]
    assert len(steps) == 7
    assert not check([train, dataset], pictures=False).problems
    assert check([dataset, replace(dataset, split="trainval")]).problems == ()


def test_objects_that_are_there_twice(dataset: Dataset) -> None:
    sample = replace(dataset.samples[0], classes=np.array([0, 1, 1, 0, 0]))
    assert [(problem.kind, problem.what) for problem in check(replace(dataset, samples=(sample,))).problems] == [
        ("duplicate box", "1 objects with the class and box of another")
    ]


def test_an_empty_dataset(dataset: Dataset) -> None:
    report = check(replace(dataset, samples=()))
    assert report.splits[0].classes == (0, 0, 0)
    assert contact_sheet(replace(dataset, samples=())).shape == (TILE, TILE, 3)


def test_the_contact_sheet_shows_labelled_pictures(dataset: Dataset, tmp_path: Path, picture: Picture) -> None:
    black = picture(tmp_path / "c.png", 400, 300)
    samples = [Sample(black, 400, 300, BOXES[3:4], np.array([0]), masks=((BOXES[:3, 2:],),))] * 5
    sheet = contact_sheet(
        replace(dataset, samples=(*samples, Sample(tmp_path / "missing.png", 5, 5, labels=np.array([1]))))
    )
    assert sheet.shape == (2 * TILE, 4 * TILE, 3)
    assert contact_sheet(dataset).shape == (TILE, TILE, 3)


def test_real_data_is_leaked_from_train_to_val(shared: Callable[[str], Path]) -> None:
    folder = shared("data/helmets")
    report = check([read(folder, split) for split in splits(folder)], pictures=False)
    assert [(split.pictures, split.objects) for split in report.splits] == [(1400, 6103), (300, 1278)]
    assert report.kinds == {"wrong size": 1, "duplicate box": 1}


def test_a_leak_is_found_where_another_split_holds_all_pictures(dataset: Dataset, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(dataset.samples[0].image.read_bytes())
    val = replace(dataset, split="val", samples=(replace(dataset.samples[0], image=copy),))
    every = replace(dataset, split="all", samples=(*dataset.samples, *val.samples))
    assert "picture in two splits" in check([every, dataset, val]).kinds


def test_the_contact_sheet_goes_to_the_end(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from onelook.data import check as module

    seen: list[int] = []
    monkeypatch.setattr(module, "_tile", lambda image, sample, names: seen.append(int(sample.labels[0])) or BLANK)
    labelled = [replace(dataset.samples[1], labels=np.array([i])) for i in range(23)]
    contact_sheet(replace(dataset, samples=tuple(labelled)), 12)
    assert seen == list(range(0, 23, 2))


BLANK = np.zeros((TILE, TILE, 3), np.uint8)
