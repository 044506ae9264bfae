"""How much faster is a model file in int8, and what does it cost?

Each model file is converted to int8 here, calibrated on the dataset's pictures to train on, and timed in both engines
against itself in float, by turns, on the photograph of a dog; batch 1, all processors. `× same` is against float32 in the
same engine, `× best` against the faster float32 of both. AP is of the dataset's part to measure on, and left out with
`--no-accuracy`.

    python benchmarks/int8.py helmets --data ../shared/data/helmets
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from common import has, shared, show, take_turns
from onelook.conversion import quantise
from onelook.data import read
from onelook.evaluation import evaluate
from onelook.loading import model_file
from onelook.runtime import picture
from onelook.runtime.resize import place
from onelook.runtime.session import Session, open_session


def settings() -> list[tuple[str, str]]:
    """Engines and precisions to compare."""
    return [
        ("onnxruntime", "float32"),
        *([("openvino", "float32"), ("openvino", "fastest")] if has("openvino") else []),
    ]


def run(session: Session) -> Callable[[], object]:
    """One picture, from pixels to boxes."""
    info = session.info
    pixels = np.zeros((1, *info.size, 3), np.uint8)
    place(picture.read(shared("data/photos/dog.jpg")), pixels[0], info.resize, info.sampling)
    return partial(session.run, pixels, info.score_threshold, info.iou_threshold)


def main() -> None:
    """Convert, time, score, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", help="a model file, or a name that onelook knows")
    arguments.add_argument("--data", required=True, help="a dataset")
    arguments.add_argument("--train", default="train", help="its part to calibrate on")
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--accuracy", action=argparse.BooleanOptionalAction, default=True)
    chosen = arguments.parse_args()
    whole = model_file(chosen.model)
    with tempfile.TemporaryDirectory() as folder:
        pictures = [sample.image for sample in read(chosen.data, chosen.train).samples]
        report = quantise(whole, pictures, Path(folder) / "int8.onnx")
        sessions = {
            (kind, engine, precision): open_session(path, engine, precision=precision)
            for kind, path in (("float", whole), ("int8", report.path))
            for engine, precision in settings()
        }
        runs = {" ".join(key): run(session) for key, session in sessions.items()}
        times = {name: statistics.median(some) for name, some in take_turns(runs, chosen.rounds).items()}
        best = min(times[f"float {engine} float32"] for engine, precision in settings() if precision == "float32")
        rows = []
        for kind, engine, precision in sessions:
            seconds, same = times[f"{kind} {engine} {precision}"], times[f"float {engine} float32"]
            scores = ["", ""]
            if chosen.accuracy:
                path = whole if kind == "float" else report.path
                found = evaluate(path, chosen.data, metric="coco", engine=engine, precision=precision).numbers
                scores = [f"{100 * found['ap']:.1f}", f"{100 * found['ap50']:.1f}"]
            ratios = (f"{same / seconds:.2f}", f"{best / seconds:.2f}")
            rows.append((kind, f"{engine}, {precision}", f"{1000 * seconds:.2f}", *ratios, *scores))
    agreement = ", ".join(f"{value:.1f} dB in {engine}" for engine, value in report.agreement.items())
    note = f"{report.quantised} of {report.convolutions} convolutions in int8, raw maps agree to {agreement}"
    show(f"Int8: {chosen.model}", ("model", "run by", "ms, median", "× same", "× best", "AP", "AP50"), rows, note)


if __name__ == "__main__":
    main()
