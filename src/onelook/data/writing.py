"""Datasets into another format, with all that both can hold."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from onelook.data.reading import FORMATS, read, splits
from onelook.data.sample import FLAGS, Dataset, Rle, Sample
from onelook.errors import DataError
from onelook.runtime.atomic import writing
from onelook.runtime.picture import shown


def _flagged(flag: str) -> Callable[[Sample], int]:
    return lambda sample: int(getattr(sample, flag).sum())


# An object with such a mark is not to be trained on. Where a format has no such mark it must not become one that is.
_NOT_TRAINED_ON = ("difficult", "crowd")

# What else a format may be unable to hold, and how many objects or pictures of a sample have it.
_PARTS: dict[str, Callable[[Sample], int]] = {
    "boxes": len,
    **{flag: _flagged(flag) for flag in FLAGS if flag not in _NOT_TRAINED_ON},
    "polygons": lambda sample: sum(isinstance(mask, tuple) for mask in sample.masks),
    "run lengths": lambda sample: sum(isinstance(mask, Rle) for mask in sample.masks),
    "labels": lambda sample: len(sample.labels),
    "absent": lambda sample: len(sample.absent),
}


def write(datasets: Sequence[Dataset], path: str | os.PathLike[str], format: str) -> list[str]:
    """Writes the splits of a dataset into a new or empty folder. Pictures are linked, or copied from another disk.

    Where the format cannot say that an object is difficult or a crowd, such objects are left out.

    Args:
        datasets: the splits, all with the same classes.
        path: the folder.
        format: one of `FORMATS`.

    Returns:
        What the format could not hold, a line each: "yolo has no 'occluded': 12 are lost".

    Raises:
        DataError: the folder is not empty, the splits have different classes or the same name, or the format is none.
        Error: a file cannot be written.
    """
    path = Path(path)
    if format not in FORMATS:
        raise DataError(f"unknown format {format[:32]!r}; known are {', '.join(FORMATS)}")
    if not datasets or len({dataset.names for dataset in datasets}) > 1:
        raise DataError("expected one split or more, all with the same classes")
    if len({dataset.split for dataset in datasets}) < len(datasets):
        raise DataError("expected splits of different names")
    module = FORMATS[format]
    notes: list[str] = []
    for flag in _NOT_TRAINED_ON:
        if flag not in module.HOLDS and (number := sum(map(_flagged(flag), _samples(datasets)))):
            notes.append(f"{format} has no '{flag}': {number} such objects are left out")
            datasets = [_without(dataset, flag) for dataset in datasets]
    for part, count in _PARTS.items():
        if part not in module.HOLDS and (number := sum(map(count, _samples(datasets)))):
            notes.append(f"{format} has no '{part}': {number} are lost")
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise DataError(f"{shown(str(path))}: the folder is not empty; expected a new one")
        more: list[str] = module.write(datasets, path)
    return notes + more


def _samples(datasets: Sequence[Dataset]) -> Iterator[Sample]:
    return (sample for dataset in datasets for sample in dataset.samples)


def _without(dataset: Dataset, flag: str) -> Dataset:
    return replace(dataset, samples=tuple(sample.where(~getattr(sample, flag)) for sample in dataset.samples))


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], format: str, split: str | None = None
) -> tuple[list[Dataset], list[str]]:
    """Reads a dataset and writes it in another format.

    Args:
        source: see `read`.
        target, format: see `write`.
        split: one of its splits; None for all.

    Returns:
        The splits as they were read, and what could not be written, a line each.

    Raises:
        DataError: as `read` and `write`.
    """
    datasets = [read(source, name) for name in (splits(source) if split is None else (split,))]
    names = tuple(dict.fromkeys(name for dataset in datasets for name in dataset.names))
    if any(dataset.names != names for dataset in datasets):  # COCO's files may have categories of their own
        datasets = [read(source, dataset.split, names=names) for dataset in datasets]
    return datasets, write(datasets, target, format)
