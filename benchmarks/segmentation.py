"""The imported DeepLabv3 on photographs of COCO: as its file says it, how good, how fast.

The quantized file of TensorFlow's authors, converted: our model file reckons in float32 with its dequantized weights, the
interpreter of TensorFlow Lite in whole numbers as it was trained to. Both see the same pictures, letterboxed to 513 x 513.
`same class` is the share of pixels to which both give the same one, of all 128 pictures of coco128's val2017; the mean over
the pictures, and the least.

The mean IoU is measured on the 100 of them that have class maps, on the pictures as they are, without the grey bars: each
pixel of the map has the class that the network says of the nearest pixel of its input. COCO's classes are taken for VOC's of
the same meaning, all others for background; what has no label does not count. It is the mean over the classes of VOC that
are in the maps, and background. The published 75.3% are of the float network, on VOC's own pictures (arXiv:1801.04381,
Table 7), whose people outline objects better than COCO's maps do.

Latency: one picture, contenders by turns, medians.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from common import has, shared, show, take_turns
from onelook.data.class_maps import class_map_of, read_class_map, read_class_numbers
from onelook.export.segmenter import export_segmenter
from onelook.metrics.segmentation import IGNORE, SegmentationResult, mean_iou
from onelook.names import BACKGROUND, VOC
from onelook.nn.conv import fold_batch_norm
from onelook.nn.count import multiply_adds
from onelook.runtime import picture
from onelook.runtime.resize import Placement, place
from onelook.runtime.session import processors
from onelook.tflite.segmenter import load

Mask = NDArray[np.integer]
Run = Callable[[NDArray[np.uint8]], Mask]

FILE = "weights/tflite/deeplabv3_mnv2_pascal_quant.tflite"
NAMES = (BACKGROUND, *VOC)
COCO_TO_VOC = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
    "couch": "sofa",
    "tv": "tvmonitor",
}


def interpreter(path: Path) -> Run:
    """TensorFlow Lite's own: uint8 [1, H, W, 3] -> classes [1, H, W]."""
    from ai_edge_litert.interpreter import Interpreter

    lite: Any = Interpreter(str(path), num_threads=processors())
    lite.allocate_tensors()
    (into,), (out,) = lite.get_input_details(), lite.get_output_details()

    def run(image: NDArray[np.uint8]) -> Mask:
        lite.set_tensor(into["index"], image)
        lite.invoke()
        found: Mask = lite.get_tensor(out["index"])
        return found

    return run


def model_file(path: Path) -> Run:
    """The model file in ONNX Runtime, with threads as onelook's sessions have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processors()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})[0]


def eager(network: Any) -> Run:
    """The network in torch, as it is."""

    @torch.no_grad()
    def run(image: NDArray[np.uint8]) -> Mask:
        raw = network(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255)
        found: Mask = network.decode(raw, image.shape[1:3]).numpy()
        return found

    return run


def to_voc(folder: Path) -> NDArray[np.uint8]:
    """VOC's number of each of COCO's: [256]."""
    table = np.zeros(256, np.uint8)
    for number, name in read_class_numbers(folder / "mask-classes.yaml").items():
        name = COCO_TO_VOC.get(name, name)
        table[number] = IGNORE if name == "unlabeled" else NAMES.index(name) if name in NAMES else 0
    return table


def on_picture(mask: Mask, placement: Placement) -> Mask:
    """A letterboxed mask [h, w] as one of the picture [H, W]."""
    width, height = placement.width, placement.height
    left, top = map(int, placement.offset)
    columns, rows = round(width * placement.scale[0]), round(height * placement.scale[1])
    part = np.ascontiguousarray(mask[top : top + rows, left : left + columns].astype(np.uint8))
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


def measured(result: SegmentationResult) -> tuple[str, str, str]:
    """Mean IoU with and without background of the classes that are there, and the share of pixels that are right."""
    there = result.confusion.sum(1) > 0
    iou = result.class_iou
    return (
        f"{iou[there].mean():.1%}",
        f"{iou[1:][there[1:]].mean():.1%} of {there[1:].sum()}",
        f"{result.pixel_accuracy:.1%}",
    )


def main() -> None:
    """Compare, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds
    found, folder = load(shared(FILE)), shared("data/coco128")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.onnx"
        count = sum(x.numel() for x in found.network.parameters())
        export_segmenter(
            found.network,
            path,
            NAMES,
            found.size,
            parameters=count,
            multiply_adds=multiply_adds(found.network, found.size),
        )
        runs = {"onelook, the model file": model_file(path), "torch eager": eager(found.network)}
        runs["torch eager, folded"] = eager(fold_batch_norm(found.network))
        if has("ai_edge_litert"):
            runs["TensorFlow Lite, quantized"] = interpreter(shared(FILE))
        ours, *_, last = runs
        compared = [ours, last] if "Lite" in last else [ours]

        images = sorted((folder / "images/val2017").glob("*.jpg"))
        mapped = {file.stem for file in (folder / "masks/val2017").glob("*.png")}
        table = to_voc(folder)
        truths: list[Mask] = []
        masks: dict[str, list[Mask]] = {who: [] for who in compared}
        same: list[float] = []
        canvas = np.zeros((1, *found.size, 3), np.uint8)
        for image in images:
            placement = place(picture.read(image), canvas[0], "letterbox", "linear")
            said = {who: runs[who](canvas)[0] for who in compared}
            same.append(float(np.mean(said[ours] == said[compared[-1]])))
            if image.stem in mapped:
                truths.append(table[read_class_map(class_map_of(image))])
                for who, mask in said.items():
                    masks[who].append(on_picture(mask, placement))
        times = take_turns({who: lambda run=run: run(canvas) for who, run in runs.items()}, rounds)  # type: ignore[misc]
    rows = []
    for who in runs:
        figures = measured(mean_iou(truths, masks[who], NAMES)) if who in masks else ("", "", "")
        rows.append((who, *figures, f"{1000 * statistics.median(times[who]):.1f}"))
    notes = [f"{count / 1e6:.2f} million parameters"]
    if len(compared) > 1:
        notes.append(
            f"same class as TensorFlow Lite: {np.mean(same):.2%} of the pixels, {min(same):.1%} of the worst picture; "
            f"{np.mean(np.array(same) > 0.97):.0%} of the pictures are above 97%"
        )
    head = ("DeepLabv3 on MobileNetV2", "mean IoU", "without background", "pixels right", "ms, median")
    show(f"{len(truths)} class maps of COCO, {len(images)} photographs", head, rows, *notes)


if __name__ == "__main__":
    main()
