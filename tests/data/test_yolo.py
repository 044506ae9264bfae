"""The text labels of Darknet and Ultralytics, and the files that say where they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.data import Dataset, read, splits
from onelook.data.settings import read_yaml
from onelook.errors import DataError
from onelook.names import COCO

Picture = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, picture: Picture) -> Callable[[str], Path]:
    """A dataset of one picture with those labels."""

    def write(labels: str, names: str = "names: [cat, dog]") -> Path:
        picture(tmp_path / "images/train/a.jpg", 40, 30)
        (tmp_path / "labels/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / "labels/train/a.txt").write_text(labels)
        (tmp_path / "data.yaml").write_text(f"train: images/train\n{names}\n")
        return tmp_path

    return write


def test_boxes_are_relative_to_the_picture(make: Callable[[str], Path]) -> None:
    dataset = read(make("1 0.5 0.5 0.5 0.2\n\n0.0 0.25 0.5 0.5 1\n"))
    assert dataset.samples[0].boxes.tolist() == [[10, 12, 30, 18], [0, 0, 20, 30]]
    assert dataset.samples[0].classes.tolist() == [1, 0]
    assert not dataset.problems


def test_polygons_have_their_box(make: Callable[[str], Path]) -> None:
    sample = read(make("1 0.25 0.2 0.5 0.2 0.5 1\n0 0.5 0.5 0.5 0.2\n")).samples[0]
    assert sample.boxes.tolist() == [[10, 6, 20, 30], [10, 12, 30, 18]]
    assert (sample.masks[0] or ())[0].tolist() == [[10, 6], [20, 6], [20, 30]]
    assert sample.masks[1] is None


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1 0.5 0.5 0.5", "bad line"),
        ("1 0.5 0.5 0.5 0.2 0.9", "bad line"),
        ("1 0.5 0.5 0.5 x", "bad line"),
        ("dog 0.5 0.5 0.5 0.2", "bad line"),
        ("1.5 0.5 0.5 0.5 0.2", "bad line"),
        ("nan 0.5 0.5 0.5 0.2", "bad line"),
        ("1e400 0.5 0.5 0.5 0.2", "bad line"),
        ("2 0.5 0.5 0.5 0.2", "unknown class"),
        ("-1 0.5 0.5 0.5 0.2", "unknown class"),
        ("1 nan 0.5 0.5 0.2", "not a number"),
        ("1 0.5 0.5 1e400 0.2", "not a number"),
        ("1 0.5 0.5 0 0.2", "empty box"),
        ("1 2.5 0.5 0.5 0.2", "empty box"),
        ("1 0.5 0.5 1.5 0.2", "box outside"),
        ("1 1e308 1e308 1e308 1e308 -1e308 -1e308", "not a number"),
    ],
)
def test_a_bad_line_is_a_problem_with_its_number(make: Callable[[str], Path], line: str, kind: str) -> None:
    dataset = read(make(f"1 0.5 0.5 0.5 0.2\n{line}\n"))
    assert [(problem.where, problem.kind) for problem in dataset.problems] == [("labels/train/a.txt:2", kind)]
    assert len(dataset.samples[0]) == 1 + (kind == "box outside")


def test_what_is_no_file_of_labels_is_not_read_to_its_end(make: Callable[[str], Path]) -> None:
    dataset = read(make("hello\n" * 10_000))
    assert len(dataset.problems) == 101


def test_a_picture_without_labels_is_empty_and_labels_without_one_a_problem(make: Callable[[str], Path]) -> None:
    folder = make("")
    (folder / "labels/train/a.txt").rename(folder / "labels/train/b.txt")
    dataset = read(folder)
    assert [len(sample) for sample in dataset.samples] == [0]
    assert [(problem.where, problem.kind) for problem in dataset.problems] == [
        ("labels/train/b.txt", "missing picture")
    ]


def test_without_names_classes_are_numbered_over_all_splits(tmp_path: Path, picture: Picture) -> None:
    for split, class_ in (("train", 0), ("val", 2)):
        picture(tmp_path / f"images/{split}/a.jpg")
        (tmp_path / f"labels/{split}").mkdir(parents=True)
        (tmp_path / f"labels/{split}/a.txt").write_text(f"{class_} 0.5 0.5 0.5 0.5\n")
    assert read(tmp_path, "train").names == ("class 0", "class 1", "class 2")
    (tmp_path / "labels/val/a.txt").write_text("79 0.5 0.5 0.5 0.5\n")
    assert read(tmp_path, "train").names == COCO
    assert read(tmp_path, "train", names=[f"name {i}" for i in range(99)]).problems[0].kind == "unknown class"
    (tmp_path / "obj.names").write_text("one\ntwo\nthree\n")
    assert read(tmp_path, "train").names == ("one", "two", "three")


def test_names_can_be_given_to_numbered_classes(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "images/a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    assert splits(tmp_path) == ("all",)
    dataset = read(tmp_path, "all", names=["a", "b", "c"])
    assert (dataset.names, len(dataset.samples[0])) == (("a", "b", "c"), 1)


def test_darknets_lists_and_data_file(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "set/JPEGImages/a.jpg")
    picture(tmp_path / "set/obj/b.png")
    (tmp_path / "set/labels").mkdir()
    (tmp_path / "set/labels/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "set/obj/b.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    lines = [str(tmp_path / "set/JPEGImages/a.jpg"), "set/obj/b.png", "set/obj/b.png", "set/obj/c.png", ""]
    (tmp_path / "train.txt").write_text("\r\n".join(lines))
    (tmp_path / "voc.names").write_text("cat\ndog\n")
    (tmp_path / "voc.data").write_text("classes = 2\ntrain  = train.txt\nnames = voc.names\n# x\nbackup = /x\n")
    for path in (tmp_path, tmp_path / "voc.data"):
        dataset = read(path)
        assert [sample.classes.tolist() for sample in dataset.samples] == [[0], [1]]
        assert [problem.kind for problem in dataset.problems] == ["duplicate", "missing picture"]
        assert dataset.names == ("cat", "dog")
    (tmp_path / "voc.data").unlink()
    assert read(tmp_path).names == ("cat", "dog")


@pytest.mark.parametrize(
    "text",
    [
        "train: images/train\nnames: ['cat', \"dog\"]",
        "# set\npath: .\ntrain: images/train # 128\nval:\nnc: 2\nnames:\n  0: cat\n  1: 'dog'\ndownload: |\n  import x\n",
        "train: [images/train]\nnames:\n- cat\n- dog\nroboflow:\n  url: http://x\n",
        "names: [\n  cat, # first\n  dog\n]\ntrain:\n  - images/train\ntest: nowhere\n",
        "train: ../images/train\nnames: {0: cat, 1: dog}",
    ],
)
def test_the_ways_to_write_data_yaml(make: Callable[..., Path], text: str) -> None:
    folder = make("1 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text(text)
    assert splits(folder) == ("train",)
    dataset = read(folder)
    assert dataset.names == ("cat", "dog")
    assert len(dataset.samples[0]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat]", "expected 'train'"),
        ("train: images/train\nnames: [cat", "data.yaml:2: names: "),
        ("train: images/train\nnames: {0: cat, 2: dog}", "names: expected each number from 0 on once"),
        ("train: images/train\nnames: *x", "names: not understood"),
        ("train: &a images/train", "data.yaml:1: train: not understood"),
        ("train: {a: b}", "train: expected a path"),
        ("train: images/train\nnames: [" + '"' * 99, "names: not understood"),
    ],
)
def test_other_yaml_is_refused_with_its_line(make: Callable[..., Path], text: str, message: str) -> None:
    folder = make("")
    (folder / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read(folder)


@given(
    st.sampled_from(["names: ", "names:\n", ""]),
    st.text(st.sampled_from("[]{},:'\"\\# \n-0a1") | st.characters(), max_size=40),
)
def test_any_yaml_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, start: str, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes((start + text).encode("utf-8", "surrogatepass"))
    try:
        names = read_yaml(file)[1]
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert names is None or all(name.strip() for name in names)


LINE = st.lists(
    st.sampled_from(["0", "1", "0.5", "1e-9", "-0.2", "1e308", "inf", "nan", "x", "7"]) | st.floats(0, 1).map(str),
    max_size=9,
).map(" ".join)


@given(st.lists(LINE, max_size=4).map("\n".join).map(str.encode) | st.binary(max_size=50))
def test_any_labels_make_a_dataset(tmp_path_factory: pytest.TempPathFactory, picture: Picture, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "yolo"
    if not folder.exists():
        picture(folder / "images/all/a.jpg", 40, 30)
        (folder / "labels/all").mkdir(parents=True)
        (folder / "data.yaml").write_text("all: images/all\nnames: [cat, dog]")
    (folder / "labels/all/a.txt").write_bytes(data)
    sample = read(folder, "all").samples[0]
    assert ((sample.boxes >= 0) & (sample.boxes <= [40, 30, 40, 30])).all()
    assert (sample.boxes[:, :2] < sample.boxes[:, 2:]).all()


def test_real_data_as_a_naive_loop_has_it(shared: Callable[[str], Path]) -> None:
    folder = shared("data/coco128")
    dataset: Dataset = read(folder, "val2017")
    assert (len(dataset), dataset.names) == (128, COCO)
    for sample in dataset.samples:
        file = folder / "labels/val2017" / f"{sample.image.stem}.txt"
        rows = np.loadtxt(file, ndmin=2) if file.exists() and file.stat().st_size else np.zeros((0, 5))
        assert sample.classes.tolist() == rows[:, 0].tolist()
        x1, y1, x2, y2 = sample.boxes.T
        found = np.stack([(x1 + x2) / 2 / sample.width, (y1 + y2) / 2 / sample.height, (x2 - x1) / sample.width], 1)
        np.testing.assert_allclose(found, rows[:, 1:4], atol=1e-5)


@pytest.mark.parametrize("names", ["names: [cat, dog]", ""])
def test_a_split_that_is_named_and_not_there_is_said_when_it_is_read(make: Callable[..., Path], names: str) -> None:
    folder = make("1 0.5 0.5 0.5 0.2\n", f"val: images/valid\ntest: ../test/images\n{names}")
    assert splits(folder) == ("train", "val")  # a test set is often not handed out
    assert len(read(folder, "train")) == 1
    with pytest.raises(DataError, match=r"images/valid: no such folder or list, in which the split 'val' should be"):
        read(folder, "val")


def test_classes_are_counted_however_their_numbers_are_written(make: Callable[..., Path]) -> None:
    dataset = read(make("0.0 0.5 0.5 0.5 0.2\n2.0 0.5 0.5 0.5 0.2\n", ""))
    assert dataset.names == ("class 0", "class 1", "class 2")
    assert dataset.samples[0].classes.tolist() == [0, 2]
