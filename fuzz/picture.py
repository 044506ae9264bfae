"""Pictures: any file that may be one, decoded, and a JPEG at a fraction of its size too."""

import numpy as np

from fuzz.files import refusals
from onelook.runtime.picture import Pixels, decode, decode_reduced


def one_input(data: bytes) -> None:
    """A file."""
    with refusals():
        _check(decode(data))
    if data.startswith(b"\xff\xd8"):
        with refusals():
            found = decode_reduced(data, "x.jpg", lambda width, height: 2 << len(data) % 3)
            _check(found.pixels)
            assert found.pixels.shape[0] * found.factor < found.height + found.factor
            assert found.pixels.shape[1] * found.factor < found.width + found.factor


def _check(pixels: Pixels) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size
