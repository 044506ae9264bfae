"""Detections that were made before and lie in a file of COCO's results format."""

import dataclasses
import json
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


def read_results(path: Path, dataset: Dataset, by_masks: bool = False) -> tuple[Dataset, list[Found]]:
    """The detections of each picture of a dataset, from a list of {"image_id", "category_id", "bbox", "score"}.

    An `image_id` is the number that COCO's file gives to the picture, and a `category_id` that of the class. Elsewhere, and
    where the results do not know those numbers, they are what `onelook detect --save coco` writes: the name of the
    picture's file without its suffix, or the number which that is; COCO's own number of the class, of other names their
    place in the list, from 1.

    Args:
        path: of the file.
        dataset: what they are detections in.
        by_masks: a "segmentation" of run lengths is read as the mask. Its box takes the place of a missing "bbox" anyway.

    Returns:
        The dataset with its pictures in the order of their ids, in which COCO's tools take equal scores, and the detections
        of each.

    Raises:
        DataError: the file cannot be read as one of results, or is of other pictures or classes.
        MissingDependencyError: faster-coco-eval, which is needed for masks, is not installed.
    """
    rows = _parse(path)
    dataset, ids, category_ids = _ordered(dataset, rows)
    pictures = _indices(rows, "image_id", {id_: i for i, id_ in enumerate(ids)}, path)
    kinds = _indices(rows, "category_id", {id_: i for i, id_ in enumerate(category_ids)}, path)
    boxed = bool(rows) and "bbox" in rows[0]
    masks = _masks(rows, dataset, pictures, path) if by_masks or not boxed else []
    try:
        scores = np.array([row["score"] for row in rows], np.float64)
        if masks and not boxed:
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


def _indices(rows: Sequence[Row], key: str, places: dict[int | str, int], path: Path) -> NDArray[np.int64]:
    """[N] where each row's id stands in the dataset."""
    found = [places.get(_id(row.get(key)), -1) for row in rows]
    if -1 in found:
        number = found.index(-1)
        value = repr(rows[number][key])[:40] if key in rows[number] else "none"
        raise DataError(f"{shown(str(path))}: detection {number} has the {key} {value}, which the dataset has not")
    return np.array(found, np.int64)


def _id(value: object) -> int | str:
    """A number, also where it is written as text, or a name; an empty one for what is neither."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int | str) else ""


def _ordered(dataset: Dataset, rows: Sequence[Row]) -> tuple[Dataset, list[int | str], Sequence[int]]:
    """The dataset with its pictures in the order of their ids, those, and the ids of the classes."""
    names: list[int | str] = [_id(sample.image.stem) for sample in dataset.samples]
    numbers: list[int | str] = [sample.id for sample in dataset.samples if sample.id is not None]
    known = {_id(row.get("image_id")) for row in rows}
    numbered = len(numbers) == len(names) and (known <= set(numbers) or not known <= set(names))
    ids = numbers if numbered else names
    if len(set(ids)) < len(ids):
        raise DataError(
            f"{shown(str(dataset.path))}: two pictures have the same name, so results cannot tell them apart"
        )
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    ordered = dataclasses.replace(dataset, samples=tuple(dataset.samples[i] for i in order))
    return ordered, [ids[i] for i in order], list(map(int, dataset.ids)) if numbered else category_ids(dataset.names)


def _masks(rows: Sequence[Row], dataset: Dataset, pictures: NDArray[np.int64], path: Path) -> list[Rle]:
    """The mask of each detection; none where the first has none. Raises DataError where one is not run lengths."""
    if not rows or not rows[0].get("segmentation"):
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
