"""PASCAL VOC's average precision (Everingham et al., 2010, section 4.2; 2015, section 3.4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelook.data.sample import Sample
from onelook.metrics.curves import Curve, curve
from onelook.metrics.matching import best, overlaps
from onelook.metrics.table import Finds, Found, Truths, tables

IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class VocResult:
    """Average precision at IoU 0.5, 0..1; NaN where there are no objects to measure it with."""

    map: float
    """Mean over the classes."""
    class_ap: NDArray[np.float64]
    """[C]"""


def voc_ap(
    samples: Sequence[Sample], detections: Sequence[Found], names: Sequence[str], eleven_points: bool = False
) -> VocResult:
    """VOC's mean average precision.

    A detection goes to the object of its class that it overlaps most, if that is by 0.5. It is right if it is the first
    to do so; wrong if another was before it, even where a second object overlaps it by 0.5 too. On a difficult object, or
    on a crowd, which VOC does not have, it is neither right nor wrong.

    Args:
        samples: the labelled pictures.
        detections: of each picture; plain tuples (boxes, scores, classes) are taken too.
        names: of the classes.
        eleven_points: the mean of the precision at recalls 0, 0.1, ..., 1, as VOC counted until 2009, in place of the
            area under the whole curve, as from 2010 on.

    Raises:
        ValueError: columns that do not fit together, or a class without a name.
    """
    truths, finds = tables(samples, detections, len(names))
    found = _curves(truths, finds, len(names))
    class_ap = np.array([_eleven_points(one) if eleven_points else one.ap for one in found])
    known = class_ap[~np.isnan(class_ap)]
    return VocResult(float(known.mean()) if len(known) else float("nan"), class_ap)


def first_come(truths: Truths, finds: Finds) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections [N] are right, and which are neither right nor wrong, as VOC matches."""
    pairs = overlaps(truths, finds)
    pairs = pairs.where(pairs.iou >= IOU)
    chosen = best(pairs, len(finds.scores))
    finders = np.flatnonzero(chosen >= 0)
    objects = pairs.truths[chosen[finders]]
    ignored, right = np.zeros((2, len(finds.scores)), bool)
    ignored[finders] = truths.ignored[objects]
    _, first = np.unique(objects, return_index=True)
    right[finders[first]] = True
    return right & ~ignored, ignored


def _curves(truths: Truths, finds: Finds, classes: int) -> list[Curve]:
    right, ignored = first_come(truths, finds)
    objects = np.bincount(truths.classes[~truths.ignored], minlength=classes)
    return [
        curve(finds.scores[mine], right[mine], int(objects[c]))
        for c in range(classes)
        for mine in [~ignored & (finds.classes == c)]
    ]


def _eleven_points(found: Curve) -> float:
    """The mean of the envelope at eleven recalls, which are compared in whole numbers: 3 of 10 is a recall of 0.3."""
    if not found.objects:
        return float("nan")
    at = np.searchsorted(10 * found.right, np.arange(11) * found.objects)
    return float(np.append(found.envelope, 0.0)[at].mean())
