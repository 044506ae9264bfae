"""How good a classifier is: top-1 and top-5, class by class, and what it takes for what."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierResult:
    """Shares of pictures, 0..1."""

    top1: float
    """Whose class is the likeliest."""
    top5: float
    """Whose class is among the five likeliest."""
    class_top1: NDArray[np.float64]
    """[C] of the pictures of each class; NaN where there are none."""
    class_top5: NDArray[np.float64]
    """[C]"""
    pictures: NDArray[np.int64]
    """[C] how many there are of each class."""
    confusion: NDArray[np.int64]
    """[C, M] how often a picture of the row's class was taken for the model's class of the column."""


def classifier_result(best: ArrayLike, classes: ArrayLike, names: Sequence[str], columns: int) -> ClassifierResult:
    """The figures of a classifier (Russakovsky et al., 2015, section 4.1).

    Args:
        best: [N, K] the likeliest classes of each picture, best first, K of 5 or all there are.
        classes: [N] the right ones.
        names: of the classes of the dataset, C.
        columns: classes of the model, M: the first C are those of the dataset.

    Raises:
        ValueError: no pictures, shapes that do not fit, or a class out of range.
    """
    table, right = np.asarray(best, np.int64), np.asarray(classes, np.int64)
    if table.ndim != 2 or not table.size or right.shape != table.shape[:1]:
        raise ValueError(f"expected best [N, K] and classes [N]; found {table.shape} and {right.shape}")
    if not (0 <= right.min() <= right.max() < len(names) and 0 <= table.min() <= table.max() < columns):
        raise ValueError(f"classes must be from 0 to {len(names) - 1}, and those of the model to {columns - 1}")
    hits = table[:, :5] == right[:, None]
    pictures = np.bincount(right, minlength=len(names))

    def share(hit: NDArray[np.bool_]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return np.bincount(right, hit, minlength=len(names)) / pictures

    first, among = hits[:, 0], hits.any(1)
    confusion = np.zeros((len(names), columns), np.int64)
    np.add.at(confusion, (right, table[:, 0]), 1)
    return ClassifierResult(float(first.mean()), float(among.mean()), share(first), share(among), pictures, confusion)
