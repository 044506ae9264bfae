"""COCO's run lengths: how many pixels, column by column, lie outside the mask, then inside, then outside, ...

Compressed, each number is the difference to the one two before it (from the fourth on), in digits of five bits from
the lowest on. A character of text is 48 plus a digit, plus 32 where another digit follows; the last digit's upper bit
is the sign.
"""

import numpy as np
from numpy.typing import NDArray

_MOST_DIGITS = 8  # a picture of 2^39 pixels


def compress(runs: NDArray[np.int64]) -> bytes:
    """The text for run lengths [R]."""
    differences = np.array(runs, np.int64)
    differences[3:] -= runs[1:-2]
    text = bytearray()
    for number in differences.tolist():
        more = True
        while more:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text.append(48 + digit + 32 * more)
    return bytes(text)


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
