"""Model files of segmenters that are made by hand, for pictures of 48 x 32: what they find can be read off the pixels."""

import json
from pathlib import Path

import onnx
import onnx.parser

HEIGHT, WIDTH = 32, 48
SEMANTIC_NAMES = ("background", "cat", "dog", "bird")
INSTANCE_NAMES = ("cat", "dog", "=1+1")
BOXES = ((0.0, 0.0, 24.0, 32.0), (4.0, 8.0, 40.0, 24.0))

# The class of a pixel is its red, 0..255, over 64.
SEMANTIC = """
<ir_version: 10, opset_import: ["" : 20]>
segmenter (uint8[B, 32, 48, 3] image) => (uint8[B, 32, 48] mask) {
    red = Constant <value_int: int = 0> ()
    unit = Constant <value_float: float = 64.0> ()
    channel = Gather <axis: int = 3> (image, red)
    level = Cast <to: int = 1> (channel)
    part = Div (level, unit)
    whole = Floor (part)
    mask = Cast <to: int = 2> (whole)
}
"""

# Two objects in each picture: the pixels of much red, of class 1 and score 0.9, and those of much green, 0 and 0.6.
INSTANCE = """
<ir_version: 10, opset_import: ["" : 20]>
segmenter (uint8[B, 32, 48, 3] image, float score_threshold, float iou_threshold)
=> (float[N, 4] boxes, float[N] scores, int64[N] classes, int64[N] batch_index, uint8[N, 32, 48] masks)
<float[2] own_scores = {0.9, 0.6}, int64[2] own_classes = {1, 0}, float half = {127.5}, int64[1] zero = {0},
 int64[1] one = {1}, int64[1] two = {2}, int64[3] shape = {-1, 32, 48}, int64 first = {0}, int64 step = {1},
 float[2, 4] own_boxes = {0, 0, 24, 32, 4, 8, 40, 24}> {
    level = Cast <to: int = 1> (image)
    above = Greater (level, half)
    bright = Cast <to: int = 2> (above)
    channels = Transpose <perm: ints = [0, 3, 1, 2]> (bright)
    red_green = Slice (channels, zero, two, one)
    all_masks = Reshape (red_green, shape)
    pictures = Shape <start: int = 0, end: int = 1> (image)
    all_scores = Tile (own_scores, pictures)
    all_classes = Tile (own_classes, pictures)
    rows = Concat <axis: int = 0> (pictures, one)
    all_boxes = Tile (own_boxes, rows)
    count = Size (all_scores)
    numbers = Range (first, count, step)
    all_pictures = Div (numbers, two)
    sure = Greater (all_scores, score_threshold)
    boxes = Compress <axis: int = 0> (all_boxes, sure)
    scores = Compress <axis: int = 0> (all_scores, sure)
    classes = Compress <axis: int = 0> (all_classes, sure)
    batch_index = Compress <axis: int = 0> (all_pictures, sure)
    masks = Compress <axis: int = 0> (all_masks, sure)
}
"""


def semantic(path: Path, graph: str = SEMANTIC, **metadata: str) -> Path:
    """A model file that gives a class to every pixel."""
    return _save(path, graph, {"task": "segment", "names": json.dumps(SEMANTIC_NAMES), **metadata})


def instance(path: Path, graph: str = INSTANCE, **metadata: str) -> Path:
    """A model file that finds objects, and the mask of each."""
    own = {"task": "detect", "names": json.dumps(INSTANCE_NAMES), "score_threshold": "0.5", "iou_threshold": "0.45"}
    return _save(path, graph, {**own, **metadata})


def _save(path: Path, graph: str, metadata: dict[str, str]) -> Path:
    model = onnx.parser.parse_model(graph)
    common = {
        "format": "onelook/1",
        "size": f"[{HEIGHT}, {WIDTH}]",
        "resize": "letterbox",
        "sampling": "linear",
        "parameters": "7",
        "multiply_adds": "8",
        "origin": "{}",
    }
    onnx.helper.set_model_props(model, {**common, **metadata})
    onnx.save(model, path)
    return path
