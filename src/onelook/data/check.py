"""What is in a dataset, and what is wrong with it; with a picture of its labels, to be looked at."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os.path import exists, isdir
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from onelook.data.files import read_bytes, why
from onelook.data.sample import Dataset, Problem, Sample
from onelook.errors import DataError, SourceError
from onelook.runtime.atomic import save
from onelook.runtime.draw import caption, colour, draw
from onelook.runtime.picture import MAX_FILE, Pixels, decode, read, shown

SMALL, MEDIUM = 32**2, 96**2  # pixels: COCO's limits between small, medium and large objects
WHOLE = 0.99  # of the picture: a box of more counts as one of the whole picture
OVERLAPPING = ("all", "trainval")  # splits that hold the pictures of others

TILE = 400  # pixels: width and height of a picture on the contact sheet
COLUMNS = 4


@dataclass(frozen=True)
class Split:
    """What one split holds.

    Attributes:
        name: of the split.
        pictures, objects: how many.
        empty: pictures without objects and labels.
        classes: objects of each class; pictures of each, where there are labels of whole pictures only.
        small, medium, large: objects by their area, as COCO divides them: 32^2 and 96^2 pixels.
        whole: boxes of the whole picture.
        difficult, crowd, masks: objects that are so, or have one.
    """

    name: str
    pictures: int
    objects: int
    empty: int
    classes: tuple[int, ...]
    small: int
    medium: int
    large: int
    whole: int
    difficult: int
    crowd: int
    masks: int


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        path, format: of the dataset.
        names: of the classes.
        splits: what each holds.
        problems: those of reading, then those of a closer look.
    """

    path: Path
    format: str
    names: tuple[str, ...]
    splits: tuple[Split, ...]
    problems: tuple[Problem, ...]

    @property
    def kinds(self) -> dict[str, int]:
        """How many problems there are of each kind, the most frequent first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())


def check(
    datasets: Dataset | Sequence[Dataset], pictures: bool = True, progress: Callable[[], None] = lambda: None
) -> Report:
    """Counts what is in the splits of a dataset and looks for what is wrong.

    Args:
        datasets: one split, or several, between which no picture should be shared.
        pictures: decode every picture: finds those that are missing, unreadable, of another size than the labels say,
            and those that are there twice, in one split or in two.
        progress: called after each picture.
    """
    datasets = [datasets] if isinstance(datasets, Dataset) else list(datasets)
    problems = [problem for dataset in datasets for problem in dataset.problems]
    problems += [problem for dataset in datasets for problem in _duplicate_boxes(dataset)]
    if pictures:
        problems += _look(datasets, progress)
    first = datasets[0]
    unique = tuple(dict.fromkeys(problems))  # two splits may have met the same
    return Report(first.path, first.format, first.names, tuple(map(_count, datasets)), unique)


def _count(dataset: Dataset) -> Split:
    samples = dataset.samples
    objects = sum(map(len, samples))
    no_areas, no_classes = np.zeros(0, np.float32), np.zeros(0, np.int64)
    classes = np.concatenate([no_classes, *(sample.classes if objects else sample.labels for sample in samples)])
    areas = np.concatenate([no_areas, *(sample.areas for sample in samples)])
    whole = sum(
        int(((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1) > WHOLE * sample.width * sample.height).sum())
        for sample in samples
    )
    return Split(
        name=dataset.split,
        pictures=len(samples),
        objects=objects,
        empty=sum(not len(sample) and not len(sample.labels) for sample in samples),
        classes=tuple(np.bincount(classes, minlength=len(dataset.names)).tolist()),
        small=int((areas < SMALL).sum()),
        medium=int(((areas >= SMALL) & (areas < MEDIUM)).sum()),
        large=int((areas >= MEDIUM).sum()),
        whole=whole,
        difficult=sum(int(sample.difficult.sum()) for sample in samples),
        crowd=sum(int(sample.crowd.sum()) for sample in samples),
        masks=sum(mask is not None for sample in samples for mask in sample.masks),
    )


def _name(sample: Sample, dataset: Dataset) -> str:
    """The picture, from the folder of the dataset on."""
    root = dataset.path if isdir(dataset.path) else dataset.path.parent
    return shown(str(sample.image.relative_to(root) if sample.image.is_relative_to(root) else sample.image))


def _duplicate_boxes(dataset: Dataset) -> Iterator[Problem]:
    """Objects of the same class with the same box."""
    for sample in dataset.samples:
        rows = np.concatenate([sample.classes[:, None], sample.boxes], 1)
        extra = len(rows) - len(np.unique(rows, axis=0))
        if extra:
            yield Problem(_name(sample, dataset), f"{extra} objects with the class and box of another", "duplicate box")


def _look(datasets: Sequence[Dataset], progress: Callable[[], None]) -> list[Problem]:
    """What is wrong with the pictures themselves."""
    problems = []
    first: dict[bytes, tuple[str, str]] = {}  # what a file holds -> the split and name of its first picture
    # Those that hold the pictures of others come last, or a picture of two others would be compared with theirs alone.
    for dataset in sorted(datasets, key=lambda dataset: dataset.split in OVERLAPPING):
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            for sample, (digest, wrong) in zip(dataset.samples, pool.map(_decode, dataset.samples), strict=True):
                progress()
                name = _name(sample, dataset)
                if wrong is not None:
                    problems.append(Problem(name, *wrong))
                if not digest:
                    continue
                split, other = first.setdefault(digest, (dataset.split, name))
                if split == dataset.split and other != name:
                    problems.append(Problem(name, f"the same picture as {other}", "duplicate picture"))
                elif split != dataset.split and not {split, dataset.split} & {*OVERLAPPING}:
                    what = f"in {dataset.split}, the same picture as {other} in {split}"
                    problems.append(Problem(name, what, "picture in two splits"))
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C, thousands may be waiting
    return problems


def _decode(sample: Sample) -> tuple[bytes, tuple[str, str] | None]:
    """A hash of the picture's file, and what is wrong with it: in words, and of which kind."""
    try:
        data = read_bytes(sample.image, MAX_FILE)
    except DataError as error:
        kind = "unreadable picture" if exists(sample.image) else "missing picture"
        return b"", (why(error, sample.image), kind)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        height, width = decode(data, str(sample.image)).shape[:2]
    except SourceError as error:
        return digest, (why(error, sample.image), "unreadable picture")
    if (width, height) != (sample.width, sample.height):
        what = f"the labels say {sample.width} x {sample.height}, the picture has {width} x {height}"
        return digest, (what, "wrong size")
    return digest, None


