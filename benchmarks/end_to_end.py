"""Pictures a second from JPEG files to JSON, against what decoding and inference alone allow, and against ultralytics.

Yolo-Fastest-1.1-xl at 320 on the 128 pictures of coco128 val, all processors, contenders by turns, medians:

- `Detector.stream`: each result as a row of JSON in memory; also as OpenVINO runs it with precision="fastest";
- `onelook detect --save json`: by the rate it prints, and as a whole process with its start;
- decoding alone and inference alone, each in as many threads as there are processors. As both keep all processors busy,
  the two together cannot take less than the sum of their times: 1 / (1 / decoding + 1 / inference) is the bound;
- ultralytics, yolo11n exported to OpenVINO at 320, `predict(folder, stream=True)`, each result as JSON too. Its weights
  are random, and it finds nothing: suppression and results cost it less than they would with trained ones. As it comes,
  OpenVINO chooses its precision, bfloat16 on processors that multiply it fast; ours is always float32.

--memory instead runs `onelook detect` on folders of 1,000 and 10,000 links to these pictures, and prints the most
memory that it had.
"""

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import onelook
from common import has, load_yolo, model_file, shared, show, take_turns, yolo11n
from onelook.runtime.resize import place
from onelook.runtime.session import open_session, processors
from onelook.runtime.sources import pictures


def stages(model: Path, folder: Path, engine: str) -> dict[str, Callable[[], object]]:
    """The two halves of the work, each alone and in all threads."""
    session = open_session(model, engine, streams=processors())
    info = session.info
    executor = ThreadPoolExecutor(processors())
    queue = list(pictures(folder))
    canvases = np.zeros((len(queue), 1, *info.size, 3), np.uint8)
    for picture, canvas in zip(queue, canvases, strict=True):
        place(picture.load(), canvas[0], info.resize, info.sampling)
    scores, ious = itertools.repeat(info.score_threshold), itertools.repeat(info.iou_threshold)
    return {
        "decoding alone": lambda: [None for _ in executor.map(lambda picture: picture.load() is None, queue)],
        "inference alone": lambda: list(executor.map(session.run, canvases, scores, ious)),
    }


def command(model: Path, folder: Path, engine: str, output: Path) -> list[str]:
    """The command line that detects in a folder."""
    options = ["--model", model, "--engine", engine, "--save", "json", "--output", output]
    return [sys.executable, "-m", "onelook", "detect", str(folder), *map(str, options)]


def predict(peer: Any, folder: Path) -> list[str]:
    """The results of ultralytics as JSON."""
    return [json.dumps(found.summary()) for found in peer.predict(folder, stream=True, imgsz=320)]


def peak_memory(model: Path, folder: Path, engine: str) -> None:
    """Print how much memory `onelook detect` takes for a thousand and for ten thousand pictures."""
    import psutil  # type: ignore[import-untyped]

    files = sorted(folder.glob("*.jpg"))
    rows = []
    for count in (1_000, 10_000):
        with tempfile.TemporaryDirectory() as links:
            for i, file in zip(range(count), itertools.cycle(files), strict=False):
                (Path(links) / f"{i:06d}.jpg").symlink_to(file.resolve())
            peak, start = 0, time.perf_counter()
            with tempfile.TemporaryDirectory() as output:
                process = psutil.Popen(command(model, Path(links), engine, Path(output)), stdout=subprocess.DEVNULL)
                while process.poll() is None:
                    peak = max(peak, process.memory_info().rss)
                    time.sleep(0.05)
            if process.returncode:
                sys.exit(f"onelook detect ended with {process.returncode}")
            rows.append((f"{count:,}", f"{peak / 2**20:.0f}", f"{time.perf_counter() - start:.1f}"))
    show("Memory of onelook detect", ("pictures", "peak, MiB", "seconds"), rows)


def main() -> None:
    """Time, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--engine", default="auto", help="auto, onnxruntime or openvino")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--memory", action="store_true", help="measure memory, not time")
    options = arguments.parse_args()
    folder = shared("data/coco128/images/val2017")
    count = len(list(folder.glob("*.jpg")))
    with tempfile.TemporaryDirectory() as temporary:
        model = model_file("yolo-fastest-1.1-xl", temporary)
        if options.memory:
            peak_memory(model, folder, options.engine)
            return
        detector = onelook.load(model, engine=options.engine, streams=processors())
        printed: list[float] = []

        def detect() -> None:
            run = command(model, folder, options.engine, Path(temporary) / "output")
            text = subprocess.run(run, check=True, capture_output=True, text=True).stdout
            printed.extend(count / float(rate) for rate in re.findall(r"([\d.]+) pictures/s", text))

        runs: dict[str, Callable[[], object]] = {
            "Detector.stream": lambda: [json.dumps(found.to_dict()) for found in detector.stream(folder)],
            "onelook detect, whole process": detect,
            **stages(model, folder, options.engine),
        }
        if has("openvino"):
            fastest = onelook.load(model, engine="openvino", streams=processors(), precision="fastest")
            title = f"Detector.stream, {fastest.engine}"
            runs[title] = lambda: [json.dumps(found.to_dict()) for found in fastest.stream(folder)]
        if has("ultralytics", "openvino"):
            exported = yolo11n(Path(temporary))
            runs["ultralytics yolo11n"] = partial(predict, load_yolo(exported), folder)
            runs["ultralytics yolo11n in float32"] = partial(predict, load_yolo(exported, "f32"), folder)
        times = take_turns(runs, options.rounds, seconds=0)
    times["onelook detect, as it prints"] = printed
    median = {name: statistics.median(some) for name, some in times.items()}
    median["bound: both, overlapped"] = bound = median["decoding alone"] + median["inference alone"]
    rows = [
        (name, f"{count / seconds:.1f}", f"{bound / seconds:.0%}", f"{median['Detector.stream'] / seconds:.2f}")
        for name, seconds in sorted(median.items(), key=lambda item: item[1])
    ]
    head = f"End to end, {count} pictures on {processors()} processors, {detector.engine}"
    show(head, ("", "pictures/s", "share of the bound", "× Detector.stream"), rows)


if __name__ == "__main__":
    main()
