"""Which detection is of which object: everything that overlaps, and who gets whom.

Boxes are continuous: `x2` is the right edge, so a box is `x2 - x1` wide. The annotations of PASCAL VOC number pixels from 1
and include the last one; their reader makes `x1 - 1` of `x1`, and the width is the same as the `x2 - x1 + 1` of the devkit.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelook.metrics.table import Finds, Truths

BLOCK = 1 << 20  # pairs whose overlaps are reckoned at once


class Pairs(NamedTuple):
    """Detections and objects of a picture that overlap, P of them, ordered by detection."""

    finds: NDArray[np.int64]
    """[P] index of the detection."""
    truths: NDArray[np.int64]
    """[P] index of the object."""
    iou: NDArray[np.float64]
    """[P] intersection over union, 0..1."""
    ioa: NDArray[np.float64]
    """[P] intersection over the area of the detection, 0..1."""

    def where(self, keep: Any) -> "Pairs":
        """Those of a mask or of indices."""
        columns: list[Any] = [column[keep] for column in self]
        return Pairs(*columns)


def overlaps(truths: Truths, finds: Finds, any_class: bool = False) -> Pairs:
    """All pairs of the same picture and, unless any will do, of the same class, whose boxes have an area in common."""
    left, right = finds.pictures, truths.pictures
    if not any_class:
        classes = 1 + max(finds.classes.max(initial=0), truths.classes.max(initial=0))
        left, right = left * classes + finds.classes, right * classes + truths.classes
    parts = []
    for part in _blocks(left, right):
        i, j = equal(left[part], right)
        i += part.start
        a, b = finds.boxes[i], truths.boxes[j]
        common = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
        seen = common > 0
        area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(1)[seen] for box in (a, b))
        common = common[seen]
        parts.append(Pairs(i[seen], j[seen], common / (area_a + area_b - common), common / area_a))
    return Pairs(*map(np.concatenate, zip(*parts, strict=True)))


def _blocks(left: NDArray[np.int64], right: NDArray[np.int64]) -> Iterator[slice]:
    """Parts of `left` that are equal to about `BLOCK` of `right`; most pairs of a shelf full of things do not overlap."""
    ordered = np.sort(right)
    pairs = np.cumsum(np.searchsorted(ordered, left, "right") - np.searchsorted(ordered, left))
    ends = np.searchsorted(pairs, np.arange(BLOCK, pairs.max(initial=0), BLOCK)) + 1
    for start, end in itertools.pairwise([0, *np.unique([*ends, len(left)]).tolist()]):
        yield slice(start, end)


def equal(left: NDArray[Any], right: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices i and j of all pairs with left[i] == right[j], ordered by i, then j."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    first, last = (np.searchsorted(ordered, left, side) for side in ("left", "right"))
    counts = last - first
    i = np.repeat(np.arange(len(left)), counts)
    within = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    return i, order[first[i] + within]


def best(pairs: Pairs, count: int) -> NDArray[np.int64]:
    """[count] for each detection its pair of greatest IoU, the first of equals; -1 where it overlaps nothing."""
    order = np.lexsort((-pairs.iou, pairs.finds))
    starts, first = np.unique(pairs.finds[order], return_index=True)
    chosen = np.full(count, -1)
    chosen[starts] = order[first]
    return chosen


def greedy(pairs: Pairs, count: int) -> NDArray[np.int64]:
    """Who gets whom when the detections choose in turn, each the free object of greatest IoU; the first of equals.

    All choose at once, an object keeps the first in line of those who chose it, and the others choose again among what
    they have not tried. As every object has the same preference, that ends in what taking turns gives (Gale and
    Shapley, 1962), in as many rounds as somebody is turned down, not as there are detections.

    Args:
        pairs: that may be matched; the lower the number of a detection, the earlier its turn.
        count: of detections.

    Returns:
        [count] index of the object of each, -1 where it got none.
    """
    line = np.lexsort((-pairs.iou, pairs.finds))  # each detection's pairs, the best first
    finds, truths = pairs.finds[line], pairs.truths[line]
    owner = np.full(truths.max(initial=-1) + 1, count)
    who, choice = np.unique(finds, return_index=True)
    end = np.append(choice[1:], len(finds))
    while len(who):
        np.minimum.at(owner, truths[choice], who)
        lost = owner[truths[choice]] != who
        # Those who were turned down or have just been ousted go on to their next choice.
        choice = choice + lost
        going = choice < end
        if not lost.any():
            break
        who, choice, end = who[going], choice[going], end[going]
    matched = np.full(count, -1)
    taken = np.flatnonzero(owner < count)
    matched[owner[taken]] = taken
    return matched


def closest(pairs: Pairs, count: int) -> NDArray[np.int64]:
    """Who gets whom when the pair of greatest IoU goes first, then the greatest of those that are left, and so on.

    A pair that is the best of both of its sides is among those to come, whatever the others do: all such pairs are taken
    at once, and again of what is left.

    Args:
        pairs: that may be matched; of equal ones the first is better.
        count: of detections.

    Returns:
        [count] index of the object of each, -1 where it got none.
    """
    matched = np.full(count, -1)
    left = pairs.where(np.argsort(-pairs.iou, kind="stable"))
    while len(left.iou):
        number = np.arange(len(left.iou))
        _, first, own = np.unique(left.finds, return_index=True, return_inverse=True)
        mutual = first[own] == number
        _, first, own = np.unique(left.truths, return_index=True, return_inverse=True)
        mutual &= first[own] == number
        matched[left.finds[mutual]] = left.truths[mutual]
        taken = np.isin(left.finds, left.finds[mutual]) | np.isin(left.truths, left.truths[mutual])
        left = left.where(~taken)
    return matched


class Outcome(NamedTuple):
    """What became of each detection."""

    truths: NDArray[np.int64]
    """[N] index of the object that it found, -1 where it found none."""
    ignored: NDArray[np.bool_]
    """[N] it found none, but lies on a difficult object or in a crowd: neither right nor wrong."""


def outcome(truths: Truths, finds: Finds, iou: float = 0.5) -> Outcome:
    """Match as COCO does: the highest scores first, each with the free object of its class that it overlaps most.

    Args:
        truths, finds: of all pictures.
        iou: that a detection needs with an object, or, over its own area alone, with a crowd.
    """
    pairs = overlaps(truths, finds)
    ignored = truths.ignored[pairs.truths]
    matched = greedy(pairs.where(~ignored & (pairs.iou >= iou)), len(finds.scores))
    return Outcome(matched, on_ignored(truths, pairs, len(finds.scores), iou) & (matched < 0))


def on_ignored(truths: Truths, pairs: Pairs, count: int, iou: float) -> NDArray[np.bool_]:
    """[count] the detections that lie on a difficult object or in a crowd."""
    overlap = np.where(truths.crowd[pairs.truths], pairs.ioa, pairs.iou)
    lies = np.zeros(count, bool)
    lies[pairs.finds[truths.ignored[pairs.truths] & (overlap >= iou)]] = True
    return lies