def contact_sheet(dataset: Dataset, count: int = 12) -> Pixels:
    """Pictures of the dataset with their labels drawn on them, on one sheet: RGB uint8 [H, W, 3].

    They are taken evenly from those that have labels; pictures that cannot be read are left out.
    """
    labelled = [sample for sample in dataset.samples if len(sample) or len(sample.labels)]
    places = np.linspace(0, len(labelled) - 1, min(count, len(labelled))).round().astype(int)
    chosen = [labelled[i] for i in places]
    tiles = []
    for sample in chosen:
        try:
            tiles.append(_tile(read(sample.image), sample, dataset.names))
        except SourceError:
            continue
    columns = min(COLUMNS, max(1, len(tiles)))
    tiles += [np.full((TILE, TILE, 3), 255, np.uint8)] * (-len(tiles) % columns or (not tiles))
    return np.concatenate([np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)])


def save_sheet(dataset: Dataset, folder: Path) -> Path:
    """Writes the contact sheet of a split into a folder, which is made where it is missing. Raises DataError."""
    data = cv2.imencode(".png", cv2.cvtColor(contact_sheet(dataset), cv2.COLOR_RGB2BGR))[1]
    return save(folder / f"{dataset.split}.png", data.tobytes(), DataError)


def _tile(image: Pixels, sample: Sample, names: Sequence[str]) -> Pixels:
    """One picture with its labels, made as large as fits."""
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for class_, mask in zip(sample.classes, sample.masks, strict=False):
        if isinstance(mask, tuple):
            outlines = [np.rint(np.clip(polygon * scale, -TILE, 2 * TILE)).astype(np.int32) for polygon in mask]
            cv2.polylines(image, outlines, True, colour(int(class_)), 1, cv2.LINE_AA)
    largest_first = np.argsort(-sample.areas, kind="stable")
    classes = sample.classes[largest_first[::-1]]
    image = draw(image, sample.boxes[largest_first[::-1]] * np.float32(scale), classes, [names[i] for i in classes])
    if len(sample.labels):
        image = caption(image, [names[i] for i in sample.labels], sample.labels.tolist())
    tile = np.full((TILE, TILE, 3), 255, np.uint8)
    tile[: image.shape[0], : image.shape[1]] = image
    return tile


def facts(report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "path": str(report.path),
        "format": report.format,
        "names": list(report.names),
        "splits": [vars(split) for split in report.splits],
        "problems": [
            {"where": problem.where, "kind": problem.kind, "what": problem.what} for problem in report.problems
        ],
    }
