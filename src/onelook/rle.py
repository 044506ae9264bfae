"""COCO's run lengths: how many pixels, column by column, lie outside the mask, then inside, then outside, ...

Compressed, each number is the difference to the one two before it (from the fourth on), in digits of five bits from
the lowest on. A character of text is 48 plus a digit, plus 32 where another digit follows; the last digit's upper bit
is the sign.
"""

import numpy as np
from numpy.typing import NDArray

_MOST_DIGITS = 8  # a picture of 2^39 pixels


def encode(
    mask: NDArray[np.bool_], rows: NDArray[np.int64] | None = None, columns: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The run lengths [R] of a mask, or of `mask[rows][:, columns]`, in time that grows with its outline alone.

    Args:
        mask: bool or 0 and 1, [h, w].
        rows: [H] those to take, ascending; some may be left out or taken again. All by default.
        columns: [W] likewise, in any order.
    """
    height, width = mask.shape
    rows = np.arange(height) if rows is None else rows
    columns = np.arange(width) if columns is None else columns
    framed = np.zeros((width, height + 2), np.int8)
    framed[:, 1:-1] = mask.T
    column, row = np.nonzero(np.diff(framed))  # where a run of the mask starts, ends, starts, ... in each column
    place = np.searchsorted(rows, row)
    edges = np.bincount(column, minlength=width)
    first = edges.cumsum() - edges

    taken = edges[columns]
    index = np.arange(taken.sum()) + np.repeat(first[columns] - taken.cumsum() + taken, taken)
    place = np.repeat(np.arange(len(columns)) * len(rows), taken) + place[index]
    # Where two edges meet there is none: of a run that no row is taken of, or that goes on in the next column.
    place, times = np.unique(place, return_counts=True)
    end = len(rows) * len(columns)
    return np.diff(place[(times % 2 == 1) & (place < end)], prepend=0, append=end)


def encode_classes(mask: NDArray[np.uint8]) -> dict[int, NDArray[np.int64]]:
    """The run lengths [R] of each class that is in a mask [H, W], by its number."""
    flat = mask.ravel(order="F")
    first = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    edges = np.stack([first, np.append(first[1:], flat.size)], 1)  # where each run of one class starts and ends
    found = {}
    for class_id in np.unique(flat[first]).tolist():
        own = edges[flat[first] == class_id].ravel()
        found[class_id] = np.diff(own[: -1 if own[-1] == flat.size else None], prepend=0, append=flat.size)
    return found


def decode(runs: NDArray[np.int64], height: int) -> NDArray[np.bool_]:
    """The mask, bool [H, W], of run lengths [R]."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(-1, height).T


def compress(runs: NDArray[np.int64]) -> bytes:
    """The text for run lengths [R]."""
    numbers = np.array(runs, np.int64)
    numbers[3:] -= runs[1:-2]
    position = np.arange(_MOST_DIGITS)
    digits = numbers[:, None] >> 5 * position & 31
    rest = numbers[:, None] >> 5 * (position + 1)
    last = (rest == np.where(digits & 16, -1, 0)).argmax(1)[:, None]
    return (48 + digits + 32 * (position < last))[position <= last].astype(np.uint8).tobytes()


def runs(text: bytes) -> NDArray[np.int64]:
    """The run lengths [R] of a compressed text. Raises ValueError where it is not one."""
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits & 32 == 0)
    if not len(last) or last[-1] != len(digits) - 1 or digits.min() < 0 or digits.max() > 63:
        raise ValueError("not a compressed mask")
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _MOST_DIGITS:
        raise ValueError("not a compressed mask: a number is too large")
    position = np.arange(len(digits)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((digits & 31) << (5 * position), first)
    numbers -= np.where(digits[last] & 16, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    if numbers.min() < 0:
        raise ValueError("not a compressed mask: a run is negative")
    return numbers
