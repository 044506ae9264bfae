"""A labelled picture, whatever file format its labels came in."""

from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelook import rle


@dataclass(frozen=True, slots=True, eq=False)
class Rle:
    """A mask of run lengths as COCO has it.

    Attributes:
        size: height and width of the picture, pixels.
        counts: COCO's compressed text.
    """

    size: tuple[int, int]
    counts: bytes


Polygons = tuple[NDArray[np.float32], ...]  # each [P, 2]: x, y in pixels
Mask = Polygons | Rle | None  # of one object; None where only its box is known

FLAGS = ("difficult", "truncated", "occluded", "crowd")  # what is said of an object by yes or no


def _no_indices() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


def _no_flags() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled picture.

    Attributes:
        image: the picture's file.
        width, height: of the picture, pixels, upright (EXIF orientation applied).
        boxes: float32 [N, 4], xyxy in pixels of the picture, inside of it and with an area.
        classes: int64 [N], indices into the names of the dataset.
        difficult: bool [N], PASCAL VOC's: neither right nor wrong when found. Not used in training.
        truncated: bool [N], the object goes on outside the picture or the box (VOC, Open Images).
        occluded: bool [N], another object hides a part of it (VOC, Open Images).
        crowd: bool [N], one box around many objects: COCO's `iscrowd`, Open Images' `IsGroupOf`. Not used in training.
        areas: float32 [N], pixels of each object: COCO's `area`, by which it tells small objects from large. Where the
            file does not say it, that of the mask; where there is none, that of the box.
        masks: of each object, or empty where the dataset has none.
        labels: int64 [K], classes the picture as a whole is said to show: ImageNet's one class, Open Images' positive
            image-level labels.
        absent: int64 [K], classes verified not to be in the picture (Open Images).
        id: the number that the file of labels has for the picture (COCO); None where it has none.

    Flags that are not given are false.
    """

    image: Path
    width: int
    height: int
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    classes: NDArray[np.int64] = field(default_factory=_no_indices)
    difficult: NDArray[np.bool_] = field(default_factory=_no_flags)
    truncated: NDArray[np.bool_] = field(default_factory=_no_flags)
    occluded: NDArray[np.bool_] = field(default_factory=_no_flags)
    crowd: NDArray[np.bool_] = field(default_factory=_no_flags)
    areas: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    masks: tuple[Mask, ...] = ()
    labels: NDArray[np.int64] = field(default_factory=_no_indices)
    absent: NDArray[np.int64] = field(default_factory=_no_indices)
    id: int | None = None

    def __post_init__(self) -> None:
        if not len(self.boxes):
            return
        for name in FLAGS:
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.boxes), np.bool_))
        if not len(self.areas):
            areas = (decimal(self.boxes[:, 2:]) - decimal(self.boxes[:, :2])).prod(1)
            for i, mask in enumerate(self.masks):
                areas[i] = areas[i] if mask is None else mask_area(mask)
            object.__setattr__(self, "areas", areas.astype(np.float32))

    def __len__(self) -> int:
        return len(self.boxes)

    def where(self, keep: NDArray[np.bool_]) -> "Sample":
        """The picture with some of its objects alone, those where `keep` [N] is true."""
        return replace(
            self,
            boxes=self.boxes[keep],
            classes=self.classes[keep],
            areas=self.areas[keep],
            **{name: getattr(self, name)[keep] for name in FLAGS},
            masks=tuple(compress(self.masks, keep)),
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a dataset.

    Attributes:
        where: file, and line where there is one: "Annotations/000002.xml:17".
        what: in a few words, on one line.
        kind: "missing picture", "box outside", "empty box", "unknown class", "duplicate", "unreadable", ...
    """

    where: str
    what: str
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled pictures of one split.

    Attributes:
        path: the folder or file that was read.
        format: "voc", "coco", "open-images", "imagenet", "yolo".
        split: "train", "val", "test", ...
        names: of the classes.
        samples: the pictures, in the order of the files.
        problems: what was wrong; what is wrong is not in `samples`, or was put right (a box cut at the border).
        parents: for each class those directly above it in the hierarchy; empty where there is none (Open Images).
        ids: what the files call each class, where that is not its name: COCO's category ids, WordNet ids, Open Images'
            "/m/..."; empty elsewhere.
    """

    path: Path
    format: str
    split: str
    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    parents: tuple[tuple[int, ...], ...] = ()
    ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)


def mask_area(mask: Mask) -> float:
    """The area of an object as COCO's annotations state it: of polygons, what their lines enclose; else the pixels."""
    if isinstance(mask, Rle):
        return float(rle.runs(mask.counts)[1::2].sum())
    area = 0.0
    for polygon in mask or ():
        x, y = np.asarray(polygon, np.float64).T
        area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return area


def decimal(values: NDArray[Any]) -> NDArray[np.float64]:
    """The shortest decimal fractions that are these float32 numbers: what stood in the file where it was one of those.

    So 371.31 is not 371.3099975586, and an overlap at the edge of a threshold falls as it does for those who keep the
    file's numbers.
    """
    return np.asarray(values, np.float32).astype("U").astype(np.float64)
