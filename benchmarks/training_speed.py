"""Pictures a second of the whole training loop, beside ultralytics' yolo11n: reading, augmentation, network, update.

MobileNet-YOLO on MobileNetV2 and yolo11n take about as many multiply-adds at 320 x 320 (the table says how many). Both
train on the same pictures in batches of 16, with their own defaults, in turns; the first two steps of a turn are not
timed. ultralytics has no mixed precision on a CPU, so ours is timed in float32 too.

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

SIZE, BATCH, WARM = 320, 16, 2
Clock = Callable[[Path], list[float]]  # trains in a folder; when each step ended, seconds


def ours(data: Path, steps: int, precision: Any) -> Clock:
    """Our loop, left after so many steps."""

    def run(folder: Path) -> list[float]:
        ended: list[float] = []

        def stop() -> bool:
            ended.append(time.perf_counter())
            return len(ended) == steps

        settings = Settings(epochs=100, batch=BATCH, size=(SIZE, SIZE), precision=precision)
        onelook.train(data, settings=settings, folder=folder / "run", validation=None, quiet=True, stop=stop)
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
        contenders = {"onelook, float32": ours(data, arguments.steps, "float32")}
        if torch.cpu._is_avx512_bf16_supported():
            contenders["onelook, bfloat16"] = ours(data, arguments.steps, "bfloat16")
        if has("ultralytics"):
            convert(data, Path(place) / "pictures", "yolo")
            contenders["ultralytics, yolo11n"] = theirs(Path(place) / "pictures", arguments.steps)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        names = list(contenders)
        for turn in range(arguments.rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                with tempfile.TemporaryDirectory() as folder:
                    ended = contenders[name](Path(folder))
                rates[name].append(BATCH * (len(ended) - WARM) / (ended[-1] - ended[WARM - 1]))
                print(f"{name}: {rates[name][-1]:.2f} pictures/s", file=sys.stderr)
    own = detectors.create("yolo_v3", classes=3, backbone="mobilenet_v2")
    madds = {name: f"{multiply_adds(own, (SIZE, SIZE)) / 1e9:.2f}" for name in names if name.startswith("onelook")}
    last = statistics.median(rates[names[-1]])
    rows = [
        (name, madds.get(name, "0.81"), f"{statistics.median(found):.2f}", f"{statistics.median(found) / last:.2f}")
        for name, found in rates.items()
    ]
    title = f"training at {SIZE} x {SIZE}, batches of {BATCH}, {torch.get_num_threads()} threads"
    show(title, ("", "10^9 multiply-adds", "pictures/s", "ratio"), rows)


if __name__ == "__main__":
    main()
