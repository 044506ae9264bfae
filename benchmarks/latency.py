"""How long does one picture take, from pixels to boxes, and who is faster?

Batch 1, all processors, the photograph of a dog as prepared input, contenders by turns, medians. Ours are sessions
that run the whole model file: uint8 pixels in, decoding and suppression included, at the threshold that 40 pairs of
box and class pass; as many pass Yolo-Fastest-1.1-xl's own threshold of 0.25 here. The others run the network alone, on
float32 input: ONNX Runtime and torch eager stop at the raw maps, OpenCV's DNN module decodes its boxes too but
suppresses none. Before anything is timed, each peer's results must be those of torch. YOLOv3 has random weights, and
batch-norm statistics that fit them.

The yardstick of what the machine can do is its rate of float32 matrix products, 2048 x 2048, in torch. `share` is the
time that the network's operations would take at that rate, over the time taken.
"""

import argparse
import re
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common import darknet_files, has, shared, show, take_turns
from onelook import darknet
from onelook.conversion import convert
from onelook.nn.conv import ConvBlock, fold_batch_norm
from onelook.runtime import picture
from onelook.runtime.resize import place
from onelook.runtime.session import open_session, processors

SIDE = 2048  # of the matrices
PAIRS = 40  # of box and class, to be suppressed
NETWORKS = ("YOLOv3-416", "yolo-fastest-1.1-xl", "MobileNetV2-YOLOv3-Nano-coco")


def files(name: str, folder: Path) -> tuple[Path, Path]:
    """The cfg and weights of a network; those of YOLOv3 are made here."""
    if name != "YOLOv3-416":
        return darknet_files(name)
    cfg, weights = folder / "yolov3.cfg", folder / "yolov3.weights"
    cfg.write_text(re.sub(r"^(width|height)=\d+", r"\1=416", shared("cfg/yolov3.cfg").read_text(), flags=re.MULTILINE))
    torch.manual_seed(0)
    network = darknet.Darknet(cfg).train()
    for block in network.modules():
        if isinstance(block, ConvBlock) and block.norm is not None:
            block.norm.momentum = 1.0  # take the statistics of the one batch, so that no map grows or dies away
    with torch.no_grad():
        network(torch.rand(2, 3, *network.size))
    darknet.save_weights(network, weights)
    return cfg, weights


class RawMaps(nn.Module):
    """The network as the model file has it, with batch normalisation folded, but without decoding and suppression."""

    def __init__(self, network: darknet.Darknet):
        super().__init__()
        self.network = fold_batch_norm(network)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Float32 [1, 3, H, W] in 0..1, or pixels uint8 [1, H, W, 3] -> the raw maps."""
        if image.dtype == torch.uint8:
            image = image.permute(0, 3, 1, 2).float() / 255
        return tuple(self.network(image))


def bare_onnxruntime(network: darknet.Darknet, image: Tensor, folder: Path) -> Callable[[], list[NDArray[np.float32]]]:
    """A function that runs the network alone on that image, with threads as our session has."""
    path = folder / f"{image.dtype}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(RawMaps(network).eval(), (image,), path, dynamo=True, input_names=["image"], verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: list(session.run(None, {"image": image.numpy()}))


def contenders(name: str, folder: Path) -> tuple[dict[str, Callable[[], Any]], float]:
    """The functions to time, and the network's GFLOP."""
    cfg, weights = files(name, folder)
    network = darknet.load(cfg, weights)
    pixels = np.zeros((1, *network.size, 3), np.uint8)
    place(picture.read(shared("data/photos/dog.jpg")), pixels[0], "letterbox", "linear")
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous() / 255
    blob: NDArray[np.float32] = image.numpy()
    with torch.no_grad():
        raw = network(image)
        best = network.decode(raw, network.size)[1].flatten().topk(PAIRS + 1).values.tolist()

    found: dict[str, Callable[[], Any]] = {}
    model = convert((cfg, weights), folder / "model.onnx")
    for engine, title in (("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")):
        if has(engine):
            found[f"onelook, {title}"] = partial(open_session(model, engine).run, pixels, best[PAIRS], 0.45)
    found["ONNX Runtime, network alone"] = bare = bare_onnxruntime(network, image, folder)
    found["ONNX Runtime, network alone on uint8"] = bare_onnxruntime(network, torch.from_numpy(pixels), folder)
    _agree("ONNX Runtime", max(float(np.abs(a.numpy() - b).max()) for a, b in zip(raw, bare(), strict=True)), 0)
    if hasattr(cv2.dnn, "readNetFromDarknet"):
        peer = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
        peer.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        outputs = peer.getUnconnectedOutLayersNames()

        def opencv(blob: NDArray[np.float32] = blob) -> Any:
            peer.setInput(blob)
            return peer.forward(outputs)

        opencv(np.zeros_like(blob))  # so that what comes next was computed then
        _agree(
            "OpenCV", max(float(rows[:, 5:].max()) for rows in opencv()), best[0] if best[0] > 0.2 else 0
        )  # 0 for less
        found[f"OpenCV {cv2.__version__} DNN"] = opencv
    else:
        print(f"OpenCV {cv2.__version__} reads no Darknet files: left out", file=sys.stderr)
    found["torch eager, network alone"] = lambda: network(image)
    return found, 2 * network.multiply_adds / 1e9


def _agree(who: str, found: float, expected: float) -> None:
    if not abs(found - expected) < 2e-3:
        sys.exit(f"{who} computes something else: {found} instead of {expected}")


@torch.no_grad()
def main() -> None:
    """Time network after network, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds
    a, b = torch.rand(2, SIDE, SIDE).unbind()
    rows, notes = [], []
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            runs, gflop = contenders(name, Path(folder))
            times = take_turns(runs | {"product": lambda: a @ b}, rounds)
        median = {who: statistics.median(some) for who, some in times.items()}
        rate = 2 * SIDE**3 / 1e9 / median.pop("product")
        bare, pixels, ours = (
            median[f"{who}"]
            for who in ("ONNX Runtime, network alone", "ONNX Runtime, network alone on uint8", "onelook, ONNX Runtime")
        )
        for who, seconds in median.items():
            share = f"{gflop / rate / seconds:.0%}"
            rows.append((name, who, f"{1000 * seconds:.2f}", f"{seconds / min(median.values()):.2f}", share))
        notes.append(
            f"{name}: {gflop:.2f} GFLOP, matrix products {rate:.0f} GFLOP/s; the model file in ONNX Runtime: "
            f"{ours / bare - 1:+.1%} of the network alone, pixels to float {pixels / bare - 1:+.1%}, "
            f"post-processing {(ours - pixels) / bare:+.1%}"
        )
    show("Latency, one picture", ("network", "run by", "ms, median", "× fastest", "share"), rows, *notes)


if __name__ == "__main__":
    main()
