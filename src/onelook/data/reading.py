"""A dataset of any of the formats, recognised by the files that lie in its folder."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from onelook.data import coco, imagenet, open_images, voc, yolo
from onelook.data.sample import Dataset, Problem, Sample
from onelook.errors import DataError
from onelook.names import COCO_CATEGORY_IDS, category_ids
from onelook.runtime.picture import shown

# In this order a folder is tried; what comes first has the surer signs.
FORMATS: dict[str, ModuleType] = {module.FORMAT: module for module in (voc, coco, open_images, yolo, imagenet)}


def splits(path: str | os.PathLike[str], format: str | None = None) -> tuple[str, ...]:
    """The names of a dataset's splits: ("train", "val"), ("train2017", "val2017"), or "all" where it is not split.

    Args:
        path: the folder, or the file that describes it: COCO's .json, Darknet's .data, Ultralytics' .yaml.
        format: one of `FORMATS`; None to see from the files.

    Raises:
        DataError: there is no such folder, or no dataset in it.
    """
    return _find(Path(path), format)[1]


def read(
    path: str | os.PathLike[str], split: str = "train", format: str | None = None, names: Sequence[str] | None = None
) -> Dataset:
    """The labelled pictures of one split.

    Args:
        path, format: see `splits`.
        split: its name; "train" also finds "train2017", and "val" finds "validation".
        names: the classes wanted, in the order wanted: of a trained network, or of another split. Objects of other
            classes are left out, with a `Problem` a class. None for those of the dataset.

    Raises:
        DataError: there is no such folder, no dataset in it, no such split, or a file of it that cannot be read. What
            is wrong with single pictures and objects is in `Dataset.problems`.
    """
    path = Path(path)
    module, known = _find(path, format)
    dataset: Dataset = module.read(path, _match(split, known, path))
    return dataset if names is None or tuple(names) == dataset.names else _renumber(dataset, tuple(names))


def _find(path: Path, format: str | None) -> tuple[ModuleType, tuple[str, ...]]:
    """The module that reads it, and its splits."""
    name = shown(str(path))
    if format is not None and format not in FORMATS:
        raise DataError(f"unknown format {format[:32]!r}; known are {', '.join(FORMATS)}")
    try:
        path.stat()
    except (OSError, ValueError):
        raise DataError(f"{name}: no such file or folder") from None
    for module in FORMATS.values() if format is None else (FORMATS[format],):
        found: tuple[str, ...] = module.splits(path)
        if found:
            return module, found
    expected = ", ".join(FORMATS) if format is None else format
    raise DataError(
        f"{name}: no dataset of a known format in it ({expected}); docs/datasets.md shows what is looked for"
    )


def _match(split: str, known: tuple[str, ...], path: Path) -> str:
    if split in known:
        return split
    found = [name for name in known if re.fullmatch(rf"{re.escape(split)}(id|idation)?[-_]?\d*", name)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(shown(name) for name in known[:20])
    raise DataError(f"{shown(str(path))}: has no split {split[:64]!r}; it has {listed}")


def _renumber(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """The dataset with its classes in the places of `names`; without the objects of others."""
    if all(name == f"class {i}" for i, name in enumerate(dataset.names)) and len(dataset.names) <= len(names):
        return replace(dataset, names=names)  # its files number the classes without naming them
    spelling = _spelling(dataset.names, names)
    places = {spelling.get(name, name): i for i, name in enumerate(names)}
    place = np.array([places.get(spelling.get(name, name), -1) for name in dataset.names], np.int64)
    return replace(renumbered(dataset, place, names), problems=(*dataset.problems, *_unwanted(dataset, place)))


def renumbered(dataset: Dataset, place: NDArray[np.int64], names: tuple[str, ...]) -> Dataset:
    """The dataset with each class i as class `place[i]` of `names`; without the objects and labels of those at -1."""
    source = {int(new): old for old, new in enumerate(place) if new >= 0}
    parents: tuple[tuple[int, ...], ...] = ()
    if dataset.parents:
        above = [dataset.parents[source[i]] if i in source else () for i in range(len(names))]
        parents = tuple(tuple(int(place[old]) for old in olds if place[old] >= 0) for olds in above)
    ids = tuple(dataset.ids[source[i]] for i in range(len(names))) if len(source) == len(names) and dataset.ids else ()
    samples = tuple(_place(sample, place) for sample in dataset.samples)
    return replace(dataset, names=names, samples=samples, parents=parents, ids=ids)


def _spelling(*both: tuple[str, ...]) -> dict[str, str]:
    """What makes equal the names that COCO and Darknet spell differently, where each has all eighty."""
    found: dict[str, str] = {}
    for names in both:
        ids = category_ids(names)
        if set(ids) != set(COCO_CATEGORY_IDS):
            return {}
        found |= {name: str(id_) for name, id_ in zip(names, ids, strict=True)}
    return found


def _unwanted(dataset: Dataset, place: NDArray[np.int64]) -> list[Problem]:
    """A problem for each class that has objects but no place."""
    counts = np.zeros(len(place), np.int64)
    for sample in dataset.samples:
        np.add.at(counts, sample.classes, 1)
    return [
        Problem(
            shown(str(dataset.path)), f"{counts[i]} objects of {shown(dataset.names[i])}, not wanted", "unknown class"
        )
        for i in np.flatnonzero((place < 0) & (counts > 0))
    ]


def _place(sample: Sample, place: NDArray[np.int64]) -> Sample:
    kept = sample.where(place[sample.classes] >= 0)
    labels, absent = place[sample.labels], place[sample.absent]
    return replace(kept, classes=place[kept.classes], labels=labels[labels >= 0], absent=absent[absent >= 0])
