"""Masks as run lengths: areas and overlaps, by faster-coco-eval's code."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelook.data.sample import Mask, Rle, decimal
from onelook.metrics.matching import Pairs
from onelook.metrics.table import Finds, Truths

Code = dict[str, Any]  # {"size": [height, width], "counts": COCO's compressed text}


def encode(mask: Mask | NDArray[np.bool_], size: tuple[int, int]) -> Code:
    """A mask as run lengths.

    Args:
        mask: polygons in pixels, run lengths, or a bool array [H, W].
        size: height and width of the picture.

    Raises:
        ValueError: the mask is of another size, or None.
    """
    from faster_coco_eval import mask as rle

    if isinstance(mask, Rle):
        code = {"size": list(mask.size), "counts": mask.counts}
    elif isinstance(mask, np.ndarray):
        code = rle.encode(np.asfortranarray(mask, np.uint8))
    elif mask is None:
        raise ValueError("a detection has no mask")
    else:
        parts = rle.frPyObjects([decimal(part).ravel().tolist() for part in mask], *size)
        code = rle.merge(parts)
    if tuple(code["size"]) != size:
        raise ValueError(f"a mask of {code['size'][1]} x {code['size'][0]} in a picture of {size[1]} x {size[0]}")
    return code


def areas(codes: Sequence[Code]) -> NDArray[np.float64]:
    """[N] how many pixels each mask has."""
    from faster_coco_eval import mask as rle

    return np.asarray(rle.area(list(codes)) if codes else [], np.float64)


def mask_boxes(masks: Sequence[Rle]) -> NDArray[np.float64]:
    """[N, 4] xyxy, the smallest box around each mask."""
    from faster_coco_eval import mask as rle

    boxes = np.array(rle.toBbox([encode(mask, mask.size) for mask in masks]), np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def overlaps(truths: Truths, finds: Finds, objects: Sequence[Code], found: Sequence[Code]) -> Pairs:
    """All pairs of the same picture and class whose masks have pixels in common.

    Args:
        truths, finds: what the masks are of.
        objects: [T] masks of the truths. The overlap with a crowd is over the detection's own area, in both columns.
        found: [N] masks of the detections.
    """
    from faster_coco_eval import mask as rle

    classes = 1 + max(finds.classes.max(initial=0), truths.classes.max(initial=0))
    cell_of_find, cell_of_truth = (one.pictures * classes + one.classes for one in (finds, truths))
    of_find, of_truth = _members(cell_of_find), _members(cell_of_truth)
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for cell in np.intersect1d(cell_of_find, cell_of_truth).tolist():
        i, j = of_find[cell], of_truth[cell]
        crowd = truths.crowd[j].astype(int).tolist()
        overlap = rle.iou([found[n] for n in i.tolist()], [objects[n] for n in j.tolist()], crowd)
        row, column = np.nonzero(overlap)
        parts.append((i[row], j[column], np.asarray(overlap)[row, column]))
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    i, j, overlap = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    order = np.lexsort((j, i))
    return Pairs(i[order], j[order], overlap[order], overlap[order])


def _members(cells: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """The indices of each cell, in their order."""
    order = np.argsort(cells, kind="stable")
    known, start = np.unique(cells[order], return_index=True)
    return dict(zip(known.tolist(), np.split(order, start[1:]), strict=False))
