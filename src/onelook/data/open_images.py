"""Open Images: CSV files with a row a box or a label (Kuznetsova et al., 2018; storage.googleapis.com/openimages).

train-annotations-bbox.csv    class-descriptions-boxable.csv    train/000002b66c9c498e.jpg
train-annotations-human-imagelabels-boxable.csv    bbox_labels_600_hierarchy.json
"""

import csv
import graphlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os.path import isdir
from pathlib import Path
from typing import Any

import numpy as np

from onelook.data.files import Problems, listing, opened, read_bytes, still, why
from onelook.data.header import try_size
from onelook.data.placing import Placed, Placer, missing_note, plain
from onelook.data.sample import Dataset
from onelook.data.table import Objects, Picture
from onelook.errors import DataError, SourceError
from onelook.runtime.picture import shown

FORMAT = "open-images"
HOLDS = frozenset({"boxes", "truncated", "occluded", "crowd", "labels", "absent"})
_BOXES, _LABELS = "-annotations-bbox.csv", "-annotations-human-imagelabels"
_BOX_COLUMNS = ("ImageID", "LabelName", "XMin", "YMin", "XMax", "YMax", "IsTruncated", "IsOccluded", "IsGroupOf")
_FLAGS = ("truncated", "occluded", "crowd")  # the last three columns
_MOST_BAD_ROWS = 1000  # of a file; one with more is none
_DEEPEST = 64  # levels of a hierarchy; Open Images' has five


def splits(path: Path) -> tuple[str, ...]:
    """The names of the splits; none where it is no folder of this format."""
    return tuple(_box_files(path))


def read(path: Path, split: str) -> Dataset:
    """One split of it: those of its pictures that are in the folder.

    The files give boxes relative to the picture, so every picture's header is read.
    """
    problems = Problems(path)
    names = _names(path)
    index = {id_: i for i, id_ in enumerate(names)}
    boxes = still(_box_files(path), split, path)

    images: list[tuple[Path, int, int]] = []
    numbers: dict[str, int] = {}
    folder = next((f for f in (path / split, path / "images" / split, path / "images") if isdir(f)), path)
    for name in listing(folder):
        size = try_size(folder / name)
        id_ = name.rpartition(".")[0]
        if isinstance(size, SourceError):
            problems.add(folder / name, None, why(size, folder / name), "unreadable")
        elif id_ in numbers:
            problems.add(folder / name, None, f"another picture has the id {shown(id_)}", "duplicate")
        else:
            numbers[id_] = len(images)
            images.append((folder / name, *size))

    objects = Objects()
    missing: dict[str, None] = {}
    for line, (id_, label, *values) in _rows(boxes, _BOX_COLUMNS, problems):
        if id_ not in numbers:
            missing[id_] = None
        elif label not in index:
            problems.add(boxes, line, f"{shown(label[:32])} is in no class description", "unknown class")
        else:
            _, width, height = images[numbers[id_]]
            x1, y1, x2, y2 = map(_number, values[:4])
            box = (x1 * width, y1 * height, x2 * width, y2 * height)
            flags = [flag for flag, value in zip(_FLAGS, values[4:], strict=True) if value == "1"]  # -1: nobody looked
            objects.add(numbers[id_], index[label], box, line, flags)
    if missing:  # in one: of 1.7 million pictures people take the part that they need
        what = f"{len(missing)} pictures are not in the folder, the first is {shown(next(iter(missing))[:64])}"
        problems.add(boxes, None, what, "missing picture")

    positive, negative = _image_labels(path, split, numbers, index, problems)
    pictures = [
        Picture(*image, np.array(positive.get(i, ()), np.int64), np.array(negative.get(i, ()), np.int64))
        for i, image in enumerate(images)
    ]
    samples = objects.samples(pictures, lambda picture, line: (boxes, line), problems)
    parents = _parents(path, index, problems)
    return Dataset(path, FORMAT, split, tuple(names.values()), samples, tuple(problems), parents, tuple(names))


def _box_files(path: Path) -> dict[str, Path]:
    """The file of boxes of each split."""
    names = [name for name in listing(path, (_BOXES,)) if name != _BOXES]
    return {_split(name.removesuffix(_BOXES)): path / name for name in names}


def _split(name: str) -> str:
    return re.sub(r"^(oidv\d+|challenge-\d+)-", "", name)


def _names(path: Path) -> dict[str, str]:
    """The classes that boxes may have, in the order of the file: "/m/011k07" -> "Tortoise"."""
    files = [name for name in listing(path, (".csv",)) if "class-descriptions" in name]
    files.sort(key=lambda name: "boxable" not in name)
    if not files:
        raise DataError(f"{shown(str(path))}: needs class-descriptions-boxable.csv, which names the classes")
    found: dict[str, str] = {}
    file = path / files[0]
    with _reader(file, "replace") as rows:
        for row in rows:
            if len(row) == 2 and row[0] != "LabelName" and row[1].strip():
                found.setdefault(row[0], row[1].strip())
    return found


@contextmanager
def _reader(file: Path, errors: str) -> Iterator[Any]:
    """A CSV file's rows, one after another; failures, in the body of the `with` too, are DataErrors."""
    with opened(file) as stream, io.TextIOWrapper(stream, "utf-8-sig", errors, newline="") as text:
        rows = csv.reader(text)
        try:
            yield rows
        except csv.Error as error:
            raise DataError(f"{shown(str(file))}:{rows.line_num}: not readable as CSV: {error}") from None


