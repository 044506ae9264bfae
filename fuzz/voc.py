"""PASCAL VOC's annotations."""

import cv2
import numpy as np

from fuzz.files import FOLDER, check, refusals, written
from onelook.data import read

(FOLDER / "voc").mkdir()
written("voc/x.png", cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].tobytes())


def one_input(data: bytes) -> None:
    """An XML file beside a picture and another that has none."""
    written("voc/x.xml", data)
    written("voc/y.xml", data)
    with refusals():
        check(read(FOLDER / "voc", "all", "voc"))
