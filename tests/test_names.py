"""Class names: the built-in lists against the files they come from, and the reader of such files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelook.errors import DarknetError, Error
from onelook.names import COCO, COCO_CATEGORY_IDS, VOC, category_ids, imagenet, labels, read_names

# What COCO itself says of some of its categories (annotations/instances_val2017.json).
OFFICIAL = {
    "person": 1,
    "airplane": 5,
    "fire hydrant": 11,
    "stop sign": 13,
    "umbrella": 28,
    "handbag": 31,
    "wine glass": 46,
    "couch": 63,
    "potted plant": 64,
    "bed": 65,
    "dining table": 67,
    "toilet": 70,
    "tv": 72,
    "sink": 81,
    "book": 84,
    "toothbrush": 90,
}


@pytest.mark.parametrize(("ours", "file"), [(COCO, "coco.names"), (VOC, "voc.names")])
def test_built_in_names_are_those_of_darknets_files(ours, file, shared):
    assert list(ours) == shared(f"weights/darknet/{file}").read_text().splitlines()
    assert read_names(shared(f"weights/darknet/{file}")) == ours


def test_coco_names_get_cocos_official_ids():
    ids = dict(zip(COCO, category_ids(COCO), strict=True))
    assert len(set(ids.values())) == 80
    for name, category in OFFICIAL.items():
        darknet = {"airplane": "aeroplane", "couch": "sofa", "tv": "tvmonitor"}.get(name, name)
        darknet = darknet if darknet in ids else darknet.replace(" ", "")
        assert ids[darknet] == category
    assert category_ids(COCO) == COCO_CATEGORY_IDS


def test_official_spelling_and_any_order_get_the_same_ids():
    official = list(COCO)
    for darknet, coco in [("aeroplane", "airplane"), ("motorbike", "motorcycle"), ("sofa", "couch")]:
        official[official.index(darknet)] = coco
    for darknet, coco in [("pottedplant", "potted plant"), ("diningtable", "dining table"), ("tvmonitor", "tv")]:
        official[official.index(darknet)] = coco
    assert category_ids(official) == COCO_CATEGORY_IDS
    assert category_ids(official[::-1]) == COCO_CATEGORY_IDS[::-1]


@pytest.mark.parametrize("names", [VOC, COCO[:79], (*COCO[:79], "person"), (*COCO, "face"), ()])
def test_other_names_are_numbered_from_one(names):
    assert category_ids(names) == tuple(range(1, len(names) + 1))


@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).map(lambda s: f"{s} {s}"),
        min_size=1,
    ),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from(["", "\n", "\n\n \n"]),
)
def test_names_come_back_from_a_file_of_lines(names, bom, newline, end, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "some.names"
    path.write_bytes(bom + (newline.join(names) + end.replace("\n", newline)).encode())
    assert read_names(path) == tuple(names)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "empty"),
        (b"\n \n\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"dog\n\ncat\n", r":2: blank line"),
        ("Größe".encode("latin-1"), r"not UTF-8 text \(byte 2\)"),
        ("dog\ncat\n".encode("utf-16"), "not UTF-8 text"),
        (b"dog\ncat\0\n", r":2: not text"),
        (b"dog\n\x1b[2J\n", r":2: not text"),
        (b"a\n" * (1 << 19) + b"b", "larger than 1 MiB"),
    ],
)
def test_what_is_no_list_of_names_is_refused_in_one_line(data, complaint, tmp_path):
    path = tmp_path / "x.names"
    path.write_bytes(data)
    with pytest.raises(DarknetError, match=f"{re.escape(str(path))}.*{complaint}") as caught:
        read_names(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("path", ["nothing.names", ".", "/dev/zero"])
def test_a_missing_file_a_folder_or_a_device_is_refused(path, tmp_path):
    with pytest.raises(DarknetError, match="no such file"):
        read_names(tmp_path / path)


def test_exactly_one_mebibyte_is_read(tmp_path):
    path = Path(tmp_path / "many.names")
    path.write_bytes(b"a\n" * (1 << 19))
    assert len(read_names(path)) == 1 << 19


# ImageNet's classes.


def test_imagenets_thousand_classes_are_in_the_order_of_their_ids() -> None:
    ids = list(imagenet())
    assert len(ids) == 1000
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"n[0-9]{8}", identity) for identity in ids)
    assert all(name == name.strip() and name.isprintable() and name for name in imagenet().values())


# As everybody knows who has trained on it.
@pytest.mark.parametrize(
    ("place", "identity", "name"),
    [
        (0, "n01440764", "tench"),
        (1, "n01443537", "goldfish"),
        (281, "n02123045", "tabby"),
        (282, "n02123159", "tiger cat"),
        (285, "n02124075", "Egyptian cat"),
        (388, "n02510455", "giant panda"),
        (963, "n07873807", "pizza"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_known_classes_of_imagenet_are_where_they_belong(place: int, identity: str, name: str) -> None:
    assert list(imagenet())[place] == identity
    assert imagenet()[identity].split(", ")[0] == name


def test_imagenets_names_are_those_that_google_publishes(shared: Callable[[str], Path]) -> None:
    published = shared("weights/tflite/imagenet_labels.txt").read_text().splitlines()
    assert published == ["background", *imagenet().values()]


def test_photographs_named_by_their_class_agree_with_its_name(shared: Callable[[str], Path]) -> None:
    files = sorted(shared("data/imagenet200").iterdir())
    assert len(files) == 200
    for path in files:
        identity, _, name = path.stem.partition("_")
        assert name.replace("_", " ") in imagenet()[identity].split(", ")


# What a user says of a network's classes.


@pytest.mark.parametrize(
    ("said", "classes", "expected"),
    [
        (None, 3, ("class 0", "class 1", "class 2")),
        ("coco", 80, COCO),
        ("voc", 20, VOC),
        ("imagenet", 1000, tuple(imagenet().values())),
        ("imagenet", 1001, ("background", *imagenet().values())),
        (["cat", "dog"], 2, ("cat", "dog")),
        (("Katze", "狗"), 2, ("Katze", "狗")),
        (["coco"], 1, ("coco",)),
    ],
)
def test_the_names_are_those_that_were_said(
    said: str | Sequence[str] | None, classes: int, expected: tuple[str, ...]
) -> None:
    assert labels(said, classes) == expected


def test_the_names_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.names"
    path.write_text("cat\ndog\n")
    assert labels(path, 2) == labels(str(path), 2) == ("cat", "dog")
    with pytest.raises(DarknetError, match="no such file"):
        labels(tmp_path / "gone.names", 2)
    with pytest.raises(Error, match=r"my\.names: has 2 names; the network tells 3 classes apart"):
        labels(path, 3)


@pytest.mark.parametrize(
    ("said", "classes", "message"),
    [
        ("coco", 79, "coco: has 80 names; the network tells 79 classes apart"),
        ("voc", 22, "voc: has 20 names"),
        ("imagenet", 999, "imagenet: has 1000 names; the network tells 999"),
        ("imagenet", 1002, "imagenet: has 1000 names; the network tells 1002"),
        ("imagenet", 1, "imagenet: has 1000 names"),
        (["cat"], 2, "class_names: has 1 names"),
        ([], 2, "class_names: has 0 names"),
    ],
)
def test_more_or_fewer_names_than_classes_are_refused(said: str | Sequence[str], classes: int, message: str) -> None:
    with pytest.raises(Error, match=f"^{message}"):
        labels(said, classes)