def _rows(file: Path, columns: tuple[str, ...], problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """The line and these columns of each row."""
    bad = 0
    with _reader(file, "surrogateescape") as rows:
        head: list[str] = next(rows, [])
        if not set(columns) <= set(head):
            absent = ", ".join(name for name in columns if name not in head)
            raise DataError(f"{shown(str(file))}:1: expected a head that names the columns; there is no {absent}")
        places = [head.index(name) for name in columns]
        for row in rows:
            if len(row) == len(head):
                yield rows.line_num, [row[place] for place in places]
            elif row:
                problems.add(file, rows.line_num, f"{len(row)} values; the head has {len(head)}", "bad line")
                bad += 1
                if bad == _MOST_BAD_ROWS:
                    raise DataError(f"{shown(str(file))}:{rows.line_num}: {bad} bad lines; expected {len(head)} values")


def _image_labels(
    path: Path, split: str, numbers: Mapping[str, int], index: Mapping[str, int], problems: Problems
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """The classes that people found, and those that they did not find, in each picture, by its number."""
    positive: dict[int, list[int]] = {}
    negative: dict[int, list[int]] = {}
    for name in listing(path, (".csv",)):
        before, found, _ = name.partition(_LABELS)
        if not found or _split(before) != split:
            continue
        for _, (id_, label, confidence) in _rows(path / name, ("ImageID", "LabelName", "Confidence"), problems):
            # The file has labels of 20,000 classes, of which 600 have boxes, and of pictures that are not here.
            if id_ in numbers and label in index and (said := _number(confidence)) in (0, 1):
                (positive if said else negative).setdefault(numbers[id_], []).append(index[label])
    return positive, negative


def _parents(path: Path, index: Mapping[str, int], problems: Problems) -> tuple[tuple[int, ...], ...]:
    """For each class those directly above it. The root, "Entity", is no class."""
    files = [name for name in listing(path, (".json",)) if "hierarchy" in name]
    if not files:
        return ()
    file = path / files[0]
    parents: list[dict[int, None]] = [{} for _ in index]
    try:
        level: list[tuple[int | None, Any]] = [(None, json.loads(read_bytes(file)))]
        for _ in range(_DEEPEST):
            below: list[tuple[int | None, Any]] = []
            for parent, node in level:
                own = index.get(node["LabelName"])
                if parent is not None and own not in (None, parent):
                    parents[own][parent] = None
                # "Part" is what a class consists of: a wheel is no car.
                below += [(own, child) for child in node.get("Subcategory", ())]
            level = below
        if level:
            raise ValueError("too many levels")
        graphlib.TopologicalSorter(dict(enumerate(parents))).prepare()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = "a class is above itself" if isinstance(error, graphlib.CycleError) else "expected nested classes"
        problems.add(file, None, what, "bad hierarchy")
        return ()
    return tuple(tuple(above) for above in parents)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def write(datasets: Sequence[Dataset], path: Path) -> list[str]:
    """Writes the splits into an empty folder; says what could not be, a line each."""
    placers = []
    first = datasets[0]
    ids = first.ids if first.format == FORMAT and first.ids else tuple(f"/c/{i}" for i in range(len(first.names)))
    for dataset in datasets:
        placers.append(Placer(path / dataset.split))
        placed = placers[-1].place(dataset.samples)
        _write_csv(path / f"{dataset.split}{_BOXES}", _BOX_COLUMNS, _box_rows(placed, ids))
        if any(len(one.sample.labels) or len(one.sample.absent) for one in placed):
            file = path / f"{dataset.split}{_LABELS}-boxable.csv"
            _write_csv(file, ("ImageID", "LabelName", "Confidence"), _label_rows(placed, ids))
    _write_csv(path / "class-descriptions-boxable.csv", None, zip(ids, map(plain, first.names), strict=True))
    if any(first.parents):
        hierarchy = json.dumps(_hierarchy(ids, first.parents))
        (path / "bbox_labels_hierarchy.json").write_text(hierarchy, "utf-8")
    return missing_note(*placers)


def _write_csv(file: Path, head: Sequence[str] | None, rows: Iterable[Iterable[object]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if head is not None:
            writer.writerow(head)
        writer.writerows(rows)


def _box_rows(placed: Sequence[Placed], ids: Sequence[str]) -> Iterator[list[object]]:
    for one in placed:
        sample = one.sample
        relative = sample.boxes / np.array([sample.width, sample.height] * 2, np.float64)
        flags = np.stack([getattr(sample, name) for name in _FLAGS], 1).astype(int)
        for class_, box, said in zip(sample.classes, relative, flags, strict=True):
            yield [one.stem, ids[class_], *(f"{side:.10g}" for side in box), *said]


def _label_rows(placed: Sequence[Placed], ids: Sequence[str]) -> Iterator[list[object]]:
    for one in placed:
        yield from ([one.stem, ids[class_], 1] for class_ in one.sample.labels)
        yield from ([one.stem, ids[class_], 0] for class_ in one.sample.absent)


def _hierarchy(ids: Sequence[str], parents: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The tree of the classes under Open Images' root. What is below a class with two parents is told at one of them."""
    nodes = [{"LabelName": id_} for id_ in ids]
    root: dict[str, Any] = {"LabelName": "/m/0bl9f", "Subcategory": []}
    for node, above in zip(nodes, parents, strict=True):
        if not above:
            root["Subcategory"].append(node)
        for i, parent in enumerate(above):
            below: dict[str, Any] = nodes[parent]
            below.setdefault("Subcategory", []).append(node if i == 0 else {"LabelName": node["LabelName"]})
    return root
