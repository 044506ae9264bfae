"""PASCAL VOC's measure of segmentation, the mean intersection over union (Everingham et al., 2015, section 4.1.3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = 255  # the class number of pixels that are left undecided


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationResult:
    """Shares of pixels, 0..1; NaN where there are none to measure them with."""

    mean_iou: float
    """Mean over the classes that there are, be it in the truth or by mistake."""
    class_iou: NDArray[np.float64]
    """[C] pixels of a class that were found, over those that are of it or were taken for it."""
    pixel_accuracy: float
    """Pixels whose class is right."""
    confusion: NDArray[np.int64]
    """[C, C] how many pixels of the row's class were taken for the column's."""


def mean_iou(
    truths: Iterable[NDArray[np.integer]], masks: Iterable[NDArray[np.integer]], names: Sequence[str]
) -> SegmentationResult:
    """The mean intersection over union, and what it is made of.

    The pixels of all pictures are counted together. Where the truth is `IGNORE`, whatever was found is neither right nor
    wrong.

    Args:
        truths: of each picture the class of each pixel, [H, W].
        masks: of each picture what was found, [H, W].
        names: of the classes, C.

    Raises:
        ValueError: more pictures here than there, another size, or a class without a name.
    """
    classes = len(names)
    confusion = np.zeros((classes, classes), np.int64)
    for number, (truth, mask) in enumerate(zip(truths, masks, strict=True)):
        if truth.shape != mask.shape:
            raise ValueError(f"picture {number}: the truth is of shape {truth.shape}, the mask of {mask.shape}")
        counted = truth != IGNORE
        right, found = truth[counted].astype(np.int64), mask[counted].astype(np.int64)
        if right.size and not 0 <= min(right.min(), found.min()) <= max(right.max(), found.max()) < classes:
            raise ValueError(f"picture {number}: classes must be from 0 to {classes - 1}, or {IGNORE} in the truth")
        confusion += np.bincount(classes * right + found, minlength=classes**2).reshape(classes, classes)
    return segmentation_result(confusion)


def segmentation_result(confusion: NDArray[np.int64]) -> SegmentationResult:
    """The figures of pixels that are counted: [C, C] how many of the row's class were taken for the column's."""
    hits = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        class_iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
        pixel_accuracy = hits.sum() / confusion.sum()
    known = class_iou[~np.isnan(class_iou)]
    mean = float(known.mean()) if len(known) else float("nan")
    return SegmentationResult(mean, class_iou, float(pixel_accuracy), confusion)
