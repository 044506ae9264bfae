"""Detections that were made before and lie in a file of COCO's results format."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelook import rle
from onelook.data import Dataset, Rle
from onelook.errors import DataError
from onelook.metrics import Found
from onelook.metrics.coco import need
from onelook.metrics.masks import mask_boxes
from onelook.names import category_ids
from onelook.runtime.picture import shown

Row = dict[str, Any]


def read_results(path: Path, dataset: Dataset) -> tuple[Dataset, list[Found]]:
    """The detections of each picture of a dataset, from a list of {"image_id", "category_id", "bbox", "score"}.

    A "segmentation" of run lengths is read as the mask; with it the "bbox" may be missing. An `image_id` is the number
    that COCO's file gives to the picture; elsewhere, as `onelook detect --save coco` writes it, the name of the picture's
    file without its suffix, or the number which that is. A `category_id` is COCO's; elsewhere the class's number from 1.

    Args:
        path: of the file.
        dataset: what they are detections in.

    Returns:
        The dataset with its pictures in the order of their ids, in which COCO's tools take equal scores, and the detections
        of each.

    Raises:
        DataError: the file cannot be read as one of results, or is of other pictures or classes.
        MissingDependencyError: faster-coco-eval, which is needed for masks, is not installed.
    """
    rows = _parse(path)
    dataset, ids = _ordered(dataset)
    pictures = _indices(rows, "image_id", {id_: i for i, id_ in enumerate(ids)}, path)
    kinds = _indices(rows, "category_id", {id_: i for i, id_ in enumerate(_category_ids(dataset))}, path)
    masks = _masks(rows, dataset, pictures, path)
    try:
        scores = np.array([row["score"] for row in rows], np.float64)
        if masks and "bbox" not in rows[0]:
            boxes = mask_boxes(masks)
        else:
            boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(len(rows), 4)
            boxes[:, 2:] += boxes[:, :2]
        if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
            raise ValueError("one is not finite")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{shown(str(path))}: expected of every detection a number 'score' and four numbers 'bbox', x, y, width, "
            f"height: {error}"
        ) from None
    order = np.argsort(pictures, kind="stable")
    ends = np.searchsorted(pictures[order], np.arange(1, len(dataset)))
    return dataset, [
        Found(boxes[own], scores[own], kinds[own], [masks[i] for i in own.tolist()] if masks else ())
        for own in np.split(order, ends)
    ]


def _parse(path: Path) -> list[Row]:
    try:
        rows = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{shown(str(path))}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown(str(path))}: is not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{shown(str(path))}: expected COCO results, a list of objects with image_id, category_id, bbox, score"
        )
    return rows


def _indices(rows: Sequence[Row], key: str, places: dict[Any, int], path: Path) -> NDArray[np.int64]:
    """[N] where each row's id stands in the dataset."""
    try:
        return np.array([places[row[key]] for row in rows], np.int64)
    except (KeyError, TypeError):
        number, row = next((n, row) for n, row in enumerate(rows) if not _known(row.get(key), places))
        found = repr(row[key])[:40] if key in row else "none"
        raise DataError(
            f"{shown(str(path))}: detection {number} has the {key} {found}, which the dataset has not"
        ) from None


def _known(id_: object, places: dict[Any, int]) -> bool:
    return isinstance(id_, int | str) and id_ in places


def _ordered(dataset: Dataset) -> tuple[Dataset, list[Any]]:
    """The dataset with its pictures in the order of their ids, and those."""
    ids = _image_ids(dataset)
    if len(set(ids)) < len(ids):
        raise DataError(
            f"{shown(str(dataset.path))}: two pictures have the same name, so results cannot tell them apart"
        )
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    samples = tuple(dataset.samples[i] for i in order)
    return dataclasses.replace(dataset, samples=samples), [ids[i] for i in order]


def _image_ids(dataset: Dataset) -> list[Any]:
    stems = [sample.image.stem for sample in dataset.samples]
    # The names of COCO's own pictures are their ids; those of others who use its format need not be.
    if dataset.format != "coco" or all(re.fullmatch(r"\d{12}", stem) for stem in stems):
        return [int(stem) if stem.isascii() and stem.isdecimal() else stem for stem in stems]
    path = dataset.path
    file = path if path.is_file() else path / "annotations" / f"instances_{dataset.split}.json"
    if not file.is_file():
        raise DataError(f"{shown(str(path))}: name the file of annotations, whose picture ids the results refer to")
    entries = json.loads(file.read_bytes())["images"]
    ids = {
        Path(str(entry.get("file_name"))).name: entry["id"]
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), int | str)
    }
    return [ids[sample.image.name] for sample in dataset.samples]


def _category_ids(dataset: Dataset) -> Sequence[int]:
    return list(map(int, dataset.ids)) if dataset.format == "coco" else category_ids(dataset.names)


def _masks(rows: Sequence[Row], dataset: Dataset, pictures: NDArray[np.int64], path: Path) -> list[Rle]:
    """The mask of each detection; none where the first has none. Raises DataError where one is not run lengths."""
    if not rows or "segmentation" not in rows[0]:
        return []
    need("faster_coco_eval", "comparing masks")
    masks = []
    for number, (row, picture) in enumerate(zip(rows, pictures.tolist(), strict=True)):
        size = (dataset.samples[picture].height, dataset.samples[picture].width)
        code: Any = row.get("segmentation")
        try:
            counts = code["counts"]
            if tuple(code["size"]) != size:
                raise ValueError
            text = counts.encode() if isinstance(counts, str) else rle.compress(np.array(counts, np.int64))
            if rle.runs(text).sum() != size[0] * size[1]:
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise DataError(
                f"{shown(str(path))}: detection {number} has no 'segmentation' of run lengths for a picture of "
                f"{size[1]} x {size[0]}: {{'size': [height, width], 'counts': text}}"
            ) from None
        masks.append(Rle(size, text))
    return masks
