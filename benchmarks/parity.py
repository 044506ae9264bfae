"""Do our detections agree with those of Darknet, the C program?

Darknet's detections (score >= 0.05, IoU 0.45, `-letter_box`) on 16 photographs are given as JSON. Each of them with a
score of at least 0.25 is found if one of ours has its class, an IoU with it of at least 0.9 and a score within 0.03. One of
ours above 0.30 is extra if no detection of Darknet's has its class and an IoU with it of at least 0.5. Our boxes end at the
picture's edges and Darknet's do not, so Darknet's are cut there before they are compared; "found, not cut" counts without
that.

Ends with 1 if less than 99% are found over all models, or if any is extra.
"""

import argparse
import json
import sys
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onelook
from common import MODELS, SHARED, model_file, shared, show
from onelook import Detections

FOUND = 0.99


def reference(objects: list[dict[str, Any]], size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Darknet's boxes [N, 4] xyxy in pixels of a picture of that width and height, scores [N] and classes [N]."""
    rows = [[o["relative_coordinates"][key] for key in ("center_x", "center_y", "width", "height")] for o in objects]
    middle, half = np.split(np.array(rows, np.float64).reshape(-1, 4), 2, axis=1)
    boxes = np.hstack((middle - half / 2, middle + half / 2)) * (size * 2)
    return boxes, np.array([o["confidence"] for o in objects]), np.array([o["class_id"] for o in objects])


def iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """IoU [N, M] of boxes [N, 4] and [M, 4]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=-1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=-1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - common
    return np.asarray(common / np.maximum(union, 1e-9))


def compare(ours: Detections, objects: list[dict[str, Any]], cut: bool) -> tuple[int, int, int]:
    """For one picture, how many of Darknet's detections count, how many of them are found, and how many extra."""
    boxes, scores, classes = reference(objects, (ours.width, ours.height))
    if cut:
        boxes = np.clip(boxes, 0, (ours.width, ours.height) * 2)
    same_class = classes[:, None] == ours.classes[None]
    overlap = iou(boxes, ours.boxes.astype(np.float64))
    close = np.abs(scores[:, None] - ours.scores[None]) <= 0.03
    counts = scores >= 0.25
    found = (same_class & close & (overlap >= 0.9)).any(axis=1)
    known = (same_class & (overlap >= 0.5)).any(axis=0)
    return int(counts.sum()), int((found & counts).sum()), int((~known & (ours.scores > 0.30)).sum())


def main() -> None:
    """Convert, detect, compare, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--engine", default="auto", help="auto, onnxruntime or openvino")
    engine = arguments.parse_args().engine
    totals: dict[str, NDArray[Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            detector = onelook.load(model_file(model, folder, "letterbox"), engine=engine)
            totals[model] = np.zeros((2, 3), int)
            for picture in json.loads(shared(f"reference/darknet-{model}.json").read_text()):
                ours = detector(SHARED / picture["filename"], score_threshold=0.05, iou_threshold=0.45)
                totals[model] += [compare(ours, picture["objects"], cut) for cut in (True, False)]
    totals["all"] = sum(totals.values(), np.zeros((2, 3), int))
    rows = [
        (model, f"{cut[0]}", f"{cut[1]}", f"{cut[1] / cut[0]:.1%}", f"{uncut[1]}", f"{cut[2]}")
        for model, (cut, uncut) in totals.items()
    ]
    head = ("model", "Darknet's, score ≥ 0.25", "found", "share", "found, not cut", "extra")
    show("Agreement with Darknet", head, rows, f"engine: {detector.engine}")
    expected, found, extra = totals["all"][0]
    sys.exit(int(found < FOUND * expected or extra > 0))


if __name__ == "__main__":
    main()
