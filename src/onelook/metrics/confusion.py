"""Which class is taken for which."""

import numpy as np
from numpy.typing import NDArray

from onelook.metrics.matching import closest, on_ignored, overlaps
from onelook.metrics.table import Finds, Truths


def confusion(truths: Truths, finds: Finds, classes: int, threshold: float, iou: float = 0.5) -> NDArray[np.int64]:
    """How often an object of one class was found as another.

    Each object and each detection is in at most one pair, whatever their classes, the greatest IoU first. What is on a
    difficult object or in a crowd, and no pair, is left out.

    Args:
        truths, finds: of all pictures.
        classes: how many there are, C.
        threshold: detections of lower scores are left out.
        iou: that a pair needs.

    Returns:
        [C + 1, C + 1]: row the object's class, column the detection's. The last row is the background, where detections
        are on no object; the last column is for objects that are not found.
    """
    finds = finds.where(finds.scores >= threshold)
    pairs = overlaps(truths, finds, any_class=True)
    sought = ~truths.ignored
    matched = closest(pairs.where(sought[pairs.truths] & (pairs.iou >= iou)), len(finds.scores))
    counts = ~on_ignored(truths, pairs, len(finds.scores), iou) | (matched >= 0)
    missed = sought.copy()
    missed[matched[matched >= 0]] = False
    rows = np.append(np.where(matched >= 0, np.append(truths.classes, classes)[matched], classes)[counts],
                     truths.classes[missed])  # fmt: skip
    columns = np.append(finds.classes[counts], np.full(missed.sum(), classes))
    table = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return table
