"""Anchors that fit a dataset: the dimension clusters of YOLO9000 (Redmon and Farhadi, 2017, arXiv:1612.08242)."""

import numpy as np
from numpy.typing import NDArray

from onelook.data.sample import Dataset
from onelook.errors import DataError

_STARTS, _FEW = 10, 10_000  # of so many starts with so many of the boxes the best goes on with all of them
_MOST_ROUNDS = 300


def anchors(boxes_wh: NDArray[np.floating], count: int, seed: int = 0) -> tuple[NDArray[np.float32], float]:
    """k-means of the sizes of boxes by the distance d = 1 - IoU of the two with a common centre (section 2).

    Euclidean distance would let large boxes count more than small ones. A centre is the mean of the boxes nearest to
    it. The first centres are chosen as k-means++ does (Arthur and Vassilvitskii, 2007): each one with a probability in
    proportion to the squared distance to those before it; of several starts the best counts.

    Args:
        boxes_wh: [N, 2] width and height, in pixels of the picture as the network gets it.
        count: how many anchors, k.
        seed: the same one gives the same anchors.

    Returns:
        float32 [count, 2] width and height, from the smallest area to the largest; the mean over the boxes of the IoU
        with the nearest.

    Raises:
        DataError: a size is not positive, or there are fewer than `count` different ones.
    """
    sizes = np.asarray(boxes_wh, np.float64).reshape(-1, 2)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise DataError("anchors need boxes whose width and height are greater than 0")
    different = len(np.unique(sizes, axis=0))
    if count < 1 or different < count:
        raise DataError(f"{count} anchors need as many different sizes of boxes; there are {different}")

    random = np.random.default_rng(seed)
    few = random.choice(sizes, min(len(sizes), _FEW), replace=False)
    starts = [_settle(few, _start(few, count, random)) for _ in range(_STARTS)]
    best = max(starts, key=lambda centres: iou_of_sizes(few, centres).max(1).mean())
    centres = _settle(sizes, best)
    found = centres[np.argsort(centres.prod(1), kind="stable")].astype(np.float32)
    return found, float(iou_of_sizes(sizes, found.astype(np.float64)).max(1).mean())


def _start(sizes: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Sizes [count, 2] that lie far apart."""
    centres = sizes[random.integers(len(sizes))][None]
    while len(centres) < count:
        distance = 1 - iou_of_sizes(sizes, centres).max(1)
        weights = distance**2 + 1e-12  # where the boxes have fewer sizes than there are anchors, any box will do
        centres = np.concatenate([centres, sizes[random.choice(len(sizes), p=weights / weights.sum())][None]])
    return centres


def _settle(sizes: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """The centres [count, 2] that k-means moves to."""
    nearest = np.full(len(sizes), -1)
    for _ in range(_MOST_ROUNDS):
        before, nearest = nearest, iou_of_sizes(sizes, centres).argmax(1)
        if (nearest == before).all():
            break
        members = np.bincount(nearest, minlength=len(centres))[:, None]
        sums = np.stack([np.bincount(nearest, sizes[:, side], len(centres)) for side in (0, 1)], 1)
        centres = np.where(members > 0, sums / members.clip(1), centres)
    return centres


def iou_of_sizes(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU [N, M] of boxes of sizes [N, 2] and [M, 2] laid upon each other."""
    shared = np.minimum(a[:, None, 0], b[:, 0]) * np.minimum(a[:, None, 1], b[:, 1])
    return shared / (a.prod(1)[:, None] + b.prod(1) - shared)


def box_sizes(dataset: Dataset, size: int) -> NDArray[np.float64]:
    """Width and height [N, 2] of a dataset's boxes in pictures letterboxed to `size` x `size`, without crowds."""
    sizes = [
        (sample.boxes[:, 2:] - sample.boxes[:, :2])[~sample.crowd] * (size / max(sample.width, sample.height))
        for sample in dataset.samples
    ]
    return np.concatenate([np.zeros((0, 2)), *sizes])
