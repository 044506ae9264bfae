import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from onelook.errors import SourceError
from onelook.runtime import picture

RGB = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8), (56, 40), interpolation=cv2.INTER_CUBIC)
ALPHA = np.tile(np.linspace(0, 255, 56).astype(np.uint8), (40, 1))

has_avif = pytest.mark.skipif(
    not features.check("avif") or cv2.imdecode(np.frombuffer(b"", np.uint8).reshape(0, 1), 1) is not None
    if False
    else not features.check("avif"),
    reason="this PIL cannot write AVIF",
)
