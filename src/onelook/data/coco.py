"""COCO: one JSON file a split (Lin et al., 2014; cocodataset.org/#format-data).

annotations/instances_train2017.json    train2017/000000000009.jpg, or images/train2017/...
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

import numpy as np

from onelook import rle
from onelook.data.files import Problems, folders, is_name, listing, read_bytes, still
from onelook.data.header import try_size
from onelook.data.placing import Placed, Placer, missing_note, shortest
from onelook.data.sample import Dataset, Mask, Rle, Sample
from onelook.data.table import LARGEST_SIDE, Objects, Picture
from onelook.errors import DataError, SourceError
from onelook.names import category_ids
from onelook.runtime.picture import shown

FORMAT = "coco"
HOLDS = frozenset({"boxes", "crowd", "polygons", "run lengths"})
_PREFIX = "instances_"
_LARGEST_MASK = 1 << 28  # pixels, as of the largest picture that is decoded


class _BadMask(str):
    """What is wrong with a segmentation."""


def splits(path: Path) -> tuple[str, ...]:
    """The names of the splits; none where it is neither a folder nor a file of this format."""
    return tuple(_files(path))


def read(path: Path, split: str) -> Dataset:
    """One split of it. The classes are the categories in the order of their ids, which may have gaps."""
    file = still(_files(path), split, path)
    content = _parse(file)
    root = file.parent if path == file else path
    problems = Problems(root)
    categories = _categories(content["categories"], file, problems)
    index = {id_: i for i, id_ in enumerate(categories)}

    folder = _pictures_folder(path, file, split)
    pictures: list[Picture] = []
    of_id: dict[int, int] = {}
    for number, entry in enumerate(content["images"]):
        id_ = _id(entry.get("id")) if isinstance(entry, dict) else None
        picture = _picture(entry, id_, folder, of_id, file, f"images[{number}]", problems)
        if id_ is not None and picture is not None:
            of_id[id_] = len(pictures)
            pictures.append(picture)

    objects = Objects()
    for number, entry in enumerate(content["annotations"]):
        _add(entry, number, objects, of_id, index, pictures, file, problems)
    samples = objects.samples(pictures, lambda _, line: (file, f"annotations[{line}]"), problems)
    ids = tuple(str(id_) for id_ in categories)
    return Dataset(path, FORMAT, split, tuple(categories.values()), samples, tuple(problems), ids=ids)


def _files(path: Path) -> dict[str, Path]:
    """The annotation file of each split."""
    if path.suffix.lower() == ".json":
        return {path.stem.removeprefix(_PREFIX): path}
    for folder in (path / "annotations", path):
        names = [name for name in listing(folder, (".json",)) if name.startswith(_PREFIX)]
        if names:
            return {name.removeprefix(_PREFIX)[:-5]: folder / name for name in names}
    # As Roboflow exports it: each split is a folder of pictures with their JSON file.
    files = [folder / "_annotations.coco.json" for folder in folders(path)]
    return {file.parent.name: file for file in files if isfile(file)}


def _pictures_folder(path: Path, file: Path, split: str) -> Path:
    """The first that there is of the folders that the pictures of a split use to be in."""
    root = path
    if path == file:
        root = file.parent.parent if file.parent.name == "annotations" else file.parent
    choices = (root / split, root / "images" / split, root / "images")
    return next((folder for folder in choices if isdir(folder)), root)


def _parse(file: Path) -> dict[str, list[Any]]:
    data = read_bytes(file)
    try:
        content = json.loads(data, object_hook=_shrink)
    except RecursionError:
        raise DataError(f"{shown(str(file))}: the JSON is nested too deeply") from None
    except ValueError as error:  # also a number of more than 4300 digits, and text that is not UTF-8
        raise DataError(f"{shown(str(file))}: not readable as JSON: {error}") from None
    lists = {}
    for key in ("images", "annotations", "categories"):
        value = content.get(key) if isinstance(content, dict) else None
        if not isinstance(value, list):
            raise DataError(f"{shown(str(file))}: expected COCO's format: an object with a list of {key!r}")
        lists[key] = value
    return lists


def _shrink(entry: dict[str, Any]) -> dict[str, Any]:
    """An object of the JSON file with its outline as arrays: the numbers of a training set as Python's take gigabytes."""
    if "segmentation" in entry:
        entry["segmentation"] = _mask(entry["segmentation"])
    return entry


