"""The measure of classifiers: is the right class among the first k?"""

import numpy as np
from numpy.typing import ArrayLike


def top_k(scores: ArrayLike, classes: ArrayLike, k: int = 1) -> float:
    """The share of pictures whose class is among the k best scored ones, 0..1 (Russakovsky et al., 2015, section 4.1).

    Args:
        scores: [N, C] of any scale. Of classes with equal scores the first comes first.
        classes: [N] the right ones, 0..C - 1.
        k: from 1 on.

    Raises:
        ValueError: no pictures, shapes that do not fit, a class or k out of range.
    """
    table, right = np.asarray(scores, np.float64), np.asarray(classes)
    if table.ndim != 2 or right.shape != table.shape[:1] or not len(right):
        raise ValueError(f"expected scores [N, C] and classes [N]; found {table.shape} and {right.shape}")
    if not 0 <= right.min() <= right.max() < table.shape[1]:
        raise ValueError(f"classes must be from 0 to {table.shape[1] - 1}")
    if k < 1:
        raise ValueError(f"k must be 1 or more; found {k}")
    best = np.argsort(-table, axis=1, kind="stable")[:, :k]
    return float((best == right[:, None]).any(axis=1).mean())
