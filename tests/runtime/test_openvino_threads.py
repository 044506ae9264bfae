"""OpenVINO's binding to NumPy once waited for itself when two threads used it first at the same moment."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CODE = """
import sys, threading
import numpy as np
from onelook.runtime.session import open_session

sys.setswitchinterval(1e-6)
session = open_session(sys.argv[1], "openvino", threads=2, streams=8)
image = np.zeros((1, 64, 64, 3), np.uint8)
ready = threading.Barrier(8)

def work():
    ready.wait()
    session.run(image, 0.3, 0.45)

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_eight_threads_may_start_at_once(model_file: Callable[..., Path]) -> None:
    pytest.importorskip("openvino")
    for _ in range(5):
        subprocess.run([sys.executable, "-c", CODE, str(model_file("v3"))], check=True, timeout=60)
