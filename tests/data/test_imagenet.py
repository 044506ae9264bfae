"""Folders of pictures, one a class."""

from collections.abc import Callable
from pathlib import Path

from onelook.data import read, splits
from onelook.names import imagenet

Picture = Callable[..., Path]


def test_wordnet_ids_become_names_in_the_order_of_imagenet(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "train/n01443537/x.jpg")
    picture(tmp_path / "train/n01440764/y.jpg", 20, 10)
    picture(tmp_path / "val/n01484850/z.png")
    assert splits(tmp_path) == ("train", "val")
    train, val = read(tmp_path, "train"), read(tmp_path, "val")
    assert train.names == val.names == tuple(imagenet().values())[:3]
    assert train.ids == ("n01440764", "n01443537", "n01484850")
    assert [(one.image.name, one.labels.tolist()) for one in train.samples] == [("y.jpg", [0]), ("x.jpg", [1])]
    assert (train.samples[0].width, train.samples[0].height) == (20, 10)


def test_any_folders_are_classes(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "oak & ash/x.png")
    picture(tmp_path / "elm/x.png")
    (tmp_path / "elm/notes.txt").write_text("x")
    (tmp_path / "elm/broken.jpg").write_text("x")
    dataset = read(tmp_path, "all")
    assert dataset.names == ("elm", "oak & ash")
    assert [problem.where for problem in dataset.problems] == ["elm/broken.jpg"]


def test_real_data(shared: Callable[[str], Path]) -> None:
    dataset = read(shared("data/imagenet200"), "all")
    assert (len(dataset), len(dataset.names)) == (200, 200)
    for sample in dataset.samples:
        word = sample.image.stem.split("_", 1)[1].replace("_", " ").lower()
        name = dataset.names[sample.labels[0]]
        assert imagenet()[sample.image.name[:9]] == name
        assert word.split()[-1] in name.lower().replace("'", "") or "-" in name


def test_a_split_may_be_called_all(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "all/cat/x.png")
    assert splits(tmp_path) == ("all",)
    assert (read(tmp_path, "all").names, len(read(tmp_path, "all"))) == (("cat",), 1)
