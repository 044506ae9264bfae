"""The worst mistakes of a detector, and of which kind they are (after Hoiem et al., 2012, section 3.1)."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelook.metrics.matching import Outcome, best, overlaps
from onelook.metrics.table import Finds, Truths

NEAR = 0.1  # IoU from which a box that misses an object was meant for it

KINDS = {
    "duplicate": "the object was found already, with a higher score",
    "confusion": "an object of another class",
    "localisation": "an object of that class, but the box does not fit",
    "background": "no object there",
    "missed": "an object that was not found",
}


class Mistake(NamedTuple):
    """One wrong detection, or one object that was missed."""

    kind: str
    """One of `KINDS`."""
    picture: int
    """Its number, from 0."""
    find: int
    """Index of the detection, -1 of an object that was missed."""
    truth: int
    """Index of the object, -1 where there is none."""
    iou: float
    """Of the two."""


def mistakes(truths: Truths, finds: Finds, outcome: Outcome, threshold: float, iou: float = 0.5) -> list[Mistake]:
    """All mistakes at a threshold: the surest wrong detections first, then the missed objects, the largest first.

    Args:
        truths, finds: of all pictures.
        outcome: of the detections at `iou`.
        threshold: detections of lower scores are left out.
        iou: that a detection needs with an object.
    """
    count = len(finds.scores)
    pairs = overlaps(truths, finds, any_class=True)
    pairs = pairs.where(~truths.ignored[pairs.truths])
    same = truths.classes[pairs.truths] == finds.classes[pairs.finds]

    def nearest(keep: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """[count] object of greatest IoU and that IoU, among some of the pairs; -1 and 0 where there is none."""
        some = pairs.where(keep)
        chosen = best(some, count)
        return np.append(some.truths, -1)[chosen], np.append(some.iou, 0.0)[chosen]

    own, own_iou = nearest(same)
    other, other_iou = nearest(~same)
    found: list[Mistake] = []
    wrong = np.flatnonzero((outcome.truths < 0) & ~outcome.ignored & (finds.scores >= threshold))
    for i in wrong[np.argsort(-finds.scores[wrong], kind="stable")].tolist():
        if own_iou[i] >= iou:
            kind, truth, overlap = "duplicate", own[i], own_iou[i]
        elif other_iou[i] >= iou:
            kind, truth, overlap = "confusion", other[i], other_iou[i]
        elif own_iou[i] >= NEAR:
            kind, truth, overlap = "localisation", own[i], own_iou[i]
        else:
            kind, truth, overlap = "background", -1, 0.0
        found.append(Mistake(kind, int(finds.pictures[i]), i, int(truth), float(overlap)))

    missed = ~truths.ignored
    missed[outcome.truths[(outcome.truths >= 0) & (finds.scores >= threshold)]] = False
    lost = np.flatnonzero(missed)
    area = (truths.boxes[lost, 2:] - truths.boxes[lost, :2]).prod(1)
    lost = lost[np.argsort(-area, kind="stable")]
    return found + [Mistake("missed", int(truths.pictures[i]), -1, i, 0.0) for i in lost.tolist()]


def counts(found: Sequence[Mistake]) -> dict[str, int]:
    """How many there are of each kind."""
    number = Counter(mistake.kind for mistake in found)
    return {kind: number[kind] for kind in KINDS}
