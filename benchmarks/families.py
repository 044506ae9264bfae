"""How well the families of detectors learn BCCD in the same minutes; RetinaNet with each gamma of the focal loss.

One recipe for all: a MobileNetV1 of alpha 0.5 with ImageNet's weights, 320 x 320, AdamW. Some steps of each are timed first,
and as many epochs are taken as fit. COCO's AP of the model file on the split "test". The minutes are of processor time, so
that what else runs on the machine does not count; give it one thread (OMP_NUM_THREADS=1).

python benchmarks/families.py --minutes 8
python benchmarks/families.py --gammas 0 0.5 1 2 5 --minutes 5
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import onelook
from common import shared, show, training_rate
from onelook.data import read
from onelook.training import Settings

FAMILIES = "mobilenet_yolo", "ssdlite", "retinanet", "faster_rcnn"
BACKBONE: dict[str, Any] = {"backbone": "mobilenet_v1", "alpha": 0.5}
PROBE = 3, 15  # steps that are not timed, and after which timing ends
Row = tuple[str, str, str, str, str]


def learn(model: str, minutes: float, switches: dict[str, Any], folder: Path) -> Row:
    """Train on "train", measure on "test": a row of the table but for its name."""
    data = shared("data/bccd")
    how: dict[str, Any] = {
        **BACKBONE,
        "weights": shared("weights/tflite/mobilenet_v1_0.5_160_quant.tflite"),
        "switches": switches,
    }
    recipe: dict[str, Any] = {"size": (320, 320), "learning_rate": 2e-3}
    rate = Settings().batch * training_rate(
        data, Settings(**recipe), folder / "probe", time.process_time, PROBE, model=model, **how
    )
    epochs = max(1, round(minutes * 60 * rate / len(read(data, "train"))))
    start = time.process_time()
    settings = Settings(epochs=epochs, **recipe)
    result = onelook.train(data, model, settings=settings, validation=None, folder=folder / "run", quiet=True, **how)
    taken = (time.process_time() - start) / 60
    assert result.model is not None
    numbers = onelook.evaluate(result.model, data, "test", "coco").numbers
    return f"{numbers['ap']:.3f}", f"{numbers['ap50']:.3f}", str(epochs), f"{rate:.1f}", f"{taken:.1f}"


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, each, of the processor")
    parser.add_argument("--models", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="which to train")
    parser.add_argument(
        "--gammas", nargs="+", type=float, help="train RetinaNet with each of these in place of the families"
    )
    arguments = parser.parse_args()
    runs: dict[str, tuple[str, dict[str, Any]]] = {model: (model, {}) for model in arguments.models}
    if arguments.gammas:
        runs = {f"retinanet, gamma {gamma:g}": ("retinanet", {"gamma": gamma}) for gamma in arguments.gammas}
    rows = []
    for name, (model, switches) in runs.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append((name, *learn(model, arguments.minutes, switches, Path(folder))))
        print(*rows[-1], file=sys.stderr)
    title = f"BCCD, test, {arguments.minutes:g} minutes each, {torch.get_num_threads()} threads"
    show(title, ("", "AP", "AP50", "epochs", "pictures/s", "minutes"), rows)


if __name__ == "__main__":
    main()
