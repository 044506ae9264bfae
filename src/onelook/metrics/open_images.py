"""The average precision of the Open Images challenges (Kuznetsova et al., 2020, section 5.4;
https://storage.googleapis.com/openimages/web/evaluation.html).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelook.data.sample import Sample
from onelook.metrics.curves import curve
from onelook.metrics.matching import equal, overlaps
from onelook.metrics.table import Finds, Found, Truths, tables
from onelook.metrics.voc import IOU, first_come

Parents = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, eq=False)
class OpenImagesResult:
    """Average precision at IoU 0.5, 0..1; NaN where there are no objects to measure it with."""

    map: float
    """Mean over the classes."""
    class_ap: NDArray[np.float64]
    """[C]"""


def open_images_ap(
    samples: Sequence[Sample], detections: Sequence[Found], names: Sequence[str], parents: Parents = ()
) -> OpenImagesResult:
    """The mean average precision of Open Images.

    * Every object and every detection is also one of each class above its own. A detection that has a class already, in
      the same box, does not get it a second time.
    * A picture says of some classes that they are in it or that they are not, the classes above the first and below the
      second included. Detections of other classes are left out, as nobody looked for them there.
    * A detection goes to the object that it overlaps most, as in VOC. One that is wrong by that, but lies in a group (by
      half of its own area), belongs to the group: a group counts as one object, found once if anything belongs to it,
      with the highest of the scores.

    Args:
        samples: the labelled pictures; `crowd` marks the groups.
        detections: of each picture; plain tuples (boxes, scores, classes) are taken too.
        names: of the classes.
        parents: of each class those directly above it; empty where there is no hierarchy.

    Raises:
        ValueError: columns that do not fit together, or a class without a name.
    """
    truths, finds = tables(samples, detections, len(names))
    above = ancestors(parents, len(names))
    i, classes = _expand(truths.classes, above)
    truths = truths.where(i)._replace(classes=classes)
    i, classes = _expand(finds.classes, above)
    finds = _once(finds.where(i)._replace(classes=classes))
    finds = finds.where(_verified(samples, truths, finds, above))
    scores, kinds, right = _score(truths, finds)
    objects = np.bincount(truths.classes[~truths.difficult], minlength=len(names))
    class_ap = np.array([curve(scores[kinds == c], right[kinds == c], int(objects[c])).ap for c in range(len(names))])
    known = class_ap[~np.isnan(class_ap)]
    return OpenImagesResult(float(known.mean()) if len(known) else float("nan"), class_ap)


def ancestors(parents: Parents, classes: int) -> NDArray[np.bool_]:
    """[C, C] whether the class of the column is that of the row, or anywhere above it."""
    above = np.eye(classes, dtype=bool)
    for child, own in enumerate(parents):
        above[child, list(own)] = True
    while True:
        further = (above.astype(np.float32) @ above.astype(np.float32)) > 0
        if (further == above).all():
            return above
        above = further


def _expand(classes: NDArray[np.int64], above: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The index of each row once for each of its classes, and that class."""
    lower, upper = np.nonzero(above)
    i, j = equal(classes, lower)
    return i, upper[j]


def _once(finds: Finds) -> Finds:
    """Of detections of the same class in the same box the one of the highest score."""
    keys = np.column_stack((finds.pictures, finds.classes, finds.boxes))
    order = np.lexsort(keys.T)  # which leaves equal ones in their order: by score
    ordered = keys[order]
    new = np.ones(len(order), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    return finds.where(np.sort(order[new]))


def _verified(samples: Sequence[Sample], truths: Truths, finds: Finds, above: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which detections are of a class that the picture speaks of."""
    said = np.zeros((len(samples), len(above)), bool)
    for sample, row in zip(samples, said, strict=True):
        row |= above[sample.labels].any(0)
        row |= above[:, sample.absent].any(1)
    said[truths.pictures, truths.classes] = True
    return said[finds.pictures, finds.classes]


def _score(truths: Truths, finds: Finds) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Score, class, and whether it is right, of each detection that counts and each group that was found."""
    single = truths.where(~truths.crowd)
    groups = truths.where(truths.crowd)
    right, ignored = first_come(single, finds)
    pairs = overlaps(groups, finds)
    pairs = pairs.where((pairs.ioa >= IOU) & ~(right | ignored)[pairs.finds])
    order = np.lexsort((pairs.truths, -pairs.ioa, pairs.finds))
    members, first = np.unique(pairs.finds[order], return_index=True)
    found, best = np.unique(pairs.truths[order][first], return_index=True)  # the first member has the highest score
    counts = ~ignored
    counts[members] = False
    best = members[best]
    return (
        np.append(finds.scores[counts], finds.scores[best]),
        np.append(finds.classes[counts], groups.classes[found]),
        np.append(right[counts], np.ones(len(found), bool)),
    )
