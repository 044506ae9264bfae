"""How well onelook learns from scratch in so many minutes, beside ultralytics' yolo11n on the same pictures.

Both start from random weights, with their own defaults, at 320 x 320. ultralytics fits its epochs to the minutes itself
(`time`); for onelook some steps are timed first, and as many epochs are taken as fit. Both are scored by onelook's COCO AP,
on the same split, with detections down to a score of 0.001 and suppression at an IoU of 0.5. The last column of the last
line is what the data side alone can feed.

python benchmarks/training.py --data bccd:test helmets:val --minutes 10 --seeds 2
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import onelook
from common import has, shared, show, training_rate
from onelook.conversion import TRAINED_IOU_THRESHOLD
from onelook.data import Dataset, convert, read
from onelook.metrics import coco_ap
from onelook.training import Settings
from onelook.training.distributed import Processes
from onelook.training.loader import Loader

SIZE = 320
OURS = "onelook, MobileNet-YOLO on V1, alpha 0.5"
PEER = "ultralytics, yolo11n"
IOU = TRAINED_IOU_THRESHOLD  # of the suppression of both
PROBE = 5, 40  # steps that are not timed, and after which timing ends
Scores = tuple[float, float, float]  # AP, AP50, minutes


def ours(data: Path, split: str, minutes: float, seed: int, folder: Path) -> Scores:
    """Train on the split "train", measure on another."""
    how: dict[str, Any] = {"model": "mobilenet_yolo", "backbone": "mobilenet_v1", "alpha": 0.5}
    settings = Settings(size=(SIZE, SIZE), seed=seed)
    rate = training_rate(data, settings, folder / "probe", time.perf_counter, PROBE, **how)
    an_epoch = len(read(data, "train")) / (settings.batch * rate)
    epochs = max(1, round(minutes * 60 / an_epoch))
    settings = Settings(epochs=epochs, size=(SIZE, SIZE), seed=seed)
    start = time.perf_counter()
    result = onelook.train(data, settings=settings, validation=None, folder=folder / "run", quiet=True, **how)
    taken = (time.perf_counter() - start) / 60
    assert result.model is not None
    numbers = onelook.evaluate(result.model, data, split, "coco").numbers
    return numbers["ap"], numbers["ap50"], taken


def theirs(data: Path, split: str, minutes: float, seed: int, folder: Path) -> Scores:
    """The same by ultralytics, on the same pictures as YOLO text."""
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    from ultralytics import YOLO  # type: ignore[attr-defined]

    test = read(data, split)
    if not (folder / "pictures").exists():
        convert(data, folder / "pictures", "yolo")
    model = YOLO("yolo11n.yaml", task="detect")
    start = time.perf_counter()
    model.train(
        data=str(folder / "pictures" / "data.yaml"),
        imgsz=SIZE,
        time=minutes / 60,
        pretrained=False,
        seed=seed,
        device="cpu",
        val=False,
        plots=False,
        verbose=False,
        project=str(folder),
        name=f"run-{seed}",
    )
    taken = (time.perf_counter() - start) / 60
    best = YOLO(folder / f"run-{seed}" / "weights" / "last.pt")
    found = [_predicted(best, test, i) for i in range(len(test))]
    result = coco_ap(test.samples, found, test.names)
    return result.ap, result.ap50, taken


def _predicted(model: Any, test: Dataset, i: int) -> tuple[Any, Any, Any]:
    path = str(test.samples[i].image)
    boxes = model.predict(path, imgsz=SIZE, conf=0.001, iou=IOU, max_det=100, verbose=False)[0].boxes
    names = [test.names.index(model.names[int(kind)]) for kind in boxes.cls]
    return boxes.xyxy.numpy(), boxes.conf.numpy(), np.asarray(names, np.int64)


def data_side(data: Path) -> float:
    """Pictures a second that the loader makes, when nothing else runs."""
    dataset = read(data, "train")
    loader = Loader(dataset.samples, Settings(size=(SIZE, SIZE)), Processes(0, 1, torch.device("cpu")))
    start, count = time.perf_counter(), 0
    for batch in loader.epoch(0):
        count += len(batch.image)
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["bccd:test", "helmets:val"], help="folder:split to measure on")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each, with the seeds 0, 1, ...")
    parser.add_argument("--only", choices=("ours", "theirs"), help="one of the two, to run both at once on cores apart")
    arguments = parser.parse_args()
    contenders: dict[str, Callable[[Path, str, float, int, Path], Scores]] = {}
    if arguments.only != "theirs":
        contenders[OURS] = ours
    if arguments.only != "ours" and has("ultralytics"):
        contenders[PEER] = theirs
    rows = []
    for place in arguments.data:
        name, _, split = place.partition(":")
        data = shared(f"data/{name}")
        for seed in range(arguments.seeds):
            for contender, train in contenders.items():
                with tempfile.TemporaryDirectory() as folder:
                    ap, ap50, taken = train(data, split, arguments.minutes, seed, Path(folder))
                rows.append((f"{contender}: {place}, seed {seed}", f"{ap:.3f}", f"{ap50:.3f}", f"{taken:.1f}"))
                print(*rows[-1], file=sys.stderr)
        rows.append((f"data side alone: {place}", "", "", f"{data_side(data):.0f} pictures/s"))
    threads = f"{torch.get_num_threads()} threads"
    show(f"from scratch at {SIZE} x {SIZE}, {threads}", ("", "AP", "AP50", "minutes"), rows)


if __name__ == "__main__":
    main()
