"""Runs a reader on as many inputs as asked for, each new one made of those that led the furthest (atheris, libFuzzer).

    python fuzz/run.py READER --inputs 1000000
    python fuzz/run.py READER --seconds 600

An input is a crash that raises anything but what the reader may raise, takes more than a second of the processor's time,
or makes the process take more than a gigabyte. It is written to `runs/fuzz/READER`, and belongs into `fuzz/corpus/READER`
once that is mended. It takes `pip install atheris`.
"""

import argparse
import importlib
import mmap
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 1.0  # of the processor, an input
STALLED = 10  # seconds after which one that does not even reckon is given up
MEGABYTES = 1024  # above what the process takes when it starts
LARGEST = 1 << 14  # bytes of an input
MOST_CRASHES = 100
# The pixels of the largest picture that may be decoded take longer to fill than an input may, so fewer are allowed.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENCV_IO_MAX_IMAGE_PIXELS": str(1 << 22)}
COUNT = "ONELOOK_FUZZ_COUNT"  # names the file in which a process counts its inputs

# The modules of onelook in which new branches are looked for.
READERS = {
    "cfg": ["onelook.darknet.cfg", "onelook.darknet.network", "onelook.darknet.tree", "onelook.nn.wordtree"],
    "weights": ["onelook.darknet.weights"],
    "tflite_file": ["onelook.tflite"],
    "tflite_network": ["onelook.tflite"],
    "model_file": ["onelook.runtime.session"],
    "model_metadata": ["onelook.runtime.metadata", "onelook.runtime.session"],
    "checkpoint": ["onelook.checkpoint", "onelook.trained", "onelook.detectors.rcnn", "onelook.training.run"],
    "voc": ["onelook.data.voc", "onelook.data.table"],
    "coco": ["onelook.data.coco", "onelook.data.table", "onelook.rle"],
    "yolo": ["onelook.data.yolo", "onelook.data.table"],
    "open_images": ["onelook.data.open_images", "onelook.data.table"],
    "picture": ["onelook.runtime.picture", "onelook.runtime.header", "onelook.serve.pixels"],
    "picture_size": ["onelook.runtime.header"],
    "class_map": ["onelook.data.class_maps"],
    "settings": ["onelook.data.settings", "onelook.data.class_maps", "onelook.names", "onelook.evaluation.stored"],
}


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--inputs", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        fuzz(arguments.reader, arguments.child)
    elif arguments.inputs == sys.maxsize and arguments.seconds == float("inf"):
        parser.error("say how many --inputs or --seconds")
    else:
        report(arguments.reader, arguments.inputs, arguments.seconds)


def report(name: str, most: int, seconds: float) -> None:
    """Runs a reader, again after each crash, and prints one line."""
    crashes = ROOT / "runs" / "fuzz" / name
    crashes.mkdir(parents=True, exist_ok=True)
    known = set(crashes.iterdir())
    inputs, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        grown = Path(folder, "corpus")
        grown.mkdir()
        for _ in range(MOST_CRASHES):
            left = min(seconds - (time.monotonic() - start), 1e9)
            if inputs >= most or left < 1:
                break
            options = [grown, ROOT / "fuzz" / "corpus" / name, f"-runs={min(most - inputs, 10**9)}",
                       f"-max_total_time={left:.0f}", f"-artifact_prefix={crashes}/", f"-max_len={LARGEST}",
                       f"-timeout={STALLED}", f"-malloc_limit_mb={MEGABYTES}"]  # fmt: skip
            done, log = once(name, [*map(str, options)], folder)
            inputs += done
            if not done:
                sys.exit(f"{name}: does not start:\n{log}")
    found = len(set(crashes.iterdir()) - known)
    print(f"{name}: {inputs} inputs, {time.monotonic() - start:.0f} seconds, {found} crashes")


def once(name: str, options: list[str], folder: str) -> tuple[int, str]:
    """Runs a reader until the first crash. The number of inputs it was given, and what was printed last."""
    count = Path(folder, "count")
    count.write_bytes(bytes(8))
    child = subprocess.run(
        [sys.executable, __file__, name, "--child", *options],
        env={**os.environ, **ENVIRONMENT, "TMPDIR": folder, COUNT: str(count)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return int.from_bytes(count.read_bytes(), "little"), child.stderr.decode("utf-8", "replace")[-4000:]


def fuzz(name: str, options: list[str]) -> None:
    """In a process of its own, which does not return."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=READERS[name]):
        one_input = importlib.import_module(f"fuzz.{name}").one_input
    for seed in (ROOT / "fuzz" / "corpus" / name).iterdir():
        one_input(seed.read_bytes())  # what is loaded when it is first used is loaded now
    status = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text()))
    limit = int(status["VmSize"]) * 1024 + MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    rss = int(status["VmRSS"]) // 1024 + MEGABYTES
    with open(os.environ[COUNT], "r+b") as file:
        count = mmap.mmap(file.fileno(), 8)

    def limited(data: bytes) -> None:
        count[:] = (int.from_bytes(count, "little") + 1).to_bytes(8, "little")
        start = time.process_time()
        one_input(data)
        seconds = time.process_time() - start
        if seconds > SECONDS:
            raise AssertionError(f"took {seconds:.1f} seconds of the processor")

    atheris.Setup([name, *options, f"-rss_limit_mb={rss}"], limited)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
