"""A step of training, forward and backward, with the channels of a pixel side by side in memory and channel after channel.

What `onelook.training.memory_format` chooses is marked.

python benchmarks/memory_format.py --only "YOLOv3" SSD
"""

import argparse
import functools
import statistics
import sys
from typing import Any

import torch
from torch import Tensor, nn

from common import show, take_turns
from onelook import detectors
from onelook.training.memory_format import fastest_format

BATCH, CLASSES = 2, 20
FORMATS = (torch.channels_last, torch.contiguous_format)
NETWORKS: dict[str, tuple[str, int, dict[str, Any]]] = {  # name, side, options
    "MobileNet-YOLO, MobileNetV1": ("yolo_v3", 320, {"backbone": "mobilenet_v1"}),
    "MobileNet-YOLO, MobileNetV2": ("yolo_v3", 320, {"backbone": "mobilenet_v2"}),
    "SSDLite": ("ssdlite", 320, {}),
    "YOLOv3": ("yolo_v3", 320, {}),
    "RetinaNet, ResNet-50": ("retinanet", 320, {}),
    "SSD300": ("ssd", 300, {}),
}


def step(network: nn.Module, image: Tensor) -> None:
    """Forward and backward."""
    sum(raw.square().mean() for raw in network(image)).backward()
    network.zero_grad()


def main() -> None:
    """Time network after network, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="networks whose titles begin so")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for title, (name, side, options) in NETWORKS.items():
        if arguments.only and not title.startswith(tuple(arguments.only)):
            continue
        runs, chosen = {}, None
        for form in FORMATS:
            torch.manual_seed(0)
            network = detectors.create(name, classes=CLASSES, **options).to(memory_format=form)
            image = torch.rand(BATCH, 3, side, side).to(memory_format=form)
            runs[str(form)] = functools.partial(step, network, image)
            chosen = fastest_format(network, image.device)
        times = take_turns(runs, arguments.rounds)
        milliseconds = {form: 1000 * statistics.median(times[str(form)]) / BATCH for form in FORMATS}
        marked = [f"{time:.0f}{' *' if form == chosen else ''}" for form, time in milliseconds.items()]
        last, first = milliseconds.values()
        rows.append((title, *marked, f"{last / first:.2f}"))
        print(*rows[-1], file=sys.stderr)
    head = "", "channels last, ms a picture", "channels first", "ratio"
    show(f"a step of training, {torch.get_num_threads()} threads; * chosen", head, rows)


if __name__ == "__main__":
    main()
