"""The whole way from a Darknet model and a photograph to boxes, against what Darknet itself found there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onelook
from onelook import Detections


def overlap(a: Any, b: Any) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def reference(row: dict[str, Any], size: tuple[int, int]) -> tuple[list[float], int, float]:
    """Box (cut at the edges of the picture, as ours are), class, confidence."""
    place = row["relative_coordinates"]
    x, y, w, h = (place[key] for key in ("center_x", "center_y", "width", "height"))
    box = np.clip((x - w / 2, y - h / 2, x + w / 2, y + h / 2), 0, 1) * np.array(size * 2)
    return box.tolist(), row["class_id"], row["confidence"]


def test_detections_are_darknets(shared: Callable[[str], Path], tmp_path: Path) -> None:
    total = found = 0
    for name in ("yolo-fastest-1.1-xl", "yolo-fastest-1.1", "MobileNetV2-YOLOv3-Nano-coco"):
        weights = shared(f"weights/darknet/{name}.weights")
        files = weights.with_suffix(".cfg"), weights
        model = onelook.convert(files, tmp_path / f"{name}.onnx", "coco", resize="letterbox")  # as Darknet was asked to
        detector = onelook.load(model, engine="onnxruntime")
        for picture in json.loads(shared(f"reference/darknet-{name}.json").read_text()):
            ours: Detections = detector(shared(picture["filename"]), score_threshold=0.05, iou_threshold=0.45)
            theirs = [reference(row, (ours.width, ours.height)) for row in picture["objects"]]
            for box, label, confidence in theirs:
                if confidence < 0.25:
                    continue
                total += 1
                found += any(
                    one.class_id == label and overlap(one.box, box) >= 0.9 and abs(one.score - confidence) <= 0.03
                    for one in ours
                )
            for one in ours.filter(score=0.30):
                assert any(label == one.class_id and overlap(one.box, box) >= 0.5 for box, label, _ in theirs), one
    assert total == 274
    assert found / total >= 0.99


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_detections_lie_on_the_objects_however_the_picture_is_resized(
    shared: Callable[[str], Path], tmp_path: Path, resize: str
) -> None:
    """The man in person.jpg, where YOLOv3 finds him: 190, 98 to 271, 381."""
    weights = shared("weights/darknet/yolo-fastest-1.1-xl.weights")
    model = onelook.convert((weights.with_suffix(".cfg"), weights), tmp_path / "x.onnx", "coco", resize=resize)
    (man,) = onelook.load(model)(shared("data/photos/person.jpg")).filter(names="person")
    assert overlap(man.box, (190, 98, 271, 381)) > 0.8
