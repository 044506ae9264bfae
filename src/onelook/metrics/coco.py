"""COCO's twelve numbers (Lin et al., 2014, arXiv:1405.0312; https://cocodataset.org/#detection-eval).

They are those of pycocotools. faster-coco-eval's C++ matches and accumulates; it gets the overlaps from here, straight
from the arrays, and not by way of its Python classes, which read JSON and keep a dictionary of a dozen entries an object.
"""

import dataclasses
import importlib.util
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelook.data.sample import Mask, Sample
from onelook.errors import MissingDependencyError
from onelook.metrics import masks
from onelook.metrics.matching import Pairs, overlaps
from onelook.metrics.table import Finds, Found, Truths, tables

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
# Areas of objects and detections, pixels, both ends included; the largest is COCO's own infinity.
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
MOST = (1, 10, 100)  # detections of a class in a picture, the highest scores first


@dataclass(frozen=True, slots=True, eq=False)
class CocoResult:
    """Average precision and recall, 0..1; NaN where there are no objects to measure it with.

    Without a number in its name, a figure is the mean over the IoU thresholds 0.50, 0.55, ..., 0.95.
    """

    ap: float
    """Mean over the classes: COCO's primary figure."""
    ap50: float
    """At IoU 0.50: VOC's question."""
    ap75: float
    """At IoU 0.75."""
    ap_small: float
    """Of objects up to 32 x 32 pixels in area."""
    ap_medium: float
    """Of objects from 32 x 32 to 96 x 96 pixels."""
    ap_large: float
    """Of objects from 96 x 96 pixels on."""
    ar1: float
    """Recall when each class has one detection a picture."""
    ar10: float
    """With ten."""
    ar100: float
    """With a hundred."""
    ar_small: float
    """With a hundred, of small objects."""
    ar_medium: float
    """Of medium ones."""
    ar_large: float
    """Of large ones."""
    class_ap: NDArray[np.float64]
    """[C] AP of each class."""
    class_ap50: NDArray[np.float64]
    """[C] AP50 of each class."""

    @property
    def numbers(self) -> dict[str, float]:
        """The twelve by name, in COCO's order."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[:12]}


def coco_ap(
    samples: Sequence[Sample], detections: Sequence[Found], names: Sequence[str], by_masks: bool = False
) -> CocoResult:
    """COCO's twelve numbers.

    A crowd is COCO's `iscrowd`: any number of detections may lie in it, by intersection over their own area, and count
    neither way. VOC's `difficult` objects, which COCO does not have, are ignored as VOC does it: any number of detections
    may match one, by IoU, and count neither way. What tells small from large is `Sample.areas`, and of a detection the
    area of its mask, of its box where boxes are compared.

    Args:
        samples: the labelled pictures.
        detections: of each picture; plain tuples (boxes, scores, classes[, masks]) are taken too. Of each class in a
            picture the hundred best count.
        names: of the classes.
        by_masks: compare masks in place of boxes. Objects without a mask are left out.

    Raises:
        ValueError: columns that do not fit together, a class without a name, detections without the masks asked for.
        MissingDependencyError: faster-coco-eval is not installed.
    """
    need("faster_coco_eval", "COCO's AP")
    truths, finds = tables(samples, detections, len(names))
    if by_masks:
        outlines = [mask for sample in samples for mask in sample.masks or (None,) * len(sample)]
        truths = truths.where(np.array([mask is not None for mask in outlines], bool))
        pairs, own_areas = _masked(samples, detections, truths, finds, outlines)
    else:
        pairs, own_areas = overlaps(truths, finds), _areas(finds.boxes)
    return _summary(_accumulate(truths, finds, pairs, own_areas, len(samples), len(names)))


def need(package: str, why: str) -> None:
    """Raises MissingDependencyError where a package of the extra `evaluate` is not installed."""
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise MissingDependencyError(f'{name} is not installed, and {why} needs it; pip install "onelook[evaluate]"')


def _accumulate(
    truths: Truths,
    finds: Finds,
    pairs: Pairs,
    own_areas: NDArray[np.float64],
    pictures: int,
    classes: int,
) -> dict[str, Any]:
    """Precision [T, R, C, A, M] and recall [T, C, A, M] by IoU threshold, recall, class, area, most detections."""
    import faster_coco_eval.faster_eval_api_cpp as engine
    from faster_coco_eval.core.cocoeval import Params

    parameters = Params(iouType="bbox")
    parameters.imgIds, parameters.catIds = list(range(pictures)), list(range(classes))
    parameters.iouThrs, parameters.recThrs, parameters.maxDets = IOU_THRESHOLDS, RECALLS, list(MOST)
    parameters.areaRng, parameters.areaRngLbl = [list(area) for area in AREAS.values()], list(AREAS)

    # An object that counts neither way is a "crowd" here, which any number of detections may match; that a crowd of
    # COCO's is compared by another overlap is settled in the overlaps themselves. Ids are from 1: 0 means none.
    objects, found = engine.Dataset(), engine.Dataset()
    rows = zip(
        *(column.tolist() for column in (truths.pictures, truths.classes, truths.areas, truths.ignored)), strict=True
    )
    for number, (picture, kind, area, ignored) in enumerate(rows, start=1):
        objects.append_ref(picture, kind, {"id": number, "area": area, "iscrowd": ignored, "ignore": ignored})
    rows = zip(*(column.tolist() for column in (finds.pictures, finds.classes, own_areas, finds.scores)), strict=True)
    for number, (picture, kind, area, score) in enumerate(rows, start=1):
        found.append_ref(picture, kind, {"id": number, "area": area, "score": score})
    table = _overlap_table(truths, finds, pairs, pictures, classes)
    return engine.COCOevalEvaluateAccumulate(
        parameters, table, objects, found, parameters.imgIds, parameters.catIds, True
    )


def _overlap_table(
    truths: Truths, finds: Finds, pairs: Pairs, pictures: int, classes: int
) -> list[list[list[list[float]]]]:
    """Of each picture and class its overlaps [detections, objects], where there are both; else nothing."""
    cell_of_truth = truths.pictures * classes + truths.classes
    cell_of_find = finds.pictures * classes + finds.classes
    wide, tall = (np.bincount(cells, minlength=pictures * classes) for cells in (cell_of_truth, cell_of_find))
    tall = tall.clip(max=MOST[-1])
    row, column = _rank(cell_of_find), _rank(cell_of_truth)
    start = np.append(0, np.cumsum(tall * wide))
    numbers = np.zeros(start[-1])
    overlap = np.where(truths.crowd[pairs.truths], pairs.ioa, pairs.iou)
    i, j = pairs.finds, pairs.truths
    counts = row[i] < MOST[-1]
    i, j = i[counts], j[counts]
    cell = cell_of_find[i]
    numbers[start[cell] + row[i] * wide[cell] + column[j]] = overlap[counts]

    table: list[list[list[list[float]]]] = [[[] for _ in range(classes)] for _ in range(pictures)]
    for at in np.flatnonzero(tall * wide).tolist():
        block = numbers[start[at] : start[at + 1]].reshape(-1, wide[at])
        table[at // classes][at % classes] = block.tolist()
    return table


def _rank(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each among those of the same cell, in their order."""
    order = np.argsort(cells, kind="stable")
    ordered = cells[order]
    rank = np.empty(len(cells), np.int64)
    rank[order] = np.arange(len(cells)) - np.searchsorted(ordered, ordered)
    return rank


