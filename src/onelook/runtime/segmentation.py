"""What a segmenter says of one picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelook import rle
from onelook.errors import Error
from onelook.runtime import result
from onelook.runtime.masks import Masks

BACKGROUND = "background"  # as class 0 is called where it stands for all that the model does not know


class Region(NamedTuple):
    """All pixels of one class in a picture."""

    name: str
    """Of the class."""
    share: float
    """Of the picture's pixels, above 0 and up to 1."""
    class_id: int
    """Index into the model's classes."""


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """What a segmenter says of one picture: a class for each pixel.

    Going through it gives the classes that are there (`Region`), the largest first.

    Raises ValueError where the mask is not of the picture's size or a class has no name.
    """

    mask: NDArray[np.uint8]
    """[H, W] of the picture: indices into `class_names`."""
    class_names: tuple[str, ...]
    """Of all the classes of the model; the first may be "background"."""
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

    def __post_init__(self) -> None:
        mask = np.asarray(self.mask, np.uint8)
        if mask.shape != (self.height, self.width):
            raise ValueError(f"a mask of shape {mask.shape} for a picture of {self.width} × {self.height}")
        if mask.max() >= len(self.class_names):
            raise ValueError(f"class {mask.max()}; there are {len(self.class_names)} names")
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __repr__(self) -> str:
        found = ", ".join(f"{region.share:.0%} {region.name}" for region in self)
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"Segmentation({found} in {self.source}{frame}, {self.width} × {self.height})"

    def __iter__(self) -> Iterator[Region]:
        counts = {class_id: int(runs[1::2].sum()) for class_id, runs in self._runs.items()}
        for class_id in sorted(counts, key=lambda class_id: (-counts[class_id], class_id)):
            yield Region(self.class_names[class_id], counts[class_id] / self.mask.size, class_id)

    @property
    def background(self) -> int | None:
        """The class that stands for all that the model does not know; None where there is none."""
        return 0 if self.class_names[0] == BACKGROUND else None

    def rle(self, class_id: int) -> dict[str, Any]:
        """The pixels of a class as COCO has them, ready for JSON: {"size": [height, width], "counts": text}."""
        return self._masks(class_id).rle(0)

    def polygons(self, class_id: int) -> list[NDArray[np.int64]]:
        """The outlines of a class, each [P, 2]: x, y in pixels of the picture; see `onelook.runtime.outlines`."""
        return self._masks(class_id).polygons(0)

    def _masks(self, class_id: int) -> Masks:
        if not 0 <= class_id < len(self.class_names):
            raise Error(f"there is no class {class_id}; the model has {len(self.class_names)}, from 0")
        return Masks((self._runs.get(class_id, np.array([self.mask.size])),), self.height, self.width)

    @cached_property
    def _runs(self) -> dict[int, NDArray[np.int64]]:
        return rle.encode_classes(self.mask)

    def draw(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The picture with a colour and a label for each class but the background: a copy, RGB uint8 [H, W, 3].

        Args:
            image: the picture that was looked at; by default the one that was kept, or else it is read again from
                `source`.

        Raises:
            Error: there is no picture to draw on, or it is of another size than the one that was looked at.
        """
        from onelook.runtime import paint

        shown = {region.class_id: region.name for region in self if region.class_id != self.background}
        return paint.classes(result.picture_of(self, image), self.mask, shown)

    def save(self, path: str | Path) -> Path:
        """Draws the picture into a file, in the format of its suffix (.jpg, .png, .webp, ...), and gives its path.

        The file appears whole or not at all; one that is there is replaced. Raises Error as `draw` does, for an unknown
        format, and where the file cannot be written.
        """
        return result.save(self, path)

    def to_png(self) -> bytes:
        """The mask as a grey PNG file of 8 bits a pixel."""
        return result.png(self.mask)

    def to_dict(self) -> dict[str, Any]:
        """The classes that are there, ready for JSON; shares to five decimals.

        {"source", "width", "height", "classes": [{"name", "class", "share", "rle": {"size", "counts"}}, ...]}, the
        largest first, with "frame" and "time" (seconds) for a picture of a video. Run lengths are COCO's, compressed.
        """
        rows = [{**_row(region), "rle": self.rle(region.class_id)} for region in self]
        return {**result.describe(self), "classes": rows}

    def to_polygons(self) -> dict[str, Any]:
        """As `to_dict`, but for the background, with "polygons", [[x1, y1, x2, y2, ...], ...], in place of "rle".

        They are COCO's polygons, along the borders of the pixels (`onelook.runtime.outlines`).
        """
        rows = [
            {**_row(region), "polygons": result.flat(self.polygons(region.class_id))}
            for region in self
            if region.class_id != self.background
        ]
        return {**result.describe(self), "classes": rows}


def _row(region: Region) -> dict[str, Any]:
    return {"name": region.name, "class": region.class_id, "share": round(region.share, 5)}
