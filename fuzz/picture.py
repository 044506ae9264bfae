"""Pictures: any file that may be one, decoded, a JPEG at a fraction of its size too; none is larger than its header says."""

import re

import numpy as np

from fuzz.files import refusals
from onelook.runtime.picture import Pixels, decode, decode_reduced
from onelook.serve.pixels import claimed

# Of formats whose header the server reads before it decodes.
READ = re.compile(
    rb"\xff\xd8|\x89PNG|GIF8|BM|RIFF....WEBP|II|MM|....(ftyp|jP  )|\xff\x4f\xff\x51|P[1-7Ff]\s", re.DOTALL
)


def one_input(data: bytes) -> None:
    """A file."""
    said = claimed(data)
    with refusals():
        pixels = decode(data)
        _check(pixels)
        assert not READ.match(data) or said >= pixels.shape[0] * pixels.shape[1], said
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