def _mask(value: Any) -> Mask | _BadMask:
    if value in (None, [], [[]]):
        return None
    if isinstance(value, dict):
        return _rle(value)
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            polygons = tuple(np.array(polygon, np.float32).reshape(-1, 2) for polygon in value)
    except (ValueError, TypeError, OverflowError):
        return _BadMask("expected polygons: lists of x, y, x, y, ...")
    if any(len(polygon) < 3 or not np.isfinite(polygon).all() for polygon in polygons):
        return _BadMask("a polygon needs three points or more")
    return polygons


def _rle(value: dict[str, Any]) -> Rle | _BadMask:
    counts, size = value.get("counts"), value.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(_is_side(side) for side in size):
        return _BadMask("a mask of run lengths needs its size, [height, width]")
    if size[0] * size[1] > _LARGEST_MASK:
        return _BadMask(f"{size[1]} x {size[0]} are more pixels than a picture may have")
    try:
        if isinstance(counts, str):
            text = counts.encode("ascii")
            lengths = rle.runs(text)
        else:
            lengths = np.array(counts, np.int64)
            if lengths.ndim != 1 or not len(lengths) or lengths.min() < 0:
                raise ValueError
            text = rle.compress(lengths)
        if lengths.max() > size[0] * size[1]:  # the sum of such could be any number
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        return _BadMask("the run lengths cannot be read")
    if lengths.sum() != size[0] * size[1]:
        return _BadMask(f"the run lengths make {lengths.sum()} pixels, not {size[1]} x {size[0]}")
    return Rle((size[0], size[1]), text)


def _categories(entries: list[Any], file: Path, problems: Problems) -> dict[int, str]:
    """id -> name, in the order of the ids."""
    found: dict[int, str] = {}
    for number, entry in enumerate(entries):
        id_, name = (_id(entry.get("id")), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if id_ is None or not isinstance(name, str) or not name.strip():
            problems.add(file, f"categories[{number}]", "expected an id, a whole number, and a name", "bad category")
        elif id_ in found:
            problems.add(file, f"categories[{number}]", f"the id {id_} is there twice", "duplicate")
        else:
            found[id_] = name.strip()
    return dict(sorted(found.items()))


def _picture(
    entry: Any, id_: int | None, folder: Path, known: Mapping[int, int], file: Path, where: str, problems: Problems
) -> Picture | None:
    if id_ is None or not is_name(entry.get("file_name")):
        problems.add(file, where, "expected an id, a whole number, and a file_name", "bad picture")
        return None
    if id_ in known:
        problems.add(file, where, f"the id {id_} is there twice", "duplicate")
        return None
    image = folder / entry["file_name"]
    width, height = entry.get("width"), entry.get("height")
    if _is_side(width) and _is_side(height):  # believed: opening 118,000 pictures takes long; `check` does
        return Picture(image, width, height, id=id_)
    size = try_size(image)
    if isinstance(size, SourceError):
        problems.add(file, where, "no width and height, and no picture to take them from", "missing picture")
        return None
    return Picture(image, *size, id=id_)


def _add(
    entry: Any,
    number: int,
    objects: Objects,
    of_id: Mapping[int, int],
    index: Mapping[int, int],
    pictures: list[Picture],
    file: Path,
    problems: Problems,
) -> None:
    where = f"annotations[{number}]"
    box = entry.get("bbox") if isinstance(entry, dict) else None
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in box):
        problems.add(file, where, "expected a bbox, [x, y, width, height]", "bad object")
        return
    picture = of_id.get(_id(entry.get("image_id")))  # type: ignore[arg-type]  # None is no id of a picture
    if picture is None:
        problems.add(file, where, "its image_id is of no picture", "unknown picture")
        return
    class_ = index.get(_id(entry.get("category_id")))  # type: ignore[arg-type]
    if class_ is None:
        problems.add(file, where, "its category_id is of no category", "unknown class")
        return
    x, y, width, height = map(_float, box)
    mask = entry.get("segmentation")
    if isinstance(mask, Rle) and mask.size != (pictures[picture].height, pictures[picture].width):
        mask = _BadMask("the mask has another size than the picture")
    if isinstance(mask, _BadMask):
        problems.add(file, where, mask, "bad mask")
        mask = None
    flags = ("crowd",) if entry.get("iscrowd") == 1 else ()
    area = entry.get("area")
    area = _float(area) if type(area) in (int, float) else math.nan
    objects.add(picture, class_, (x, y, x + width, y + height), number, flags, area=area, mask=mask)


