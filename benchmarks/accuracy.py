"""AP of the Darknet models on the first 128 pictures of COCO val2017, with pycocotools.

Pictures and labels (YOLO text) are those of coco128. Scores from 0.001 up count, suppression is per class at 0.45,
each network runs at the size of its cfg. OpenCV's DNN module, where its version reads Darknet files, runs the same
network on the same resized pictures, as a second opinion on ours; it suppresses by IoU where the cfg asks for DIoU,
which is worth up to half a point. The published figures are of all 5000 pictures of val2017. The labels name no crowds,
so that detections within crowds count as wrong here and do not in the published figures.
"""

import argparse
import contextlib
import dataclasses
import io
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import onelook
from common import MODELS, darknet_files, has, model_file, shared, show
from onelook import Detections, Detector
from onelook.names import COCO, category_ids
from onelook.runtime.picture import read
from onelook.runtime.resize import place

SCORE, IOU = 0.001, 0.45
PUBLISHED_AP50 = {"yolo-fastest-1.1-xl": 34.33, "yolo-fastest-1.1": 24.40}
IDS = category_ids(COCO)


def ground_truth(found: list[Detections], labels: Path) -> dict[str, Any]:
    """The label files of the pictures in COCO's format; `found` tells the pictures' sizes."""
    annotations: list[dict[str, Any]] = []
    for picture in found:
        path = labels / f"{Path(picture.source).stem}.txt"
        for line in path.read_text().splitlines() if path.exists() else []:
            x, y, w, h = np.array(line.split()[1:], float) * ([picture.width, picture.height] * 2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture.image_id,
                    "category_id": IDS[int(line.split()[0])],
                    "bbox": [x - w / 2, y - h / 2, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
    images = [{"id": picture.image_id, "width": picture.width, "height": picture.height} for picture in found]
    categories = [{"id": number, "name": name} for number, name in zip(IDS, COCO, strict=True)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def average_precision(found: list[Detections], labels: Path) -> tuple[float, float]:
    """AP and AP50, in percent."""
    from pycocotools import coco
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells what it does
        truth = coco.COCO()
        truth.dataset = ground_truth(found, labels)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([row for picture in found for row in picture.to_coco()]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0]), 100 * float(evaluation.stats[1])


class OpenCV:
    """The same network in OpenCV's DNN module, on the pictures as onelook places them."""

    def __init__(self, model: str, detector: Detector):
        cfg, weights = darknet_files(model)
        text = cfg.read_text().replace("[yolo]", f"[yolo]\nthresh={SCORE}")  # it drops scores below 0.2 by itself
        self.network = cv2.dnn.readNetFromDarknet(
            np.frombuffer(text.encode(), np.uint8), np.fromfile(weights, np.uint8)
        )
        self.network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        self.detector = detector

    def __call__(self, picture: Detections) -> Detections:
        """What it finds in the picture of `picture`."""
        info = self.detector.info
        canvas: NDArray[np.uint8] = np.zeros((*info.size, 3), np.uint8)
        placement = place(read(picture.source), canvas, info.resize, info.sampling)
        self.network.setInput(cv2.dnn.blobFromImage(canvas, 1 / 255))
        rows = np.vstack(self.network.forward(self.network.getUnconnectedOutLayersNames()))
        pair_box, pair_class = np.nonzero(rows[:, 5:] > SCORE)
        scores = rows[pair_box, 5 + pair_class]
        middle, half = rows[pair_box, :2], rows[pair_box, 2:4] / 2
        boxes = np.hstack((middle - half, middle + half)) * (info.size[::-1] * 2)
        corner_and_size = np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]))
        kept = np.asarray(
            cv2.dnn.NMSBoxesBatched(corner_and_size, scores, pair_class, SCORE, IOU),  # type: ignore[arg-type]
            np.int64,
        )
        kept = kept[np.argsort(-scores[kept])]
        return dataclasses.replace(
            picture,
            boxes=placement.to_picture(boxes[kept].astype(np.float32)),
            scores=scores[kept].astype(np.float32),
            classes=pair_class[kept],
        )


def main() -> None:
    """Detect, evaluate, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--engine", default="auto", help="auto, onnxruntime or openvino")
    engine = arguments.parse_args().engine
    if not has("pycocotools"):
        return
    pictures, labels = shared("data/coco128/images/val2017"), shared("data/coco128/labels/val2017")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            detector = onelook.load(model_file(model, folder), engine=engine)
            found = list(detector.stream(pictures, SCORE, IOU))
            results = {f"onelook ({detector.engine})": average_precision(found, labels)}
            if hasattr(cv2.dnn, "readNetFromDarknet"):
                peer = OpenCV(model, detector)
                results[f"OpenCV DNN {cv2.__version__}"] = average_precision([peer(x) for x in found], labels)
            published = f"{PUBLISHED_AP50[model]:.1f}" if model in PUBLISHED_AP50 else "-"
            rows += [(model, who, f"{ap:.1f}", f"{ap50:.1f}", published) for who, (ap, ap50) in results.items()]
    head = ("model", "by", "AP", "AP50", "published AP50, all of val2017")
    show(f"COCO AP in percent, {len(found)} pictures of val2017", head, rows)


if __name__ == "__main__":
    main()
