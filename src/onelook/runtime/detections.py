"""What a detector found in one picture."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error
from onelook.runtime import result
from onelook.runtime.masks import Index, Masks


class Detection(NamedTuple):
    """One object found in a picture."""

    box: NDArray[np.float32]
    """[4] x1, y1, x2, y2 in pixels of the picture."""
    score: float
    """Confidence, 0..1."""
    class_id: int
    """Index into the model's classes."""
    name: str
    """Name of that class."""


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """What a detector found in one picture, highest score first.

    It has a length, goes through its detections one by one (`Detection`), and is indexed like an array: a number gives
    a `Detection`; a slice, a list of numbers or a mask (`detections[detections.scores > 0.8]`) gives `Detections`.

    Raises ValueError where the lengths disagree or a class has no name, and Error where a model gave boxes or scores
    that are no numbers.
    """

    boxes: NDArray[np.float32]
    """[N, 4] x1, y1, x2, y2 in pixels of the picture."""
    scores: NDArray[np.float32]
    """[N] confidence, 0..1."""
    classes: NDArray[np.int64]
    """[N] indices into `class_names`."""
    class_names: tuple[str, ...]
    """Of all the classes of the model."""
    width: int
    """Of the picture, in pixels."""
    height: int
    """Of the picture, in pixels."""
    source: str = "array"
    """Where the picture came from: a path, a URL, "camera 0", "array"."""
    image: NDArray[np.uint8] | None = None
    """The picture itself where it was kept: RGB [H, W, 3]."""
    frame: int | None = None
    """Its number in its video or camera stream, from 0."""
    time: float | None = None
    """Seconds since the start of the video."""
    fps: float | None = None
    """Frames a second of that video."""
    masks: Masks | None = None
    """Of a model that says which pixels belong to each object: like an array bool [N, H, W], which it may be made of."""

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        scores = np.asarray(self.scores, np.float32)
        classes = np.asarray(self.classes, np.int64)
        if not len(boxes) == len(scores) == len(classes):
            raise ValueError(
                f"{len(boxes)} boxes, {len(scores)} scores and {len(classes)} classes: need as many of each"
            )
        if len(classes) and not 0 <= classes.min() <= classes.max() < len(self.class_names):
            raise ValueError(f"classes must be from 0 to {len(self.class_names) - 1}, as many as there are names")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            from onelook.runtime.picture import shown

            raise Error(
                f"{shown(self.source)}: the model gave boxes or scores that are not numbers; its weights may be damaged"
            )
        for name, value in (("boxes", boxes), ("scores", scores), ("classes", classes)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if self.masks is not None:
            masks = self.masks if isinstance(self.masks, Masks) else Masks.of(np.asarray(self.masks))
            if len(masks) != len(boxes) or (masks.height, masks.width) != (self.height, self.width):
                raise ValueError(f"{masks} for {len(boxes)} boxes in a picture of {self.width} × {self.height}")
            object.__setattr__(self, "masks", masks)

    def __repr__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in Counter(self.names).most_common()) or "nothing"
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"Detections({found} in {self.source}{frame}, {self.width} × {self.height})"

    @property
    def names(self) -> list[str]:
        """N names of classes, one a detection."""
        return [self.class_names[i] for i in self.classes.tolist()]

    @property
    def image_id(self) -> int | str:
        """The picture's id in COCO files: the name of the file without its suffix, with the frame's number in a video.

        It is a number where the name is one, as those of COCO's own pictures: 139 for 000000000139.jpg.
        """
        stem = Path(self.source).stem
        if self.frame is not None:
            return f"{stem}_{self.frame:06d}"
        return int(stem) if stem.isascii() and stem.isdecimal() else stem

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for i in range(len(self)):
            yield self[i]

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: Index) -> Detections: ...
    def __getitem__(self, index: int | Index) -> Detection | Detections:
        if isinstance(index, int | np.integer):
            class_id = int(self.classes[index])
            return Detection(self.boxes[index], float(self.scores[index]), class_id, self.class_names[class_id])
        if not isinstance(index, slice):
            index = np.asarray(index, None if len(index) else np.intp)
        return dataclasses.replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            classes=self.classes[index],
            masks=None if self.masks is None else self.masks[index],
        )

    def filter(self, score: float | None = None, names: Iterable[str] | None = None) -> Detections:
        """The detections of at least that score and of one of those classes.

        Args:
            score: the lowest to keep, 0..1.
            names: of classes to keep; one name may be given as it is.

        Raises:
            Error: a name that is not among the model's classes.
        """
        keep = np.ones(len(self), bool)
        if score is not None:
            keep &= self.scores >= np.float32(score)
        if names is not None:
            names = {names} if isinstance(names, str) else set(names)
            check_names(names, self.class_names)
            keep &= np.isin(self.classes, [i for i, name in enumerate(self.class_names) if name in names])
        return self[keep]

    def draw(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The picture with a box and a label ("dog 0.92") for each detection: a copy, RGB uint8 [H, W, 3].

        Where there are masks they are painted under the boxes, and each object has a colour of its own.

        Args:
            image: the picture that the boxes belong to; by default the one that was kept, or else it is read again from
                `source`.

        Raises:
            Error: there is no picture to draw on, or it is of another size than the one that was looked at.
        """
        from onelook.runtime import draw, paint

        canvas = result.picture_of(self, image)
        labels = [f"{name} {score:.2f}" for name, score in zip(self.names, self.scores.tolist(), strict=True)]
        if self.masks is None:
            return draw.draw(canvas, self.boxes, self.classes, labels)
        numbers = np.arange(len(self))
        return draw.draw(paint.objects(canvas, self.masks), self.boxes, numbers, labels)

    def save(self, path: str | Path) -> Path:
        """Draws the picture into a file, in the format of its suffix (.jpg, .png, .webp, ...), and gives its path.

        The file appears whole or not at all; one that is there is replaced. Raises Error as `draw` does, for an unknown
        format, and where the file cannot be written.
        """
        return result.save(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pixels, ready for JSON.

        {"source", "width", "height", "detections": [{"name", "class", "score", "box": [x1, y1, x2, y2]}, ...]}, with
        "frame" and "time" (seconds) for a picture of a video, and "rle" of each where there are masks: COCO's compressed
        run lengths. Pixels to two decimals, scores to five.
        """
        return self._rows({} if self.masks is None else {"rle": self.masks.rle})

    def to_polygons(self) -> dict[str, Any]:
        """As `to_dict`, with "polygons" of each, [[x1, y1, x2, y2, ...], ...], in place of "rle".

        They are COCO's polygons, along the borders of the pixels (`onelook.runtime.outlines`). Raises Error where there
        are no masks.
        """
        return self._rows({"polygons": lambda i: result.flat(self._need_masks().polygons(i))})

    def _rows(self, more: Mapping[str, Callable[[int], Any]]) -> dict[str, Any]:
        """What `to_dict` gives; `more` has what else is said of each detection, by its number."""
        return {
            **result.describe(self),
            "detections": [
                {
                    "name": name,
                    "class": class_id,
                    "score": score,
                    "box": box,
                    **{key: value(i) for key, value in more.items()},
                }
                for i, (name, class_id, score, box) in enumerate(
                    zip(
                        self.names,
                        self.classes.tolist(),
                        result.rounded(self.scores, 5),
                        result.rounded(self.boxes, 2),
                        strict=True,
                    )
                )
            ],
        }

    def to_png(self) -> bytes:
        """A grey PNG of which object each pixel belongs to: the number in this list from 1 on, the first on top; 0: none.

        It has 8 bits a pixel, and 16 where there are more than 255 objects. Raises Error where there are no masks.
        """
        masks = self._need_masks()
        numbers = np.zeros((self.height, self.width), np.uint8 if len(self) < 256 else np.uint16)
        for i in reversed(range(len(self))):
            (x, y), part = masks.part(i)
            numbers[y : y + len(part), x : x + part.shape[1]][part] = i + 1
        return result.png(numbers)

    def _need_masks(self) -> Masks:
        if self.masks is None:
            raise Error("there are no masks: the model finds boxes alone")
        return self.masks

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """Rows of a COCO results file (https://cocodataset.org/#format-results), one a detection.

        {"image_id", "category_id", "bbox": [x, y, width, height], "score"}; pixels to two decimals, scores to five. Where
        there are masks, "segmentation" has their run lengths.

        Args:
            image_id: by default the property of that name.
        """
        from onelook.names import category_ids

        image_id = self.image_id if image_id is None else image_id
        ids = category_ids(self.class_names)
        corners = self.boxes.astype(np.float64)
        bboxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        rows = [
            {"image_id": image_id, "category_id": ids[class_id], "bbox": bbox, "score": score}
            for class_id, bbox, score in zip(
                self.classes.tolist(), result.rounded(bboxes, 2), result.rounded(self.scores, 5), strict=True
            )
        ]
        if self.masks is None:
            return rows
        return [{**row, "segmentation": self.masks.rle(i)} for i, row in enumerate(rows)]

    def to_yolo(self) -> str:
        """YOLO text, a line for each detection: class, centre x, centre y, width, height, score.

        Centre and size are relative to the picture's, 0..1; all to six decimals.
        """
        size = np.array([self.width, self.height], np.float64)
        low, high = self.boxes[:, :2] / size, self.boxes[:, 2:] / size
        rows = np.concatenate([(low + high) / 2, high - low, self.scores[:, None]], 1)
        return "".join(
            f"{class_id} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n"
            for class_id, (x, y, w, h, score) in zip(self.classes.tolist(), rows.tolist(), strict=True)
        )


def check_names(names: Iterable[str], class_names: Sequence[str]) -> None:
    """Raises Error for a name that is not among a model's classes."""
    for name in sorted(set(names).difference(class_names)):
        close = difflib.get_close_matches(name, class_names, n=1)
        known = ", ".join(class_names[:5]) + (", ..." if len(class_names) > 5 else "")
        hint = f"did you mean {close[0]!r}?" if close else f"it has {known}"
        raise Error(f"the model has no class {name!r}; {hint}")