def _id(value: Any) -> int | None:
    """A whole number; some tools write ids as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        return int(value)
    return value if type(value) is int else None


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_SIDE


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def write(datasets: Sequence[Dataset], path: Path) -> list[str]:
    """Writes the splits into an empty folder; says what could not be, a line each."""
    (path / "annotations").mkdir(parents=True)
    placers = []
    for dataset in datasets:
        placers.append(Placer(path / dataset.split))
        placed = placers[-1].place(dataset.samples)
        ids = _category_ids(dataset)
        content = {
            "images": _images(placed),
            "annotations": _annotations(placed, ids),
            "categories": ({"id": id_, "name": name} for id_, name in zip(ids, dataset.names, strict=True)),
        }
        with open(path / "annotations" / f"{_PREFIX}{dataset.split}.json", "w", encoding="utf-8") as file:
            for before, (key, rows) in zip("{,,", content.items(), strict=True):
                file.write(f'{before}"{key}": [')
                file.writelines(f"{',' if i else ''}\n{json.dumps(row)}" for i, row in enumerate(rows))
                file.write("]\n")
            file.write("}\n")
    return missing_note(*placers)


def _category_ids(dataset: Dataset) -> tuple[int, ...]:
    """Those that the classes had, where they had any in the order that they are in."""
    if dataset.format == FORMAT and dataset.ids:
        ids = tuple(map(int, dataset.ids))
        if ids == tuple(sorted(ids)):
            return ids
    ids = category_ids(dataset.names)
    return ids if ids == tuple(sorted(ids)) else tuple(range(1, len(ids) + 1))


def _image_ids(placed: Sequence[Placed]) -> list[int]:
    """The numbers that the pictures are named by, as COCO's are; else 1, 2, ..."""
    numbers = [int(one.stem) for one in placed if one.stem.isdecimal() and len(one.stem) < 16]
    return numbers if len(set(numbers)) == len(placed) else list(range(1, len(placed) + 1))


def _images(placed: Sequence[Placed]) -> Iterable[dict[str, Any]]:
    for id_, one in zip(_image_ids(placed), placed, strict=True):
        yield {"id": id_, "file_name": one.name, "width": one.sample.width, "height": one.sample.height}


def _annotations(placed: Sequence[Placed], category_ids: Sequence[int]) -> Iterable[dict[str, Any]]:
    number = 0
    for image_id, (sample, _, _) in zip(_image_ids(placed), placed, strict=True):
        for i, box in enumerate(sample.boxes):
            number += 1
            x1, y1, x2, y2 = map(shortest, box)
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": category_ids[sample.classes[i]],
                "bbox": [x1, y1, round(x2 - x1, 9), round(y2 - y1, 9)],
                "area": shortest(sample.areas[i]),
                "iscrowd": int(sample.crowd[i]),
                "segmentation": _segmentation(sample, i),
            }


def _segmentation(sample: Sample, i: int) -> Any:
    mask = sample.masks[i] if sample.masks else None
    if isinstance(mask, Rle):
        return {"size": mask.size, "counts": mask.counts.decode("ascii")}
    return [[shortest(side) for side in polygon.reshape(-1)] for polygon in mask or ()]
