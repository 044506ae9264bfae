"""Whether each YOLO can learn 32 photographs of coco128 by heart: AP50 on the pictures it was trained on, at least 0.95.

On a MobileNet, so that it takes minutes, without augmentation. A cell of YOLOv1 has one class and one object, one of YOLOv2
one object an anchor; what shares them cannot be learned. So both get 32 pictures in which no two objects have their centres
in one cell: of 5 x 5 at 320 x 320, of 13 x 13 at 416 x 416.

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
import torch

import onelook
from common import shared, show
from onelook.data import Dataset, Sample, read, write
from onelook.data.augment import Augmentation
from onelook.training import Settings

PICTURES = 32
STILL = Augmentation(flip=0, hue=0, saturation=0, value=0, translate=0, scale=0, mosaic=0)
BACKBONE: dict[str, Any] = {"backbone": "mobilenet_v1", "alpha": 0.5}
CELLS = {"yolo_v1": 5, "yolo_v2": 13}  # rows and columns
RUNS: dict[str, dict[str, Any]] = {
    "yolo_v1": {"size": (320, 320), "epochs": 250, "batch": 16, "learning_rate": 3e-4},
    "yolo_v2": {"size": (416, 416), "epochs": 150, "batch": 8, "learning_rate": 3e-3},
    "yolo_v3": {"size": (416, 416), "epochs": 150, "batch": 8, "learning_rate": 3e-3},
}


def one_a_cell(sample: Sample, side: int) -> bool:
    """Whether no two objects have their centres in one of side x side cells."""
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2 / (sample.width, sample.height)
    cells = (centres * side).astype(int)
    return len(np.unique(cells, axis=0)) == len(cells)


def pictures(model: str) -> Dataset:
    """Those to learn by heart."""
    whole = read(shared("data/coco128"), "train")
    cells = CELLS.get(model)
    fitting = [s for s in whole.samples if len(s) and (cells is None or one_a_cell(s, cells))]
    return dataclasses.replace(whole, samples=tuple(fitting[:PICTURES]), split="train")


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=RUNS, default=list(RUNS), help="which to train")
    rows = []
    for model in parser.parse_args().model:
        with tempfile.TemporaryDirectory() as folder:
            data = pictures(model)
            write([data], Path(folder) / "data", "yolo")
            resize = "stretch" if model == "yolo_v1" else "letterbox"
            settings = Settings(
                weight_decay=0.0,
                average=0.0,  # of so few steps it would lag behind
                precision="bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32",
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
                **BACKBONE,
            )
            assert result.model is not None
            numbers = onelook.evaluate(result.model, Path(folder) / "data", "train", "coco").numbers
            minutes = (time.perf_counter() - start) / 60
        row = (
            model,
            str(sum(map(len, data.samples))),
            f"{numbers['ap']:.3f}",
            f"{numbers['ap50']:.3f}",
            f"{minutes:.1f}",
        )
        rows.append(row)
        print(*row, file=sys.stderr)
    show(f"{PICTURES} photographs learned by heart", ("", "objects", "AP", "AP50", "minutes"), rows)


if __name__ == "__main__":
    main()
