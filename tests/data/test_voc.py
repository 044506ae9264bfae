"""PASCAL VOC's XML files."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.data import Dataset, read, splits
from onelook.errors import DataError

OBJECT = (
    "<object><name>{}</name>{}<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
Picture = Callable[..., Path]


def annotation(*objects: str, size: str = "<size><width>40</width><height>30</height></size>") -> str:
    return "<annotation>\n" + "\n".join([size, *objects]) + "\n</annotation>"


def make(folder: Path, *texts: str | bytes) -> Path:
    """A dataset of pictures that are not there."""
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        data = text if isinstance(text, bytes) else text.encode()
        (folder / f"Annotations/{number:06}.xml").write_bytes(data)
    (folder / "ImageSets/Main/train.txt").write_text("".join(f"{i:06}\n" for i in range(len(texts))))
    return folder


def read_one(folder: Path, *objects: str) -> Dataset:
    return read(make(folder, annotation(*objects)))


def test_boxes_count_pixels_from_one_and_hold_the_last(tmp_path: Path) -> None:
    dataset = read_one(tmp_path, OBJECT.format("dog", "", 1, 1, 40, 30), OBJECT.format("cat", "", 5, 6, 5, 6))
    assert dataset.names == ("cat", "dog")
    assert dataset.samples[0].boxes.tolist() == [[0, 0, 40, 30], [4, 5, 5, 6]]
    assert dataset.samples[0].classes.tolist() == [1, 0]
    assert not dataset.problems


def test_counting_from_zero_is_no_problem(tmp_path: Path) -> None:
    dataset = read_one(tmp_path, OBJECT.format("dog", "", 0, 0, 40, 30))
    assert dataset.samples[0].boxes.tolist() == [[0, 0, 40, 30]]
    assert not dataset.problems


def test_flags(tmp_path: Path) -> None:
    flags = "<difficult>1</difficult><truncated>0</truncated><occluded> 1 </occluded>"
    sample = read_one(tmp_path, OBJECT.format("dog", flags, 2, 2, 9, 9)).samples[0]
    assert (sample.difficult[0], sample.truncated[0], sample.occluded[0], sample.crowd[0]) == (True, False, True, False)


def test_parts_of_an_object_are_not_the_object(tmp_path: Path) -> None:
    part = "<part><name>nose</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    dataset = read_one(tmp_path, OBJECT.format("dog", part, 5, 5, 9, 9))
    assert dataset.names == ("dog",)
    assert dataset.samples[0].boxes.tolist() == [[4, 4, 9, 9]]


@pytest.mark.parametrize(
    ("box", "kind", "found"),
    [
        ((30, 20, 10, 5), "swapped corners", [[9, 4, 30, 20]]),
        ((5, 5, 60, 20), "box outside", [[4, 4, 40, 20]]),
        ((50, 5, 60, 20), "empty box", []),
        ((7, 5, 6, 20), "empty box", []),
        (("nan", 5, 6, 20), "not a number", []),
        (("1e400", 5, 6, 20), "not a number", []),
        (("many", 5, 6, 20), "not a number", []),
    ],
)
def test_bad_boxes_are_put_right_or_left_out(
    tmp_path: Path, box: tuple[object, ...], kind: str, found: list[list[float]]
) -> None:
    dataset = read_one(tmp_path, OBJECT.format("dog", "", *box), OBJECT.format("dog", "", 1, 1, 9, 9))
    assert [(problem.kind, problem.where) for problem in dataset.problems] == [(kind, "Annotations/000000.xml:3")]
    assert dataset.samples[0].boxes.tolist() == [*found, [0, 0, 9, 9]]


def test_an_object_without_a_box_has_a_line(tmp_path: Path) -> None:
    problem = read_one(tmp_path, "", "<object><name>dog</name></object>").problems[0]
    assert (problem.where, problem.what, problem.kind) == (
        "Annotations/000000.xml:4",
        "<object> without <xmin>",
        "bad object",
    )


def test_the_size_of_the_picture_counts(tmp_path: Path, picture: Picture) -> None:
    full = OBJECT.format("dog", "", 1, 1, 50, 30)
    make(tmp_path, annotation(full), annotation(full, size=""), annotation(full, size="<size><width>0</width></size>"))
    for number in range(3):
        picture(tmp_path / f"JPEGImages/{number:06}.png", 50, 30)
    dataset = read(tmp_path)
    assert [problem.kind for problem in dataset.problems] == ["wrong size"]
    assert all(sample.boxes.tolist() == [[0, 0, 50, 30]] for sample in dataset.samples)
    assert dataset.samples[0].image.name == "000000.png"


def test_without_size_and_picture_there_is_no_sample(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, annotation(size="")))
    assert not dataset.samples
    assert dataset.problems[0].kind == "missing picture"


def test_classes_are_the_same_in_every_split(tmp_path: Path) -> None:
    make(tmp_path, annotation(OBJECT.format("dog", "", 1, 1, 9, 9)), annotation(OBJECT.format("ant", "", 1, 1, 9, 9)))
    (tmp_path / "ImageSets/Main/train.txt").write_text("000000\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("000001.jpg\n000007\n\n000001\n")
    (tmp_path / "ImageSets/Main/dog_train.txt").write_text("000000  1\n")
    assert splits(tmp_path) == ("train", "val")
    assert read(tmp_path, "train").names == read(tmp_path, "val").names == ("ant", "dog")
    assert [(p.where, p.kind) for p in read(tmp_path, "val").problems] == [
        ("ImageSets/Main/val.txt:2", "missing labels"),
        ("ImageSets/Main/val.txt:4", "duplicate"),
    ]


def test_a_list_of_one_class_has_numbers_behind_the_ids(tmp_path: Path) -> None:
    make(tmp_path, annotation(), annotation())
    (tmp_path / "ImageSets/Main/train.txt").write_text("000000 -1\n000001  1\n")
    assert len(read(tmp_path)) == 2


def test_the_year_below_the_devkit_is_found(tmp_path: Path) -> None:
    make(tmp_path / "VOC2007", annotation())
    assert len(read(tmp_path)) == 1
    make(tmp_path / "VOC2012", annotation())
    with pytest.raises(DataError, match=r"holds VOC2007, VOC2012; name one"):
        read(tmp_path)


def test_a_bare_folder_of_annotations_beside_pictures(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(annotation(OBJECT.format("dog", "", 1, 1, 9, 9)))
    assert splits(tmp_path) == ("all",)
    assert read(tmp_path, "all").samples[0].image == tmp_path / "a.jpg"


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>'
    dataset = read(make(tmp_path, bomb))
    assert "document type" in dataset.problems[0].what
    assert not dataset.samples


def test_other_encodings_are_read(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="latin-1"?>' + annotation(
        OBJECT.format("Bär & Co".replace("&", "&amp;"), "", 1, 1, 9, 9)
    )
    assert read(make(tmp_path, text.encode("latin-1"))).names == ("Bär & Co",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"<annotation>",
        b"<a>" * 1_000_000,
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        b"\0" * 99,
    ],
    ids=["empty", "half a mark", "open", "deep", "encoding", "zeros"],
)
def test_what_is_no_xml_is_a_problem(tmp_path: Path, data: bytes) -> None:
    dataset = read(make(tmp_path, data, annotation()))
    assert [problem.kind for problem in dataset.problems] == ["unreadable"]
    assert len(dataset) == 1


VALID = annotation(OBJECT.format("dog", "<difficult>1</difficult>", 3, 4, 20, 25)).encode()


@given(
    st.integers(0, len(VALID)),
    st.integers(0, len(VALID)),
    st.binary(max_size=8) | st.sampled_from([b"-9e999", b"1_0", b"<", b"&#0;"]),
)
def test_any_bytes_make_a_dataset(tmp_path_factory: pytest.TempPathFactory, start: int, end: int, new: bytes) -> None:
    data = VALID[: min(start, end)] + new + VALID[max(start, end) :]
    dataset = read(make(tmp_path_factory.getbasetemp() / "voc", data))
    assert len(dataset) + len(dataset.problems) > 0
    for sample in dataset.samples:
        assert ((sample.boxes >= 0) & (sample.boxes <= [40, 30, 40, 30])).all()
        assert (sample.boxes[:, :2] < sample.boxes[:, 2:]).all()


@given(st.binary(max_size=60))
def test_any_list_of_ids_makes_a_dataset(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = make(tmp_path_factory.getbasetemp() / "voc-ids", annotation())
    (folder / "ImageSets/Main/train.txt").write_bytes(data)
    assert len(read(folder)) <= 1


@pytest.mark.parametrize(("name", "split", "pictures"), [("helmets", "val", 300), ("bccd", "test", 72)])
def test_real_data_as_elementtree_has_it(shared: Callable[[str], Path], name: str, split: str, pictures: int) -> None:
    folder = shared(f"data/{name}")
    dataset = read(folder, split)
    assert len(dataset) == pictures
    for sample in dataset.samples:
        tree = ET.parse(folder / "Annotations" / f"{sample.image.stem}.xml")
        expected = [
            (
                one.findtext("name"),
                *(float(one.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")),
            )
            for one in tree.iter("object")
        ]
        found = [
            (dataset.names[class_], *(box + np.array([1, 1, 0, 0])).tolist())
            for class_, box in zip(sample.classes, sample.boxes, strict=True)
        ]
        for (name_a, *box_a), (name_b, *box_b) in zip(expected, found, strict=True):
            assert name_a == name_b
            assert all(abs(a - b) <= 1 for a, b in zip(box_a, box_b, strict=True))  # VOC's 0 is cut to 1
