"""The text files of Darknet and of what came after it: a line an object, its class and its box relative to the picture.

images/train/street.jpg    labels/train/street.txt    data.yaml, or train.txt, voc.data and voc.names of Darknet
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os.path import exists, isdir, isfile, lexists
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onelook.data.files import LARGEST_LABELS, Problems, folders, is_name, listing, read_lines, still, why
from onelook.data.header import try_size
from onelook.data.placing import Placer, missing_note, plain
from onelook.data.sample import Dataset, Mask, Sample
from onelook.data.settings import read_data, read_yaml
from onelook.data.table import ROUNDING, Objects, Picture
from onelook.errors import DarknetError, DataError, SourceError
from onelook.names import COCO, read_names
from onelook.runtime.picture import shown

FORMAT = "yolo"
HOLDS = frozenset({"boxes", "polygons"})
_MOST_BAD_LINES = 100  # of a file of labels; one with more is none


@dataclass(frozen=True)
class _Layout:
    """Where the pictures of each split are, a folder or a list; what the classes are called, where that is said."""

    splits: dict[str, tuple[Path, ...]]
    names: tuple[str, ...] | None = None


def splits(path: Path) -> tuple[str, ...]:
    """The names of the splits; none where it is neither a folder nor a file of this format."""
    return tuple(_layout(path).splits)


def read(path: Path, split: str) -> Dataset:
    """One split of it.

    Where nothing names the classes they are COCO's if the labels of all splits go up to its eightieth, else "class 0",
    "class 1", ...
    """
    layout = _layout(path)
    problems = Problems(path if isdir(path) else path.parent)
    places = still(layout.splits, split, path)
    for place in places:
        if not exists(place):
            raise DataError(f"{shown(str(place))}: no such folder or list, in which the split {split!r} should be")
    images = _images(places, problems)
    names = layout.names
    if names is None:
        highest = max(
            (_highest(_images(tuple(filter(exists, places)), None)) for places in layout.splits.values()), default=-1
        )
        names = COCO if highest == len(COCO) - 1 else tuple(f"class {i}" for i in range(highest + 1))

    pictures: list[Picture] = []
    files: list[Path] = []
    objects = Objects()
    for image, labels in images.items():
        size = try_size(image)
        if isinstance(size, SourceError):
            kind = "unreadable" if isfile(image) else "missing picture"
            problems.add(image, None, why(size, image), kind)
            continue
        _add(labels, objects, len(pictures), size, len(names), problems)
        pictures.append(Picture(image, *size))
        files.append(labels)
    for labels in _orphans(images):
        problems.add(labels, None, "labels without a picture", "missing picture")
    samples = objects.samples(pictures, lambda picture, line: (files[picture], line), problems)
    return Dataset(path, FORMAT, split, names, samples, tuple(problems))


def _layout(path: Path) -> _Layout:
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    if path.suffix.lower() == ".data":
        return _from_data(path)
    if isfile(path / "data.yaml"):
        return _from_yaml(path / "data.yaml")
    data = listing(path, (".data",))
    if data:
        if len(data) > 1:
            raise DataError(f"{shown(str(path))}: holds {', '.join(data)}; name one of them")
        return _from_data(path / data[0])
    return _Layout({name: (place,) for name, place in _folder_splits(path).items()}, _names_beside(path))


def _from_yaml(file: Path) -> _Layout:
    """The layout of Ultralytics' data.yaml. Beside its train, val and test, any key of a folder or list is a split."""
    settings, names = read_yaml(file)
    root = file.parent / "".join(settings.pop("path", [])[:1])
    found = {}
    for key, values in settings.items():
        places = [_place(value, root, file.parent) for value in values]
        # What is to be there and is not is said when it is read. A test set is often named and not handed out.
        if places and (key in ("train", "val") or all(isdir(place) or place.suffix == ".txt" for place in places)):
            found[key] = tuple(places)
    if not found:
        raise DataError(f"{shown(str(file))}: expected 'train', 'val' or 'test', each a folder or a list of pictures")
    return _Layout(found, names)


def _place(value: str, *roots: Path) -> Path:
    """The folder or list in one of these; Roboflow writes ../train/images of a folder that lies beside the file."""
    choices = [root / name for root in roots for name in (value, value.removeprefix("../"))]
    return next((choice for choice in choices if exists(choice)), choices[0])


