"""Precision, recall and F1 against the score threshold, and the threshold that is best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelook.metrics.matching import Outcome
from onelook.metrics.table import Finds, Truths


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Detections down to each score, and how many of them are right."""

    scores: NDArray[np.float64]
    """[N] from the highest to the lowest."""
    right: NDArray[np.int64]
    """[N] how many of the first 1, 2, ... N detections are right."""
    objects: int
    """How many there are to be found."""

    @property
    def precision(self) -> NDArray[np.float64]:
        """[N] the share of the detections that is right."""
        return self.right / np.arange(1, len(self.right) + 1)

    @property
    def recall(self) -> NDArray[np.float64]:
        """[N] the share of the objects that is found; NaN where there are none."""
        return self.right / (self.objects or np.nan)

    @property
    def f1(self) -> NDArray[np.float64]:
        """[N] harmonic mean of both: twice the right ones over detections and objects."""
        return 2 * self.right / (np.arange(1, len(self.right) + 1) + self.objects)

    @property
    def envelope(self) -> NDArray[np.float64]:
        """[N] the highest precision at this recall or any greater one: what average precision is the area under."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def ap(self) -> float:
        """The area under the envelope (VOC from 2010 on; Open Images), 0..1; NaN where there are no objects."""
        if not self.objects:
            return float("nan")
        steps = np.diff(self.right, prepend=0)
        return float((self.envelope * steps).sum() / self.objects)

    @property
    def best(self) -> "Best":
        """The threshold of greatest F1; the highest of several.

        It lies half way between the lowest score that it keeps and the next one, so that it makes no difference whether
        a score equal to it is kept, or how scores are rounded.
        """
        nan = float("nan")
        if not self.right[-1:].any():
            return Best(nan, 0.0, nan, 0.0) if self.objects else Best(nan, nan, nan, nan)
        following = np.append(self.scores[1:], 0.0)
        f1 = np.where(self.scores > following, self.f1, -1.0)  # a threshold keeps all equal scores or none
        i = int(f1.argmax())
        threshold = (self.scores[i] + following[i]) / 2
        return Best(float(threshold), float(self.f1[i]), float(self.precision[i]), float(self.recall[i]))


@dataclass(frozen=True, slots=True)
class Best:
    """A threshold and what it gives, all 0..1; the threshold is NaN where no detection is right."""

    threshold: float
    f1: float
    precision: float
    recall: float


def curve(scores: NDArray[np.float64], right: NDArray[np.bool_], objects: int) -> Curve:
    """The curve of detections in any order; equal scores stay in theirs."""
    order = np.argsort(-scores, kind="stable")
    return Curve(scores[order], np.cumsum(right[order]), objects)


def curves(truths: Truths, finds: Finds, outcome: Outcome, classes: int) -> tuple[Curve, Sequence[Curve]]:
    """The curve of all detections together, where each object counts the same, and that of each class."""
    right = outcome.truths >= 0
    sought = truths.classes[~truths.ignored]
    objects = np.bincount(sought, minlength=classes)
    counts = ~outcome.ignored
    of_class = [
        curve(finds.scores[mine], right[mine], int(objects[c]))
        for c in range(classes)
        for mine in [counts & (finds.classes == c)]
    ]
    return curve(finds.scores[counts], right[counts], len(sought)), of_class
