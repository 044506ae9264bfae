"""The masks of the objects in a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from onelook import rle
from onelook.runtime import outlines

Index = slice | Sequence[int] | Sequence[bool] | NDArray[np.integer[Any]] | NDArray[np.bool_]
Polygons = list[NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Masks:
    """A mask for each of N objects, in pixels of the picture: to be used like an array, bool [N, H, W].

    A number gives one mask, bool [H, W]; a slice, a list of numbers or of yes and no gives `Masks`; `numpy.asarray` gives
    the whole array. What is kept are run lengths: of a hundred objects in a photograph of twelve megapixels, pixels would
    take 1.2 GB, and those of many pictures wait in a stream.
    """

    runs: tuple[NDArray[np.int64], ...]
    """N run lengths, as of `onelook.rle`."""
    height: int
    """Of the picture, in pixels."""
    width: int
    """Of the picture, in pixels."""

    @classmethod
    def of(
        cls, pixels: NDArray[Any], rows: NDArray[np.int64] | None = None, columns: NDArray[np.int64] | None = None
    ) -> Masks:
        """From an array [N, h, w] of bool or 0 and 1; of `rows` [H] and `columns` [W] of it where these are given."""
        height, width = pixels.shape[1:] if rows is None or columns is None else (len(rows), len(columns))
        return cls(tuple(rle.encode(mask, rows, columns) for mask in pixels), height, width)

    def __repr__(self) -> str:
        return f"Masks({len(self)} of {self.width} × {self.height})"

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (rle.decode(runs, self.height) for runs in self.runs)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.bool_]: ...
    @overload
    def __getitem__(self, index: Index) -> Masks: ...
    def __getitem__(self, index: int | Index) -> NDArray[np.bool_] | Masks:
        if isinstance(index, int | np.integer):
            return rle.decode(self.runs[index], self.height)
        if not isinstance(index, slice):
            index = np.asarray(index, None if len(index) else np.intp)
        chosen = np.arange(len(self))[index].tolist()
        return Masks(tuple(self.runs[i] for i in chosen), self.height, self.width)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array of masks is always a new one")
        whole = np.zeros((len(self), self.height, self.width), np.bool_ if dtype is None else dtype)
        for one, mask in zip(whole, self, strict=True):
            one[:] = mask
        return whole

    @property
    def areas(self) -> NDArray[np.int64]:
        """[N] pixels of each."""
        return np.array([runs[1::2].sum() for runs in self.runs], np.int64)

    def rle(self, index: int) -> dict[str, Any]:
        """A mask as COCO has it, ready for JSON: {"size": [height, width], "counts": text}."""
        return {"size": [self.height, self.width], "counts": rle.compress(self.runs[index]).decode("ascii")}

    def polygons(self, index: int) -> Polygons:
        """The outlines of a mask, each [P, 2]: x, y in pixels of the picture; see `onelook.runtime.outlines`."""
        corner, part = self.part(index)
        return [polygon + corner for polygon in outlines.polygons(part)]

    def part(self, index: int) -> tuple[tuple[int, int], NDArray[np.bool_]]:
        """The smallest rectangle with all of a mask: x, y of its upper left corner, and its pixels, bool [h, w]."""
        runs = self.runs[index]
        if len(runs) < 2:
            return (0, 0), np.zeros((0, 0), np.bool_)
        edges = runs.cumsum()
        left, right = int(edges[0]) // self.height, int(edges[1::2][-1] - 1) // self.height + 1
        inside = np.clip(edges, left * self.height, right * self.height) - left * self.height
        columns = rle.decode(np.diff(inside, prepend=0), self.height)
        rows = np.flatnonzero(columns.any(1))
        return (left, int(rows[0])), columns[rows[0] : rows[-1] + 1]
