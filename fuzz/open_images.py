"""Open Images' tables of boxes, labels and classes, and its hierarchy of classes."""

import cv2
import numpy as np

from fuzz.files import FOLDER, check, refusals, written
from onelook.data import read

_FOLDER = FOLDER / "open_images"
(_FOLDER / "train").mkdir(parents=True)
written("open_images/train/x.png", cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].tobytes())
_FILES = (
    "train-annotations-bbox.csv",
    "train-annotations-human-imagelabels.csv",
    "class-descriptions-boxable.csv",
    "hierarchy.json",
)


def one_input(data: bytes) -> None:
    """The four files one after another, with a line of `----` between them."""
    for name, content in zip(_FILES, [*data.split(b"\n----\n"), b"", b"", b""][:4], strict=True):
        written(f"open_images/{name}", content)
    with refusals():
        check(read(_FOLDER, "train", "open-images"))