def _summary(found: dict[str, Any]) -> CocoResult:
    """The means that COCO takes; what it marks with -1 has no objects and is left out of them."""
    precision, recall = (np.where(found[key] > -1, found[key], np.nan) for key in ("precision", "recall"))

    def ap(area: str = "all", threshold: slice = slice(None)) -> float:
        return _mean(precision[threshold, :, :, list(AREAS).index(area), -1])

    def ar(most: int = -1, area: str = "all") -> float:
        return _mean(recall[:, :, list(AREAS).index(area), most])

    of_class = [precision[:, :, c, 0, -1] for c in range(precision.shape[2])]
    return CocoResult(
        ap(), ap(threshold=slice(0, 1)), ap(threshold=slice(5, 6)), ap("small"), ap("medium"), ap("large"),
        ar(0), ar(1), ar(2), ar(area="small"), ar(area="medium"), ar(area="large"),
        np.array([_mean(one) for one in of_class]),
        np.array([_mean(one[:1]) for one in of_class]),
    )  # fmt: skip


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded, that 32 x 32 pixels are 1024 and no trifle more or less."""
    areas: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).prod(1).round(6)
    return areas


def _masked(
    samples: Sequence[Sample], detections: Sequence[Found], truths: Truths, finds: Finds, outlines: Sequence[Mask]
) -> tuple[Pairs, NDArray[np.float64]]:
    """The pairs whose masks overlap, and the areas of the detections."""
    found = list(itertools.chain.from_iterable(Found(*one).masks for one in detections))
    if len(found) != len(finds.scores):
        raise ValueError(f"{len(found)} masks of {len(finds.scores)} detections: need one of each")
    sizes = [(sample.height, sample.width) for sample in samples]
    seen = [outline for outline in outlines if outline is not None]
    objects = [masks.encode(mask, sizes[picture]) for mask, picture in zip(seen, truths.pictures, strict=True)]
    own = [masks.encode(found[i], sizes[picture]) for i, picture in zip(finds.order, finds.pictures, strict=True)]
    return masks.overlaps(truths, finds, objects, own), masks.areas(own)
