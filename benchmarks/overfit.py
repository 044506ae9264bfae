"""Whether each detector can learn 32 photographs of coco128 by heart: AP50 on the pictures it was trained on.

At least 0.95 for the YOLOs, 0.9 for the others, and 0.8 for masks. On a MobileNet where the detector takes one, so that it
takes minutes, without augmentation and dropout. A cell of YOLOv1 has one class and one object, one of YOLOv2 one object an
anchor; what shares them cannot be learned. So both get 32 pictures in which no two objects have their centres in one cell,
of 5 x 5 at 320 x 320, of 13 x 13 at 416 x 416. A localizer is to find the largest object. Mask R-CNN gets pictures of
coco-tiny, which has masks. Of R-CNN the SVMs and regressions alone are learned, on features of ImageNet's MobileNet and the
regions of selective search. Neither it nor Fast R-CNN can find what is not proposed, nor two objects of a class that
suppression takes for one, so they get 32 pictures without such objects.

python benchmarks/overfit.py --model yolo_v3
"""

import argparse
import dataclasses
import functools
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import onelook
from common import shared, show
from onelook import tflite
from onelook.boxes import iou
from onelook.data import Dataset, Sample, read, write
from onelook.data.augment import Augmentation
from onelook.detectors import rcnn, rcnn_fit
from onelook.detectors.fast_rcnn import PROPOSALS
from onelook.runtime.picture import read as read_picture
from onelook.runtime.resize import place
from onelook.runtime.selective_search import selective_search
from onelook.training import Settings

PICTURES, COPIES = 32, 8  # each is seen so often an epoch: at the end of an epoch a run writes hundreds of megabytes
STILL = Augmentation(flip=0, hue=0, saturation=0, value=0, translate=0, scale=0, mosaic=0)
BACKBONE: dict[str, Any] = {"backbone": "mobilenet_v1", "alpha": 0.5}
WEIGHTS = "weights/tflite/mobilenet_v1_0.5_160_quant.tflite"
SQUARE, COST, LEAST = 128, 0.1, -1.0  # of R-CNN: side of its regions, cost of the SVMs' errors, least score
HIT, SUPPRESSED = 0.5, 0.3  # IoU of a proposal that finds an object; above which R-CNN suppresses a box
CELLS = {"yolo_v1": 5, "yolo_v2": 13}  # rows and columns
SLOW = "localizer", "fast_rcnn", "faster_rcnn", "mask_rcnn"  # to learn: their backbone has ImageNet's weights
STRETCHED = "yolo_v1", "ssd", "ssdlite", "m2det", "localizer"  # as in their papers
OPTIONS = {"m2det": {"levels": 4, "width": 128}}  # half the modules of the paper, half as wide
RUNS: dict[str, dict[str, Any]] = {
    "yolo_v1": {"size": (320, 320), "epochs": 28, "batch": 16, "learning_rate": 1.5e-4},
    "yolo_v2": {"size": (416, 416), "epochs": 19, "batch": 8, "learning_rate": 3e-3},
    "yolo_v3": {"size": (416, 416), "epochs": 19, "batch": 8, "learning_rate": 3e-3},
    "rcnn": {},
    "localizer": {"size": (224, 224), "epochs": 60, "batch": 8, "learning_rate": 1e-3},
    "ssd": {"size": (300, 300), "epochs": 12, "batch": 8, "learning_rate": 1e-4},
    "ssdlite": {"size": (320, 320), "epochs": 19, "batch": 8, "learning_rate": 3e-3},
    "retinanet": {"size": (320, 320), "epochs": 24, "batch": 8, "learning_rate": 3e-3},
    "m2det": {"size": (320, 320), "epochs": 14, "batch": 4, "learning_rate": 1.5e-3},
    "fast_rcnn": {"size": (320, 320), "epochs": 28, "batch": 4, "learning_rate": 1.5e-3},
    "faster_rcnn": {"size": (320, 320), "epochs": 28, "batch": 4, "learning_rate": 1.5e-3},
    "mask_rcnn": {"size": (320, 320), "epochs": 28, "batch": 4, "learning_rate": 2e-3},
}


