"""How long COCO's twelve numbers take at full size: 5000 pictures, 36,335 objects, 500,000 detections, 80 classes.

The two files are made at random: four detections in five are moved objects. Every contender is a fresh process that reads
both files and gives the numbers, in an order that rotates; the time is that of the whole process. onelook also makes the
curves, the confusion matrix and the list of mistakes. pycocotools takes a minute or two, and a turn only when asked for.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from common import has, show
from onelook.names import COCO, COCO_CATEGORY_IDS

PICTURES, OBJECTS, DETECTIONS, WIDTH, HEIGHT = 5000, 36_335, 500_000, 640, 480

ONELOOK = """
import json, subprocess, sys
command = [sys.executable, "-m", "onelook", "evaluate", results, truth, "--json"]
found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
numbers = list(found["metrics"].values())
"""
FASTER_COCO_EVAL = """
from faster_coco_eval import COCO, COCOeval_faster
coco = COCO(truth)
evaluation = COCOeval_faster(coco, coco.loadRes(results), "bbox")
evaluation.run()
numbers = list(evaluation.stats)
"""
PYCOCOTOOLS = """
import contextlib, io
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO(truth)
    evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
numbers = list(evaluation.stats)
"""
# ru_maxrss is in KiB on Linux; the process that does the work is this one or its child.
END = """
import json, resource
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"numbers": numbers, "peak": peak * 1024}))
"""


def write_files(folder: Path) -> tuple[Path, Path]:
    """The files of results and of annotations."""
    random = np.random.default_rng(0)
    ids = np.sort(random.choice(600_000, PICTURES, replace=False))
    size = np.exp(random.normal(4, 1, (OBJECTS, 2))).clip(4, 400)
    corner = random.uniform(0, 1, (OBJECTS, 2)) * ([WIDTH, HEIGHT] - size)
    boxes = np.floor(100 * np.hstack((corner, size))) / 100
    picture, kind = random.integers(0, PICTURES, OBJECTS), random.integers(0, len(COCO), OBJECTS)
    annotations = [
        {"id": i, "image_id": int(ids[p]), "category_id": COCO_CATEGORY_IDS[k], "bbox": box, "area": box[2] * box[3],
         "iscrowd": int(i % 100 == 0)}
        for i, (p, k, box) in enumerate(zip(picture, kind, boxes.tolist(), strict=True), start=1)
    ]  # fmt: skip
    images = [{"id": int(i), "file_name": f"{i:012d}.jpg", "width": WIDTH, "height": HEIGHT} for i in ids]
    categories = [{"id": i, "name": name} for i, name in zip(COCO_CATEGORY_IDS, COCO, strict=True)]
    truth = {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    of = random.integers(0, OBJECTS, DETECTIONS)
    moved = (boxes[of] * random.normal(1, 0.1, (DETECTIONS, 4))).round(2).clip(1)
    there = random.random(DETECTIONS) < 0.8
    picture = np.where(there, picture[of], random.integers(0, PICTURES, DETECTIONS))
    kind = np.where(there, kind[of], random.integers(0, len(COCO), DETECTIONS))
    scores = random.random(DETECTIONS).round(5)
    results = [
        {"image_id": int(ids[p]), "category_id": COCO_CATEGORY_IDS[k], "bbox": box, "score": score}
        for p, k, box, score in zip(picture, kind, moved.tolist(), scores.tolist(), strict=True)
    ]
    paths = folder / "results.json", folder / "instances_val2017.json"
    for path, content in zip(paths, (results, truth), strict=True):
        path.write_text(json.dumps(content))
    return paths


def measure(code: str, results: Path, truth: Path) -> tuple[float, Mapping[str, Any]]:
    """Seconds of one run, and what it printed."""
    script = f"results, truth = {str(results)!r}, {str(truth)!r}\n{code}\n{END}"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, compare, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--pycocotools", action="store_true", help="measure it too, once")
    options = arguments.parse_args()
    contenders = {"onelook evaluate": ONELOOK}
    if has("faster_coco_eval"):
        contenders["faster-coco-eval"] = FASTER_COCO_EVAL
    names = list(contenders)
    turns = [name for i in range(options.rounds) for name in names[i % len(names) :] + names[: i % len(names)]]
    if options.pycocotools and has("pycocotools"):
        contenders["pycocotools"] = PYCOCOTOOLS
        turns.append("pycocotools")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    peaks = dict.fromkeys(contenders, 0)
    numbers: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        results, truth = write_files(Path(folder))
        for name in track(turns, "Measuring"):
            elapsed, found = measure(contenders[name], results, truth)
            seconds[name].append(elapsed)
            peaks[name] = max(peaks[name], found["peak"])
            numbers[name] = found["numbers"]
    rows = []
    for name in contenders:
        off = max(abs(a - b) for a, b in zip(numbers[name], numbers["onelook evaluate"], strict=True))
        lowest, highest = f"{min(seconds[name]):.1f}", f"{max(seconds[name]):.1f}"
        rows.append((name, f"{statistics.median(seconds[name]):.1f}", f"{lowest} to {highest}",
                     f"{peaks[name] / 1e9:.2f}", f"{numbers[name][0]:.6f}", f"{off:.1e}"))  # fmt: skip
    head = ("by", "seconds, median", "range", "peak GB", "AP", "greatest difference of the twelve")
    show(f"COCO's numbers of {DETECTIONS:,} detections in {PICTURES} pictures", head, rows)


if __name__ == "__main__":
    main()
