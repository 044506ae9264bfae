"""Open Images' CSV files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.data import read, splits
from onelook.errors import DataError

Picture = Callable[..., Path]

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
HIERARCHY = """{"LabelName": "/m/0bl9f", "Subcategory": [
    {"LabelName": "/m/animal", "Part": [{"LabelName": "/m/wheel"}], "Subcategory": [
        {"LabelName": "/m/dog"}, {"LabelName": "/m/unboxed", "Subcategory": [{"LabelName": "/m/cat"}]}]},
    {"LabelName": "/m/pet", "Subcategory": [{"LabelName": "/m/dog"}]}]}"""


@pytest.fixture
def folder(tmp_path: Path, picture: Picture) -> Path:
    picture(tmp_path / "train/a.jpg", 40, 30)
    picture(tmp_path / "train/b.png", 20, 30)
    classes = '/m/animal,Animal\n/m/dog,Dog\n/m/pet,"Pet, of any kind"\n/m/wheel,Wheel\n/m/cat,Cat\n'
    (tmp_path / "class-descriptions-boxable.csv").write_text(classes)
    return tmp_path


def write(folder: Path, *rows: str) -> Path:
    (folder / "oidv6-train-annotations-bbox.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return folder


def test_boxes_flags_and_names(folder: Path) -> None:
    rows = "b,xclick,/m/dog,1,0,1,0.5,1,1,0,-1,0,0", "a,xclick,/m/pet,1,0.25,0.5,0,0.1,0,1,1,0,0"
    dataset = read(write(folder, *rows))
    a, b = dataset.samples
    assert dataset.names == ("Animal", "Dog", "Pet, of any kind", "Wheel", "Cat")
    assert dataset.ids[1] == "/m/dog"
    assert (a.boxes.tolist(), b.boxes.tolist()) == ([[10, 0, 20, 3]], [[0, 15, 20, 30]])
    assert (a.classes.tolist(), b.classes.tolist()) == ([2], [1])
    assert (a.crowd[0], a.truncated[0], a.occluded[0]) == (True, True, False)
    assert (b.crowd[0], b.truncated[0], b.occluded[0]) == (False, False, True)
    assert splits(folder) == ("train",)
    assert not dataset.problems


def test_image_labels_are_said_to_be_there_or_not(folder: Path) -> None:
    write(folder)
    labels = (
        "ImageID,Source,LabelName,Confidence\na,x,/m/dog,1\na,x,/m/cat,0\na,x,/m/x,1\nz,x,/m/cat,1\na,x,/m/pet,0.5\n"
    )
    (folder / "train-annotations-human-imagelabels-boxable.csv").write_text(labels)
    sample = read(folder).samples[0]
    assert (sample.labels.tolist(), sample.absent.tolist()) == ([1], [4])


def test_the_hierarchy_names_what_is_directly_above(folder: Path) -> None:
    (folder / "bbox_labels_600_hierarchy.json").write_text(HIERARCHY)
    assert read(write(folder)).parents == ((), (0, 2), (), (), ())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[",
        "[" * 100_000,
        '{"LabelName": "/m/dog", "Subcategory": 5}',
        '{"LabelName": []}',
        '{"LabelName": "r", "Subcategory": [{"LabelName": "/m/dog", "Subcategory": [{"LabelName": "/m/cat", '
        '"Subcategory": [{"LabelName": "/m/dog"}]}]}]}',
        '{"LabelName": "r", "Subcategory": [' * 100 + "]}" * 100,
    ],
    ids=range(7),
)
def test_a_bad_hierarchy_is_left_out(folder: Path, text: str) -> None:
    (folder / "hierarchy.json").write_text(text)
    dataset = read(write(folder))
    assert dataset.parents == ()
    assert [problem.kind for problem in dataset.problems] == ["bad hierarchy"]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("a,x,/m/dog,1,0,1", "bad line"),
        ("a,x,/m/ox,1,0,1,0,1,0,0,0,0,0", "unknown class"),
        ("c,x,/m/dog,1,0,1,0,1,0,0,0,0,0", "missing picture"),
        ("a,x,/m/dog,1,0,,0,1,0,0,0,0,0", "not a number"),
        ("a,x,/m/dog,1,0,1e999,0,1,0,0,0,0,0", "not a number"),
        ("a,x,/m/dog,1,0.5,0,0,1,0,0,0,0,0", "swapped corners"),
        ("a,x,/m/dog,1,0.5,0.5,0,1,0,0,0,0,0", "empty box"),
        ("a,x,/m/dog,1,0.5,1.5,0,1,0,0,0,0,0", "box outside"),
    ],
)
def test_a_bad_row_is_a_problem(folder: Path, row: str, kind: str) -> None:
    dataset = read(write(folder, "a,x,/m/dog,1,0,1,0,1,0,0,0,0,0", row))
    assert [problem.kind for problem in dataset.problems] == [kind]
    assert dataset.problems[0].where.startswith("oidv6-train-annotations-bbox.csv")
    if kind != "missing picture":
        assert dataset.problems[0].where.endswith(":3")


def test_what_is_no_csv_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match="not readable as CSV"):
        read(write(folder, 'a,x,"' + "x" * 200_000))
    with pytest.raises(DataError, match="1000 bad lines"):
        read(write(folder, *["x"] * 5000))


def test_a_file_without_its_columns_is_an_error(folder: Path) -> None:
    (folder / "train-annotations-bbox.csv").write_text("ImageID,LabelName\n")
    with pytest.raises(DataError, match="there is no XMin"):
        read(folder)


def test_classes_must_be_named(folder: Path) -> None:
    (folder / "class-descriptions-boxable.csv").unlink()
    with pytest.raises(DataError, match=r"needs class-descriptions-boxable\.csv"):
        read(write(folder))


@given(st.binary(max_size=60) | st.text('a,b/m/dog"\n01.5e-', max_size=60).map(str.encode))
def test_any_bytes_make_a_dataset(tmp_path_factory: pytest.TempPathFactory, picture: Picture, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "open-images"
    if not folder.exists():
        picture(folder / "train/a.jpg", 40, 30)
    (folder / "class-descriptions-boxable.csv").write_text("/m/dog,Dog\n")
    (folder / "train-annotations-bbox.csv").write_bytes(HEAD.encode() + data)
    assert len(read(folder)) == 1
    (folder / "class-descriptions-boxable.csv").write_bytes(data)
    assert len(read(folder)) == 1
    (folder / "train-annotations-bbox.csv").write_bytes(data)
    with pytest.raises(DataError):
        read(folder)
