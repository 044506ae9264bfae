"""Top-1 and top-5 of the imported MobileNets on 200 photographs of ImageNet, beside the TensorFlow Lite interpreter.

The four quantized files of TensorFlow's authors, converted: our model file reckons in float32 with their dequantized
weights, the interpreter in whole numbers as they were trained to. Both see the same pixels: the centred square of 87.5%
of the shorter side, resized to the network's input. `same class` is the share of photographs to which both give the same
one; `or equal` counts those too where the interpreter cannot tell its class from ours, as its logits, which are whole
numbers of steps up to a highest one, are equal for both. The correlation is Pearson's, of the logits of a photograph's
1001 classes, which our file's probabilities are the exponential of; its median and its least over the photographs.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onelook
from common import has, shared, show
from onelook.architectures import accuracy
from onelook.metrics import top_k
from onelook.names import imagenet
from onelook.runtime import picture
from onelook.runtime.resize import place

# The file, and its published top-1 and top-5 on all 50,000 validation pictures.
FILES = {
    "mobilenet_v1_0.25_128": (39.5, 64.4),
    "mobilenet_v1_0.5_160": (57.7, 80.4),
    "mobilenet_v1_0.75_192": (66.1, 86.4),
    "mobilenet_v2_1.0_224": (70.8, 89.9),
}


class Interpreter:
    """TensorFlow Lite's own interpreter: uint8 [H, W, 3] -> the logits [1001] before the last softmax."""

    def __init__(self, path: Path):
        from ai_edge_litert.interpreter import Interpreter as Lite

        self.lite: Any = Lite(str(path), experimental_preserve_all_tensors=True)
        self.lite.allocate_tensors()
        self.input = self.lite.get_input_details()[0]["index"]
        (softmax,) = (op for op in self.lite._get_ops_details() if op["op_name"] == "SOFTMAX")
        details = {one["index"]: one for one in self.lite.get_tensor_details()}
        self.logits = int(softmax["inputs"][0])
        self.scale, self.zero = details[self.logits]["quantization"]

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """See the class."""
        self.lite.set_tensor(self.input, image[None])
        self.lite.invoke()
        return (self.lite.get_tensor(self.logits)[0].astype(float) - self.zero) * self.scale


def compare(name: str, folder: Path) -> tuple[str, ...]:
    """A row of the table."""
    path = shared(f"weights/tflite/{name}_quant.tflite")
    classifier = onelook.load(onelook.convert(path, folder / f"{name}.onnx"))
    assert isinstance(classifier, onelook.Classifier)
    photographs = shared("data/imagenet200")
    top1, top5, _ = accuracy(classifier, photographs)
    row = (name, f"{100 * top1:.1f} / {100 * top5:.1f}", "{:.1f} / {:.1f}".format(*FILES[name]))
    if not has("ai_edge_litert"):
        return row
    interpreter = Interpreter(path)
    canvas = np.zeros((1, *classifier.info.size, 3), np.uint8)
    ours, theirs, classes = [], [], []
    for file in sorted(photographs.iterdir()):
        place(picture.read(file), canvas[0], "crop", "linear", classifier.info.crop)
        ours.append(np.log(classifier.session(1).run(canvas)[0][0].astype(float)))
        theirs.append(interpreter(canvas[0]))
        classes.append(list(imagenet()).index(file.name.partition("_")[0]) + 1)
    same = np.mean([a.argmax() == b.argmax() for a, b in zip(ours, theirs, strict=True)])
    equal = np.mean([b[a.argmax()] == b.max() for a, b in zip(ours, theirs, strict=True)])
    correlation = [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(ours, theirs, strict=True)]
    their1, their5 = top_k(theirs, classes, 1), top_k(theirs, classes, 5)
    return (
        *row,
        f"{100 * their1:.1f} / {100 * their5:.1f}",
        f"{same:.1%}",
        f"{equal:.1%}",
        f"{np.median(correlation):.4f} / {min(correlation):.4f}",
    )


def main() -> None:
    """Compare, print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(name, Path(folder)) for name in FILES]
    head = (
        "network",
        "top-1 / top-5",
        "published",
        "TensorFlow Lite",
        "same class",
        "or equal",
        "correlation, median / least",
    )
    show("200 photographs of ImageNet", head[: len(rows[0])], rows)


if __name__ == "__main__":
    main()