def one_a_cell(sample: Sample, side: int) -> bool:
    """Whether no two objects have their centres in one of side x side cells."""
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2 / (sample.width, sample.height)
    cells = (centres * side).astype(int)
    return len(np.unique(cells, axis=0)) == len(cells)


@functools.cache
def proposals(image: Path) -> rcnn.Boxes:
    """Of selective search, as R-CNN makes them."""
    return rcnn.propose(read_picture(str(image)))


def proposals_of_input(image: Path) -> rcnn.Boxes:
    """As Fast R-CNN makes them: in the network's input."""
    pixels = np.zeros((*RUNS["fast_rcnn"]["size"], 3), np.uint8)
    placement = place(read_picture(str(image)), pixels, "letterbox", "linear")
    return placement.to_picture(selective_search(pixels)[:PROPOSALS])


PROPOSE = {"rcnn": proposals, "fast_rcnn": proposals_of_input}


def proposed(sample: Sample, propose: Callable[[Path], rcnn.Boxes]) -> bool:
    """Whether each of the objects can be found."""
    boxes = torch.from_numpy(sample.boxes)
    found = iou(torch.from_numpy(propose(sample.image))[:, None], boxes).amax(0) >= HIT
    alike = torch.from_numpy(sample.classes[:, None] == sample.classes)
    return bool(found.all() and ((iou(boxes[:, None], boxes) > SUPPRESSED) & alike).sum() == len(boxes))


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
    propose = PROPOSE.get(model)
    some = (s for s in fitting if propose is None or proposed(s, propose))
    return dataclasses.replace(whole, samples=tuple(itertools.islice(some, PICTURES)), split="train")


def learn_rcnn(data: Dataset, results: Path) -> None:
    """Train R-CNN, and write what it finds in the same pictures as COCO results."""
    network = rcnn.RegionClassifier(tflite.load(shared(WEIGHTS)).network, len(data.names), SQUARE)
    pictures = [rcnn_fit.Labelled(read_picture(str(s.image)), s.boxes, s.classes) for s in data.samples]
    regions = {id(one.image): proposals(sample.image) for one, sample in zip(pictures, data.samples, strict=True)}
    rcnn_fit.fit(network, pictures, lambda image: regions[id(image)], COST)
    rows = []
    for sample, one in zip(data.samples, pictures, strict=True):
        found = rcnn.detect(network, one.image, data.names, lambda image: regions[id(image)], LEAST)
        rows += dataclasses.replace(found, source=str(sample.image)).to_coco()
    results.write_text(json.dumps(rows))


def learn(model: str, data: Dataset, folder: Path) -> list[Mapping[str, float]]:
    """Train a detector, and measure it on the same pictures: boxes, and masks if it has them."""
    write([data], folder / "once", "coco")
    copies = dataclasses.replace(data, samples=data.samples * COPIES)
    write([copies], folder / "data", "coco")
    resize = "stretch" if model in STRETCHED else "letterbox"
    settings = Settings(
        weight_decay=0.0,
        average=0.0,  # of so few steps it would lag behind
        augmentation=dataclasses.replace(STILL, resize=resize),
        **RUNS[model],
    )
    result = onelook.train(
        folder / "data",
        model,
        settings=settings,
        validation=None,
        folder=folder / "run",
        weights=shared(WEIGHTS) if model in SLOW else None,
        options=OPTIONS.get(model),
        **({} if model == "ssd" else BACKBONE),
    )
    assert result.model is not None
    metrics = ("coco", "coco-masks") if model == "mask_rcnn" else ("coco",)
    return [onelook.evaluate(result.model, folder / "once", "train", own).numbers for own in metrics]


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=RUNS, default=list(RUNS), help="which to train")
    nn.Dropout.forward = lambda self, input: input  # type: ignore[method-assign]  # it is against learning by heart
    rows = []
    for model in parser.parse_args().model:
        with tempfile.TemporaryDirectory() as folder:
            data = pictures(model)
            start = time.perf_counter()
            if model == "rcnn":
                results = Path(folder) / "results.json"
                learn_rcnn(data, results)
                scores = [onelook.evaluate(results, data, metric="coco").numbers]
            else:
                scores = learn(model, data, Path(folder))
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
