"""The truths and the detections of all pictures as columns: what every metric begins with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelook.data.sample import Sample, decimal


class Found(NamedTuple):
    """What a detector found in one picture, in any order; arrays of any numeric type."""

    boxes: NDArray[Any]
    """[N, 4] xyxy in pixels of the picture."""
    scores: NDArray[Any]
    """[N], the higher the surer."""
    classes: NDArray[Any]
    """[N] indices into the names of the dataset."""
    masks: Sequence[Any] = ()
    """[N], each an `onelook.data.sample.Mask` or a bool array [H, W]; empty where only boxes were asked for."""


class Truths(NamedTuple):
    """The labelled objects of all pictures, T of them, picture by picture."""

    pictures: NDArray[np.int64]
    """[T] number of the picture, from 0."""
    boxes: NDArray[np.float64]
    """[T, 4] xyxy, pixels."""
    classes: NDArray[np.int64]
    """[T]"""
    difficult: NDArray[np.bool_]
    """[T]"""
    crowd: NDArray[np.bool_]
    """[T]"""
    areas: NDArray[np.float64]
    """[T] pixels of each."""

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """[T] what is neither right nor wrong when found, nor missed when not: difficult, or a crowd."""
        return self.difficult | self.crowd

    def where(self, keep: Any) -> "Truths":
        """Those of a mask or of indices."""
        return Truths(*_select(self, keep))


class Finds(NamedTuple):
    """The detections of all pictures, N of them: picture by picture, the highest scores of each first."""

    pictures: NDArray[np.int64]
    """[N] number of the picture, from 0."""
    boxes: NDArray[np.float64]
    """[N, 4] xyxy, pixels."""
    classes: NDArray[np.int64]
    """[N]"""
    scores: NDArray[np.float64]
    """[N]"""
    order: NDArray[np.int64]
    """[N] where each stood when the pictures came one after the other."""

    def where(self, keep: Any) -> "Finds":
        """Those of a mask or of indices."""
        return Finds(*_select(self, keep))


def truths(samples: Sequence[Sample], classes: int) -> Truths:
    """The labels of all pictures.

    Raises:
        ValueError: a class that has no name, or columns of different lengths.
    """
    counts = [len(sample) for sample in samples]
    names = ("boxes", "classes", "difficult", "crowd", "areas")
    boxes, kinds, difficult, crowd, areas = ([getattr(sample, name) for sample in samples] for name in names)
    for sample in samples:
        _check(
            f"the labels of {sample.image}", len(sample), sample.classes, sample.difficult, sample.crowd, sample.areas
        )
    found = Truths(
        np.repeat(np.arange(len(samples)), counts),
        decimal(_stack(boxes, np.float32)).reshape(-1, 4),
        _stack(kinds, np.int64),
        _stack(difficult, np.bool_),
        _stack(crowd, np.bool_),
        decimal(_stack(areas, np.float32)),
    )
    _check_classes("the labels", found.classes, classes)
    return found


def finds(detections: Sequence[Found], classes: int) -> Finds:
    """The detections of all pictures.

    Raises:
        ValueError: a class that has no name, columns of different lengths, or scores or boxes that are no numbers.
    """
    counts = []
    for i, (boxes, scores, kinds, masks) in enumerate(detections):
        counts.append(len(scores))
        _check(f"the detections of picture {i}", len(scores), boxes, kinds, *([masks] if len(masks) else []))
    pictures = np.repeat(np.arange(len(counts)), counts)
    boxes = _stack([found.boxes for found in detections], np.float64).reshape(-1, 4)
    scores = _stack([found.scores for found in detections], np.float64)
    kinds = _stack([found.classes for found in detections], np.int64)
    if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
        raise ValueError("the detections have scores or boxes that are not finite numbers")
    _check_classes("the detections", kinds, classes)
    order = np.lexsort((-scores, pictures))
    return Finds(pictures[order], boxes[order], kinds[order], scores[order], order)


def tables(samples: Sequence[Sample], detections: Sequence[Found], classes: int) -> tuple[Truths, Finds]:
    """Both, where there are detections of every picture.

    Args:
        samples: the labelled pictures.
        detections: of each picture; plain tuples (boxes, scores, classes[, masks]) are taken too.
        classes: how many there are.

    Raises:
        ValueError: as `truths` and `finds`; not as many detections as pictures.
    """
    if len(samples) != len(detections):
        raise ValueError(f"{len(samples)} pictures, and detections of {len(detections)}")
    return truths(samples, classes), finds([Found(*found) for found in detections], classes)


def _select(columns: tuple[NDArray[Any], ...], keep: Any) -> list[Any]:
    return [column[keep] for column in columns]


def _stack(columns: Sequence[NDArray[Any]], kind: type[Any]) -> NDArray[Any]:
    """Columns one after the other; an empty one has no say in the type."""
    return np.concatenate([np.zeros(0, kind), *(np.asarray(column, kind).ravel() for column in columns)])


def _check(where: str, length: int, *columns: Sequence[Any] | NDArray[Any]) -> None:
    if any(len(column) != length for column in columns):
        raise ValueError(
            f"{where} have columns of different lengths: {length}, {', '.join(str(len(c)) for c in columns)}"
        )


def _check_classes(where: str, found: NDArray[np.int64], classes: int) -> None:
    if len(found) and not 0 <= found.min() <= found.max() < classes:
        raise ValueError(f"{where} have classes from {found.min()} to {found.max()}; there are {classes} names")
