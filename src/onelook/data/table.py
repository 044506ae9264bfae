"""The objects of all pictures as columns, which is how a dataset of a million boxes stays small and is put right fast."""

import math
from array import array
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelook.data.files import Problems
from onelook.data.sample import FLAGS, Mask, Sample, mask_area

LARGEST_SIDE = 1 << 24  # pixels; up to here float32 knows every whole number
ROUNDING = 1.0  # pixels that a box may end outside without that being a problem: other tools round and count otherwise

Place = Callable[[int, int], tuple[Path, int | str | None]]  # picture, line -> what `Problems.add` calls it

_NONE = np.zeros(0, np.int64)


class Picture(NamedTuple):
    """A picture before its objects are there."""

    image: Path
    width: int
    height: int
    labels: NDArray[np.int64] = _NONE
    absent: NDArray[np.int64] = _NONE
    id: int | None = None


class Objects:
    """The objects of a dataset as its files have them, one `add` each."""

    def __init__(self) -> None:
        self.pictures, self.classes, self.lines = array("q"), array("q"), array("q")
        self.boxes, self.areas = array("d"), array("d")
        self.flags = {name: bytearray() for name in FLAGS}
        self.masks: list[Mask] = []

    def add(
        self,
        picture: int,
        class_: int,
        box: Sequence[float],
        line: int = 0,
        flags: Collection[str] = (),
        area: float = math.nan,
        mask: Mask = None,
    ) -> None:
        """One object.

        Args:
            picture: its number in the list that `samples` gets.
            class_: index of its class.
            box: xyxy in pixels, as wrong as the file has it.
            line: where that is, for `Place`.
            flags: those of `FLAGS` that are true of it.
            area, mask: see `Sample`.
        """
        self.pictures.append(picture)
        self.classes.append(class_)
        self.lines.append(line)
        self.boxes.extend(box)
        self.areas.append(area)
        self.masks.append(mask)
        for name, column in self.flags.items():
            column.append(name in flags)

    def samples(self, pictures: Sequence[Picture], place: Place, problems: Problems) -> tuple[Sample, ...]:
        """The pictures with their objects, whose boxes are put right or, with a problem noted, left out."""
        owner = np.frombuffer(self.pictures, np.int64) if self.pictures else _NONE
        sizes = np.array([(p.width, p.height) for p in pictures], np.float64).reshape(-1, 2)
        raw = np.frombuffer(self.boxes, np.float64).reshape(-1, 4) if self.boxes else np.zeros((0, 4))

        def note(which: NDArray[np.bool_], kind: str) -> None:
            for i in np.flatnonzero(which).tolist():
                box = " ".join(f"{side:.6g}" for side in raw[i])
                width, height = sizes[owner[i]]
                what = f"box {box} in a picture of {width:.0f} x {height:.0f}"
                problems.add(*place(int(owner[i]), self.lines[i]), what, kind)

        finite = _all(np.isfinite(raw))
        note(~finite, "not a number")
        corners = np.where(finite[:, None], raw, 0)
        low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
        note(finite & ~_all(low == corners[:, :2]), "swapped corners")
        corners = np.concatenate([low, high], 1)
        inside = np.clip(corners, 0, np.tile(sizes[owner], 2))
        boxes = inside.astype(np.float32)
        solid = finite & _all(boxes[:, :2] < boxes[:, 2:])
        note(finite & ~solid, "empty box")
        note(solid & ~_all(np.abs(inside - corners) <= ROUNDING), "box outside")

        kept = np.flatnonzero(solid)
        kept = kept[np.argsort(owner[kept], kind="stable")]
        ends = np.searchsorted(owner[kept], np.arange(len(pictures) + 1)).tolist()
        masks = tuple(self.masks[i] for i in kept) if any(mask is not None for mask in self.masks) else ()
        boxes, classes, areas = boxes[kept], np.array(self.classes, np.int64)[kept], np.array(self.areas)[kept]
        said = (areas > 0) & (areas <= LARGEST_SIDE**2)
        areas[~said] = (inside[kept, 2:] - inside[kept, :2]).prod(1)[~said]
        for i in np.flatnonzero(~said) if masks else ():
            areas[i] = areas[i] if masks[i] is None else mask_area(masks[i])
        areas = areas.astype(np.float32)
        flags = [np.frombuffer(self.flags[name], np.bool_)[kept] for name in FLAGS]
        result = []
        for picture, start, end in zip(pictures, ends, ends[1:], strict=False):
            part = slice(start, end)
            sample = Sample(
                *picture[:3],
                boxes=boxes[part],
                classes=classes[part],
                difficult=flags[0][part],
                truncated=flags[1][part],
                occluded=flags[2][part],
                crowd=flags[3][part],
                areas=areas[part],
                masks=masks[part],
                labels=picture.labels,
                absent=picture.absent,
                id=picture.id,
            )
            result.append(sample)
        return tuple(result)


def _all(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(rows.all(1))
