"""Pictures for a server, and the types of its tests."""

from collections.abc import Callable

import cv2
import numpy as np
from starlette.testclient import TestClient as Client

Start = Callable[..., Client]


def jpeg(seed: int = 0, height: int = 48, width: int = 64) -> bytes:
    """A JPEG file of coloured squares."""
    squares = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    image = cv2.resize(squares, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".jpg", image)[1].tobytes()
