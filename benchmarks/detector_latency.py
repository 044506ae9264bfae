"""Every detector as its model file beside torch: the time of one picture.

The weights are new, so that nothing is to be found. The model file runs in onelook's session, from pixels to boxes after
suppression: in ONNX Runtime in float32, and in OpenVINO as with `--engine openvino --precision fastest`. Torch eager is the
same module in evaluation mode on float32 input, and stops at the boxes before suppression, but for a detector with masks:
it suppresses then, and computes the masks of the best detections, as many as the model file does. How far apart they are on
a network is for the tests of `onelook.export` to say.

python benchmarks/detector_latency.py --only ssdlite retinanet
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common import show, take_turns
from onelook import detectors, segmenters
from onelook.conversion import convert
from onelook.export.masks import MOST, THRESHOLD
from onelook.nms import nms
from onelook.nn.count import multiply_adds
from onelook.nn.masks import paste
from onelook.runtime.session import open_session
from onelook.trained import Trained, save

CLASSES = tuple(map(str, range(20)))
SCORE, OVERLAP = 0.5, 0.5  # thresholds
V2: dict[str, Any] = {"backbone": "mobilenet_v2"}
RESNET: dict[str, Any] = {"backbone": "resnet50"}
NETWORKS: dict[str, tuple[str, int, dict[str, Any]]] = {  # name, side, options
    "YOLOv1": ("yolo_v1", 448, {"size": [448, 448]}),
    "YOLOv2": ("yolo_v2", 416, {}),
    "YOLOv3": ("yolo_v3", 416, {}),
    "MobileNet-YOLO *": ("yolo_v3", 320, V2),
    "SSD300": ("ssd", 300, {}),
    "SSD512": ("ssd", 512, {"side": 512}),
    "SSDLite *": ("ssdlite", 320, {}),
    "RetinaNet, ResNet-50": ("retinanet", 512, {}),
    "RetinaNet, MobileNetV2 *": ("retinanet", 512, V2),
    "M2Det": ("m2det", 320, {}),
    "Faster R-CNN, VGG-16": ("faster_rcnn", 512, {}),
    "Faster R-CNN, ResNet-50": ("faster_rcnn", 512, RESNET),
    "Faster R-CNN, MobileNetV2 *": ("faster_rcnn", 512, V2),
    "Mask R-CNN, ResNet-50": ("mask_rcnn", 512, {}),
    "Localizer": ("localizer", 224, {}),
    "DeepLabv3 *": ("deeplab_v3", 513, {}),
}


def eager(network: nn.Module, image: Tensor, size: tuple[int, int]) -> Any:
    """What torch makes of a picture [1, 3, H, W]."""
    raw = network(image)
    found = network.decode(raw, size)
    if not hasattr(network, "masks"):
        return found
    boxes, scores = found[0][0], found[1][0]
    box, classes = (scores > SCORE).nonzero(as_tuple=True)
    best = nms(boxes[box], scores[box, classes], OVERLAP, classes)[:MOST]
    boxes, classes = boxes[box[best]], classes[best]
    return paste(network.masks(raw, boxes, classes, torch.zeros_like(classes)), boxes, size) >= THRESHOLD


@torch.no_grad()
def measure(name: str, side: int, options: dict[str, Any], rounds: int, folder: Path) -> tuple[float, ...]:
    """10^9 multiply-adds, and the milliseconds of the model file in both engines and of torch, medians."""
    options = {"classes": len(CLASSES), **options}
    torch.manual_seed(0)
    create = segmenters.create if name in segmenters.ARCHITECTURES else detectors.create
    network = create(name, **options)
    path = save(Trained(name, options, CLASSES, (side, side)), network.state_dict(), folder / "network.safetensors")
    file = convert(path, folder / "network.onnx")
    exact, fastest = open_session(file, "onnxruntime"), open_session(file, "openvino", precision="fastest")
    network.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous() / 255
    thresholds = () if create is segmenters.create else (SCORE, OVERLAP)
    runs = {
        "exact": lambda: exact.run(pixels, *thresholds),
        "fastest": lambda: fastest.run(pixels, *thresholds),
        "torch": lambda: eager(network, image, (side, side)),
    }
    times = {who: 1000 * statistics.median(some) for who, some in take_turns(runs, rounds).items()}
    return multiply_adds(network, (side, side)) / 1e9, times["exact"], times["fastest"], times["torch"]


def main() -> None:
    """Time network after network, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="networks whose names begin so")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for title, (name, side, options) in NETWORKS.items():
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            giga, exact, fastest, eager = measure(name, side, options, arguments.rounds, Path(folder))
        times = (f"{time:.1f}" for time in (exact, fastest, eager))
        rows.append((title, str(side), f"{giga:.2f}", *times, f"{eager / exact:.2f}", f"{eager / fastest:.2f}"))
        print(*rows[-1], file=sys.stderr)
    head = "", "side", "10^9 multiply-adds", "float32, ms", "fastest, ms", "torch eager, ms", "ratio", "ratio"
    show(f"one picture, {torch.get_num_threads()} threads; * depthwise", head, rows)


if __name__ == "__main__":
    main()