def _from_data(file: Path) -> _Layout:
    """The layout of Darknet's .data: train = train.txt, valid = ..., names = ..."""
    settings = read_data(file)
    found: dict[str, tuple[Path, ...]] = {}
    for split in ("train", "valid", "test"):
        if split in settings:
            found[split] = (_near(file, settings[split]),)
    if not found:
        raise DataError(f"{shown(str(file))}: expected 'train = ...' or 'valid = ...', a list of pictures")
    return _Layout(found, _names(_near(file, settings["names"])) if "names" in settings else None)


def _near(file: Path, name: str) -> Path:
    """A file that another one names: from that one's folder on, or from a folder above (Darknet: where it is started)."""
    for folder in (file.parent, file.parent.parent, Path()):
        if exists(folder / name):
            return folder / name
    return file.parent / name


def _folder_splits(path: Path) -> dict[str, Path]:
    """The folder, or the list, of each split's pictures."""
    images, labels = path / "images", path / "labels"
    if isdir(images) and isdir(labels):
        return {f.name: f for f in folders(images) if listing(f)} or ({"all": images} if listing(images) else {})
    beside = {f.name: f / "images" for f in folders(path) if isdir(f / "images") and isdir(f / "labels")}
    lists = {name: path / f"{name}.txt" for name in ("train", "val", "valid", "test")}
    return beside or {name: file for name, file in lists.items() if isfile(file)}


def _names_beside(path: Path) -> tuple[str, ...] | None:
    files = listing(path, (".names",)) or listing(path, ("classes.txt",))
    return _names(path / files[0]) if len(files) == 1 else None


def _names(file: Path) -> tuple[str, ...]:
    if not isfile(file):
        raise DataError(f"{shown(str(file))}: no such file; expected a text file with one class name a line")
    try:
        return read_names(file)
    except DarknetError as error:
        raise DataError(str(error)) from None


def _images(sources: tuple[Path, ...], problems: Problems | None) -> dict[Path, Path]:
    """Each picture, and the file of its labels."""
    found: dict[Path, Path] = {}
    for source in sources:
        if isdir(source):
            found |= {source / name: _labels(source / name) for name in listing(source)}
            continue
        for number, line in enumerate(read_lines(source), start=1):
            name = line.strip()
            if not name:
                continue
            image = _near(source, name) if is_name(name) else None
            if image is not None and image not in found:
                found[image] = _labels(image)
            elif problems is not None:
                what, kind = ("is no name of a file", "bad line") if image is None else ("is listed twice", "duplicate")
                problems.add(source, number, f"{shown(name[:64])} {what}", kind)
    return found


def _labels(image: Path) -> Path:
    """Where Darknet looks: the same path with labels in the place of images; else beside the picture."""
    name = f"{image.stem}.txt"
    parts = list(image.parent.parts)
    for i in reversed(range(len(parts))):
        if parts[i] in ("images", "JPEGImages"):
            folder = Path(*parts[:i], "labels", *parts[i + 1 :])
            return (folder if isdir(folder) else image.parent) / name
    return image.parent / name


def _orphans(images: Mapping[Path, Path]) -> list[Path]:
    """The files of labels, in the folders of those of the pictures, that are of no picture."""
    known = set(images.values())
    beside = {image.parent for image in images}
    found = {labels.parent for labels in known} - beside  # beside pictures there are other text files too
    return [
        folder / name for folder in sorted(found) for name in listing(folder, (".txt",)) if folder / name not in known
    ]


def _highest(images: Mapping[Path, Path]) -> int:
    """The highest class in the labels; -1 where there are none."""
    highest = -1
    for labels in images.values():
        with suppress(DataError):  # which reading says of those that are read
            numbers = [int(found[1]) for line in _read(labels) if (found := re.match(r"\s*(\d{1,4})(?:\.0*)?\s", line))]
            highest = max(highest, *numbers, -1)
    return highest


def _read(labels: Path) -> list[str]:
    """The lines of labels; none where there is no such file, which means a picture without objects."""
    return read_lines(labels, LARGEST_LABELS) if lexists(labels) else []


def _add(labels: Path, objects: Objects, picture: int, size: tuple[int, int], classes: int, problems: Problems) -> None:
    try:
        lines = _read(labels)
    except DataError as error:
        problems.add(labels, None, why(error, labels), "unreadable")
        return
    bad = 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            class_, numbers = _parse(words)
        except ValueError:
            problems.add(labels, number, f"expected 'class x y width height'; found {line[:48]!a}", "bad line")
            bad += 1
            if bad == _MOST_BAD_LINES:
                problems.add(labels, number, "too many bad lines; the rest is not read", "unreadable")
                return
            continue
        if not 0 <= class_ < classes:
            problems.add(labels, number, f"class {class_} of {classes}", "unknown class")
            continue
        box, mask = _box(numbers, size)
        objects.add(picture, class_, box, number, mask=mask)


