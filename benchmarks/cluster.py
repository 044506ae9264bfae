"""Detection on a cluster whose workers are killed: is every picture in the result exactly once, and how fast is it?

A folder of JPEG pictures, copies of those of coco128 val, goes through `onelook.scale` on a Ray of this machine with four
workers of one thread. Four times, at even distances, the process of a worker is killed. Then the Parquet files must hold
every picture once, as many objects as `Detector.stream` finds in a sample of them, and no failure; else the benchmark
ends with status 1.

The rates are of the whole job, of what lies between its first and its last part (without the start of Ray and of the
first workers, with what the killed ones cost), and of `Detector.stream` with as many threads as there are processors
on the first pictures of the same folder, before and after.
"""

import argparse
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import cv2
import psutil  # type: ignore[import-untyped]
from pyarrow import dataset

from common import MODELS, model_file, shared, show
from onelook import scale
from onelook.runtime.detector import Detector
from onelook.runtime.picture import read
from onelook.runtime.session import processors


def copies(folder: Path, count: int, side: int) -> None:
    """So many copies of the pictures of coco128, their longer side reduced to `side` pixels, in folders of 1,000."""
    originals = sorted(shared("data/coco128/images/val2017").glob("*.jpg"))
    first = folder / "originals"
    first.mkdir()
    for file in originals:
        pixels = read(file)
        factor = side / max(pixels.shape)
        small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(first / file.name), cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    for i, file in zip(range(count), itertools.cycle(originals), strict=False):
        copy = folder / "pictures" / f"{i // 1000:03d}" / f"{i:06d}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first / file.name, copy)


def workers() -> list[int]:
    """The processes of this Ray that hold a model."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if child.name().startswith("ray::MapWorker")]


def rate(model: Path, files: list[str]) -> tuple[float, list[int]]:
    """Pictures a second of `Detector.stream`, and how many objects it finds in each."""
    detector = Detector(model, streams=processors())
    start = time.perf_counter()
    found = [len(detections) for detections in detector.stream(files, keep_images=False)]
    return len(files) / (time.perf_counter() - start), found


def main() -> None:
    """Run, kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolo-fastest-1.1-xl", choices=MODELS)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--part", type=int, default=50, help="pictures a part")
    parser.add_argument("--side", type=int, default=320, help="pixels of the pictures' longer side")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--sample", type=int, default=500, help="pictures for Detector.stream")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = Path(temporary) / "pictures", Path(temporary) / "results"
        model = model_file(options.model, temporary)
        copies(Path(temporary), options.pictures, options.side)
        sample = sorted(map(str, folder.rglob("*.jpg")))[: options.sample]
        cv2.setNumThreads(1)
        before, expected = rate(model, sample)

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        start = time.perf_counter()
        ray.init(address="local", num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
        job = scale.prepare([str(folder)], str(output), str(model), part=options.part)
        killed: list[int] = []
        times, done = [], 0
        for part in scale.run(job, "auto", threads=1):
            times.append(time.perf_counter())
            done += part.pictures
            if len(killed) < options.kills and done >= options.pictures * (len(killed) + 1) / (options.kills + 1):
                alive = [pid for pid in workers() if pid not in killed]
                os.kill(alive[0], signal.SIGKILL)
                killed.append(alive[0])
                print(f"{done} pictures done, worker {alive[0]} killed", file=sys.stderr)
        seconds = time.perf_counter() - start
        ray.shutdown()
        after, _ = rate(model, sample)

        table = dataset.dataset(output / "parts").to_table().to_pylist()
        found = {row["source"]: len(row["scores"]) for row in table if row["error"] is None}
        if len(killed) != options.kills:
            sys.exit(f"only {len(killed)} workers were killed")
        if sorted(row["source"] for row in table) != sorted(map(str, folder.rglob("*.jpg"))) or len(found) != len(
            table
        ):
            sys.exit(
                f"{len(table)} rows, {len(found)} pictures without failure; expected {options.pictures}, each once"
            )
        if [found[file] for file in sample] != expected:
            sys.exit("the cluster finds other objects than Detector.stream")
        steady = (done - options.part) / (times[-1] - times[0])
        stream = (before + after) / 2
        rows = [
            ("the whole job", seconds, options.pictures / seconds),
            ("from its first part to its last", times[-1] - times[0], steady),
            (f"Detector.stream before, {processors()} threads, {len(sample)} pictures", len(sample) / before, before),
            ("Detector.stream after", len(sample) / after, after),
        ]
        show(
            f"{options.pictures} pictures, {options.kills} workers killed, {options.workers} at a time: each is there once",
            ("", "seconds", "pictures/s", "× Detector.stream"),
            [(name, f"{time:.1f}", f"{rate:.1f}", f"{rate / stream:.2f}") for name, time, rate in rows],
        )


if __name__ == "__main__":
    main()
