"""Whether each detector can learn 32 photographs of coco128 by heart: AP50 on the pictures it was trained on.

At least 0.95 for the YOLOs, 0.9 for the others, and 0.8 for masks. On a MobileNet where the detector takes one, so that it
takes minutes, without augmentation and dropout. A cell of YOLOv1 has one class and one object, one of YOLOv2 one object an
anchor; what shares them cannot be learned. So both get 32 pictures in which no two objects have their centres in one cell,
of 5 x 5 at 320 x 320, of 13 x 13 at 416 x 416. A localizer is to find the largest object. Mask R-CNN gets pictures of
coco-tiny, which has masks.

python benchmarks/overfit.py --model yolo_v3
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import onelook
from common import shared, show
from onelook.data import Dataset, Sample, read, write
from onelook.data.augment import Augmentation
from onelook.training import Settings

PICTURES, COPIES = 32, 8  # each is seen so often an epoch: at the end of an epoch a run writes hundreds of megabytes
STILL = Augmentation(flip=0, hue=0, saturation=0, value=0, translate=0, scale=0, mosaic=0)
BACKBONE: dict[str, Any] = {"backbone": "mobilenet_v1", "alpha": 0.5}
WEIGHTS = "weights/tflite/mobilenet_v1_0.5_160_quant.tflite"
CELLS = {"yolo_v1": 5, "yolo_v2": 13}  # rows and columns
SLOW = "localizer", "faster_rcnn", "mask_rcnn"  # to learn: their backbone has ImageNet's weights
STRETCHED = "yolo_v1", "ssd", "ssdlite", "m2det", "localizer"  # as in their papers
OPTIONS = {"m2det": {"levels": 4, "width": 128}}  # half the modules of the paper, half as wide
RUNS: dict[str, dict[str, Any]] = {
    "yolo_v1": {"size": (320, 320), "epochs": 28, "batch": 16, "learning_rate": 1.5e-4},
    "yolo_v2": {"size": (416, 416), "epochs": 19, "batch": 8, "learning_rate": 3e-3},
    "yolo_v3": {"size": (416, 416), "epochs": 19, "batch": 8, "learning_rate": 3e-3},
    "localizer": {"size": (224, 224), "epochs": 60, "batch": 8, "learning_rate": 1e-3},
    "ssd": {"size": (300, 300), "epochs": 12, "batch": 8, "learning_rate": 1e-4},
    "ssdlite": {"size": (320, 320), "epochs": 19, "batch": 8, "learning_rate": 3e-3},
    "retinanet": {"size": (320, 320), "epochs": 24, "batch": 8, "learning_rate": 3e-3},
    "m2det": {"size": (320, 320), "epochs": 14, "batch": 4, "learning_rate": 1.5e-3},
    "faster_rcnn": {"size": (320, 320), "epochs": 28, "batch": 4, "learning_rate": 1.5e-3},
    "mask_rcnn": {"size": (320, 320), "epochs": 28, "batch": 4, "learning_rate": 2e-3},
}


def one_a_cell(sample: Sample, side: int) -> bool:
    """Whether no two objects have their centres in one of side x side cells."""
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2 / (sample.width, sample.height)
    cells = (centres * side).astype(int)
    return len(np.unique(cells, axis=0)) == len(cells)


def the_largest(sample: Sample) -> Sample:
    """With its largest object alone."""
    own = [int(np.argmax((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1)))]
    return Sample(sample.image, sample.width, sample.height, sample.boxes[own], sample.classes[own])


def pictures(model: str) -> Dataset:
    """Those to learn by heart."""
    whole = read(shared("data/coco-tiny" if model == "mask_rcnn" else "data/coco128"), "train")
    cells = CELLS.get(model)
    fitting = [s for s in whole.samples if len(s) and (cells is None or one_a_cell(s, cells))]
    if model == "localizer":
        fitting = [the_largest(s) for s in fitting]
    return dataclasses.replace(whole, samples=tuple(fitting[:PICTURES]), split="train")


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=RUNS, default=list(RUNS), help="which to train")
    nn.Dropout.forward = lambda self, input: input  # type: ignore[method-assign]  # it is against learning by heart
    rows = []
    for model in parser.parse_args().model:
        with tempfile.TemporaryDirectory() as folder:
            data = pictures(model)
            write([data], Path(folder) / "once", "coco")
            copies = dataclasses.replace(data, samples=data.samples * COPIES)
            write([copies], Path(folder) / "data", "coco")
            resize = "stretch" if model in STRETCHED else "letterbox"
            settings = Settings(
                weight_decay=0.0,
                average=0.0,  # of so few steps it would lag behind
                augmentation=dataclasses.replace(STILL, resize=resize),
                **RUNS[model],
            )
            start = time.perf_counter()
            result = onelook.train(
                Path(folder) / "data",
                model,
                settings=settings,
                validation=None,
                folder=Path(folder) / "run",
                weights=shared(WEIGHTS) if model in SLOW else None,
                **({} if model == "ssd" else BACKBONE),
                options=OPTIONS.get(model),
            )
            assert result.model is not None
            metrics = ("coco", "coco-masks") if model == "mask_rcnn" else ("coco",)
            scores = [onelook.evaluate(result.model, Path(folder) / "once", "train", own).numbers for own in metrics]
            minutes = (time.perf_counter() - start) / 60
        row = (
            model,
            str(sum(map(len, data.samples))),
            ", masks ".join(f"{numbers['ap']:.3f}" for numbers in scores),
            ", masks ".join(f"{numbers['ap50']:.3f}" for numbers in scores),
            f"{minutes:.1f}",
        )
        rows.append(row)
        print(*row, file=sys.stderr)
    show(f"{PICTURES} photographs learned by heart", ("", "objects", "AP", "AP50", "minutes"), rows)


if __name__ == "__main__":
    main()