def _parse(words: list[str]) -> tuple[int, list[float]]:
    """The class and the numbers of a line: of a box four, of a polygon six or more. Raises ValueError for other lines."""
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise ValueError
    class_ = float(words[0])  # some tools write 0.0
    if class_ != int(class_ if abs(class_) < 2**53 else 0):
        raise ValueError
    return int(class_), [float(word) for word in words[1:]]


def _box(numbers: list[float], size: tuple[int, int]) -> tuple[Sequence[float], Mask]:
    """The box in pixels, xyxy, and the polygon that it is around where the line holds one."""
    width, height = size
    if len(numbers) == 4:
        x, y, w, h = numbers
        return ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height), None
    with np.errstate(over="ignore"):  # its box is then no number, or cut
        polygon = (np.array(numbers).reshape(-1, 2) * size).astype(np.float32)
    return (*polygon.min(0).tolist(), *polygon.max(0).tolist()), (polygon,)


def write(datasets: Sequence[Dataset], path: Path) -> list[str]:
    """Writes the splits into an empty folder; says what could not be, a line each."""
    placers = []
    lost = 0
    keys = _keys([dataset.split for dataset in datasets])
    settings = [f"{key}: {json.dumps(f'images/{split}')}" for split, key in keys.items()]
    for dataset in datasets:
        labels = path / "labels" / dataset.split
        labels.mkdir(parents=True)
        placers.append(Placer(path / "images" / dataset.split))
        for sample, name, _ in placers[-1].place(dataset.samples):
            outlined = _is_outlined(sample)
            lost += 0 if outlined else sum(isinstance(mask, tuple) for mask in sample.masks)
            lines = _polygon_lines(sample) if outlined else _box_lines(sample)
            (labels / name).with_suffix(".txt").write_text("".join(f"{line}\n" for line in lines), "ascii")
    names = [f"  {i}: {json.dumps(plain(name), ensure_ascii=False)}" for i, name in enumerate(datasets[0].names)]
    (path / "data.yaml").write_text("\n".join([*settings, "names:", *names, ""]), "utf-8")
    notes = (
        [f"yolo has one polygon an object, for all of a picture or none: {lost} objects lose theirs"] if lost else []
    )
    return notes + missing_note(*placers)


def _keys(splits: list[str]) -> dict[str, str]:
    """split -> the key that Ultralytics looks for: "train2017" -> "train", "validation" -> "val"."""
    keys = {split: re.sub(r"[-_]?\d+$", "", split) for split in splits}
    keys = {split: "val" if key in ("valid", "validation") else key for split, key in keys.items()}
    return keys if len(set(keys.values())) == len(keys) else dict(zip(splits, splits, strict=True))


def _is_outlined(sample: Sample) -> bool:
    """Whether each object's box is, but for rounding, that of its only polygon.

    A file must have polygons alone: readers take the four numbers of a box among them for two points.
    """
    return bool(sample.masks) and all(
        isinstance(mask, tuple)
        and len(mask) == 1
        and np.abs(np.concatenate([mask[0].min(0), mask[0].max(0)]) - box).max() <= ROUNDING
        for mask, box in zip(sample.masks, sample.boxes, strict=True)
    )


def _polygon_lines(sample: Sample) -> list[str]:
    size = np.array([sample.width, sample.height])
    polygons = [np.asarray(mask)[0] / size for mask in sample.masks]
    return [_line(class_, polygon) for class_, polygon in zip(sample.classes, polygons, strict=True)]


def _box_lines(sample: Sample) -> list[str]:
    low, high = sample.boxes[:, :2].astype(np.float64), sample.boxes[:, 2:].astype(np.float64)
    boxes = np.concatenate([(low + high) / 2, high - low], 1) / ([sample.width, sample.height] * 2)
    return [_line(class_, box) for class_, box in zip(sample.classes, boxes, strict=True)]


def _line(class_: np.int64, numbers: NDArray[np.float64]) -> str:
    """Ten digits: enough to find the same pixel's fraction again in a picture of any size."""
    return " ".join([str(class_), *(f"{number:.10g}" for number in numbers.reshape(-1))])
