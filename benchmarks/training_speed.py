"""Pictures a second of the whole training loop, beside ultralytics' yolo11n: reading, augmentation, network, update.

MobileNet-YOLO on MobileNetV2, on MobileNetV1 of alpha 0.75, and yolo11n take about as many multiply-adds at 320 x 320 (the
table says how many). All train on the same pictures in batches of 16, with their own defaults, in turns; the first two steps
of a turn are not timed. ultralytics has no mixed precision on a CPU, so ours is timed in float32 too.

python benchmarks/training_speed.py --data bccd --rounds 3
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import onelook
from common import has, shared, show
from onelook import detectors
from onelook.data import convert
from onelook.nn.count import multiply_adds
from onelook.training import Settings
from onelook.training.precision import Precision, fastest

SIZE, BATCH, WARM = 320, 16, 2
PEER = "ultralytics, yolo11n"
BACKBONES = {"onelook, MobileNetV1 of 0.75": ("mobilenet_v1", 0.75), "onelook, MobileNetV2": ("mobilenet_v2", 1.0)}
Clock = Callable[[Path], list[float]]  # trains in a folder; when each step ended, seconds


def ours(data: Path, steps: int, backbone: str, alpha: float, precision: Precision) -> Clock:
    """Our loop, left after so many steps."""

    def run(folder: Path) -> list[float]:
        ended: list[float] = []

        def stop() -> bool:
            ended.append(time.perf_counter())
            return len(ended) == steps

        settings = Settings(epochs=100, batch=BATCH, size=(SIZE, SIZE), precision=precision)
        how: dict[str, Any] = {"validation": None, "quiet": True, "stop": stop}
        onelook.train(data, "mobilenet_yolo", backbone, alpha, settings=settings, folder=folder / "run", **how)
        return ended

    return run


def theirs(pictures: Path, steps: int) -> Clock:
    """Ultralytics' loop, until the same step."""

    def run(folder: Path) -> list[float]:
        os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
        from ultralytics import YOLO  # type: ignore[attr-defined]

        class Done(Exception):  # noqa: N818
            """It has no gentler way to end within an epoch."""

        ended: list[float] = []

        def step(_: Any) -> None:
            ended.append(time.perf_counter())
            if len(ended) == steps:
                raise Done

        model = YOLO("yolo11n.yaml", task="detect")
        model.add_callback("on_train_batch_end", step)
        how: dict[str, Any] = {"pretrained": False, "val": False, "plots": False, "verbose": False, "device": "cpu"}
        with contextlib.suppress(Done):
            model.train(
                data=str(pictures / "data.yaml"), imgsz=SIZE, batch=BATCH, epochs=100, project=str(folder), **how
            )
        return ended

    return run


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="bccd", help="folder of real data")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--steps", type=int, default=12, help="of a turn")
    arguments = parser.parse_args()
    data = shared(f"data/{arguments.data}")
    with tempfile.TemporaryDirectory() as place:
        own = fastest(torch.device("cpu"))
        contenders: dict[str, Clock] = {}
        madds: dict[str, float] = {PEER: 0.81}
        for title, (backbone, alpha) in BACKBONES.items():
            network = detectors.create("yolo_v3", classes=3, backbone=backbone, alpha=alpha)
            for precision in dict.fromkeys(("float32", own)):
                contenders[f"{title}, {precision}"] = ours(data, arguments.steps, backbone, alpha, precision)
                madds[f"{title}, {precision}"] = multiply_adds(network, (SIZE, SIZE)) / 1e9
        if has("ultralytics"):
            convert(data, Path(place) / "pictures", "yolo")
            contenders[PEER] = theirs(Path(place) / "pictures", arguments.steps)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        names = list(contenders)
        for turn in range(arguments.rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                with tempfile.TemporaryDirectory() as folder:
                    ended = contenders[name](Path(folder))
                rates[name].append(BATCH * (len(ended) - WARM) / (ended[-1] - ended[WARM - 1]))
                print(f"{name}: {rates[name][-1]:.2f} pictures/s", file=sys.stderr)
    median = {name: statistics.median(found) for name, found in rates.items()}
    rows = [
        (name, f"{madds[name]:.2f}", f"{rate:.2f}", f"{rate / median[PEER]:.2f}" if PEER in median else "")
        for name, rate in median.items()
    ]
    title = f"training at {SIZE} x {SIZE}, batches of {BATCH}, {torch.get_num_threads()} threads"
    show(title, ("", "10^9 multiply-adds", "pictures/s", "ratio"), rows)


if __name__ == "__main__":
    main()
