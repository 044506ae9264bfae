"""What does a depthwise-separable block save against a full convolution of the same shape?

Parameters and multiply-adds: 1/N + 1/D_K^2, by the formula (Howard et al., 2017, section 3.1), checked here exactly on
the modules. Time: both blocks with batch normalisation folded and ReLU6, batch 1, all processors, by turns, medians, in
ONNX Runtime and in torch eager. The shapes are those of MobileNet's body at 224 x 224.
"""

import argparse
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from common import show, take_turns
from onelook.nn import cost
from onelook.nn.conv import fold_batch_norm
from onelook.nn.count import layers
from onelook.nn.separable import DepthwiseSeparable, regular
from onelook.runtime.session import processors

SHAPES = ((64, 112), (128, 56), (256, 28), (512, 14), (1024, 7))  # channels of input and output, side of the map
KERNEL = 3


def in_onnxruntime(block: nn.Module, x: Tensor, folder: Path) -> Callable[[], object]:
    """A function that runs a block."""
    path = folder / f"{type(block).__name__}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(block, (x,), path, dynamo=True, input_names=["x"], verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x.numpy()})


def exact(channels: int, side: int, blocks: dict[str, nn.Module]) -> Fraction:
    """The saving, counted on the modules; ends the benchmark where the formula says something else."""
    found = []
    for block in blocks.values():
        counted = layers(block, (side, side), channels)
        found.append((sum(one.weights for one in counted), sum(one.multiply_adds for one in counted)))
    full, separable = found
    formula = (
        cost.depthwise_separable(KERNEL, channels, channels, side),
        cost.convolution(KERNEL, channels, channels, side),
    )
    saving = Fraction(1, channels) + Fraction(1, KERNEL**2)
    ratios = {Fraction(a, b) for a, b in zip(separable, full, strict=True)}
    ratios |= {Fraction(a, b) for a, b in zip(*formula, strict=True)}
    if ratios != {saving}:
        sys.exit(f"{channels} channels: the ratios are {ratios}, not {saving}")
    return saving


@torch.no_grad()
def main() -> None:
    """Time shape after shape, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds
    rows = []
    for channels, side in SHAPES:
        pair = (channels, channels)
        saving = exact(channels, side, {"full": regular(pair), "separable": DepthwiseSeparable(pair)})
        x = torch.rand(1, channels, side, side)
        blocks = {"full": fold_batch_norm(regular(pair)), "separable": fold_batch_norm(DepthwiseSeparable(pair))}
        with tempfile.TemporaryDirectory() as folder:
            runs: dict[str, Callable[[], object]] = {}
            for name, block in blocks.items():
                runs[f"{name}, ONNX Runtime"] = in_onnxruntime(block, x, Path(folder))
                runs[f"{name}, torch"] = partial(block, x)
            times = {name: 1000 * statistics.median(some) for name, some in take_turns(runs, rounds).items()}
        row = [f"{channels} x {side} x {side}", f"{saving}", f"{float(saving):.4f}"]
        for engine in ("ONNX Runtime", "torch"):
            full, separable = times[f"full, {engine}"], times[f"separable, {engine}"]
            row += [f"{full:.3f}", f"{separable:.3f}", f"{separable / full:.3f}"]
        rows.append(tuple(row))
    head = ("M = N, map", "1/N + 1/9", "", "ORT: full ms", "separable", "ratio", "torch: full ms", "separable", "ratio")
    show("Depthwise-separable block against a full 3 x 3 convolution", head, rows)


if __name__ == "__main__":
    main()
