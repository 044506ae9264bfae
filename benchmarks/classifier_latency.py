"""How long do the MobileNets take, from pixels to probabilities, and who is faster?

MobileNetV1 and V2 at 224 x 224, random weights, batch 1 and 16, all processors, contenders by turns, medians. Ours are
sessions that run the whole model file on uint8 pixels. `the same file` is ONNX Runtime called without us; `network alone`
is the network on float32 input that somebody has normalised before, and so is torch eager: the module in evaluation mode
as it is, and with batch normalisation folded as the model file has it. OpenCV's DNN module is left out: 4.14 crashes on
what torch exports.
"""

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from common import has, show, take_turns
from onelook.backbones import create
from onelook.export import export_classifier
from onelook.nn.conv import fold_batch_norm
from onelook.runtime.session import open_session, processors

NETWORKS = ("mobilenet_v1", "mobilenet_v2")
SIDE = 224
OURS, FILE, ALONE = "onelook", "ONNX Runtime, the same file", "ONNX Runtime, network alone"
EAGER, FOLDED = "torch eager", "torch eager, folded"


def bare(path: Path) -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime with threads as ours has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def contenders(name: str, batch: int, folder: Path) -> dict[str, Callable[[], Any]]:
    """The functions to time; all give the same probabilities."""
    torch.manual_seed(0)
    network = create(name)
    whole = nn.Sequential(network, nn.Softmax(1)).eval()
    names = [str(i) for i in range(1000)]
    model = export_classifier(whole, folder / "model.onnx", names, (SIDE, SIDE), network.mean, network.std)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 3), np.uint8)
    image = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - network.mean[0]) / network.std[0]
    image = image.contiguous()
    folded = fold_batch_norm(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(folded, (image,), folder / "alone.onnx", dynamo=True, input_names=["image"], verbose=False)
    same, alone = bare(model), bare(folder / "alone.onnx")
    found: dict[str, Callable[[], Any]] = {
        OURS: partial(open_session(model, "onnxruntime").run, pixels),
        FILE: lambda: same.run(None, {"image": pixels}),
        ALONE: lambda: alone.run(None, {"image": image.numpy()}),
        EAGER: lambda: [whole(image).numpy()],
        FOLDED: lambda: [folded(image).numpy()],
    }
    if has("openvino"):
        found["onelook, OpenVINO"] = partial(open_session(model, "openvino").run, pixels)
    expected = found[EAGER]()[0]
    for who, run in found.items():
        np.testing.assert_allclose(run()[0], expected, atol=1e-4, err_msg=who)
    return found


@torch.no_grad()
def main() -> None:
    """Time network after network, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds
    rows, notes = [], []
    for name in NETWORKS:
        for batch in (1, 16):
            with tempfile.TemporaryDirectory() as folder:
                times = take_turns(contenders(name, batch, Path(folder)), rounds)
            median = {who: statistics.median(some) for who, some in times.items()}
            for who, seconds in median.items():
                rows.append((name, str(batch), who, f"{1000 * seconds:.2f}", f"{seconds / median[OURS]:.2f}"))
            notes.append(
                f"{name}, batch {batch}: onelook takes {median[OURS] / median[FILE] - 1:+.1%} against the same file, "
                f"{median[OURS] / median[ALONE] - 1:+.1%} against the network alone; torch eager takes "
                f"{median[EAGER] / median[OURS]:.2f} times as long, folded {median[FOLDED] / median[OURS]:.2f} times"
            )
    show("Latency of classifiers", ("network", "batch", "run by", "ms, median", "× onelook"), rows, *notes)


if __name__ == "__main__":
    main()
