"""How long until the first picture is done, and how large is what pip installs?

onelook is installed without torch into a fresh environment, by pip from this repository; its size is that of all files
there. `import onelook` is timed within fresh processes, `onelook detect` with Yolo-Fastest-1.1-xl on one photograph as a
whole process. For ultralytics the same is measured with yolo11n, exported to OpenVINO at 320, in the environment that
runs this script; its size is that of the packages it needs, of those that are installed here. By turns, medians.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from common import ROOT, has, model_file, shared, show, take_turns, yolo11n

IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
PREDICT = "import sys; from common import load_yolo; load_yolo(sys.argv[1]).predict(sys.argv[2], imgsz=320)"


def run(*command: str | Path) -> str:
    """What a process prints."""
    here = Path(__file__).parent
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=here).stdout


def install(folder: Path) -> tuple[Path, int, int]:
    """A fresh environment with onelook: its Python, the bytes installed, and those of them that are bytecode."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", ROOT)
    sizes = [(file.stat().st_size, file.suffix == ".pyc") for file in (folder / "lib").rglob("*") if file.is_file()]
    return python, sum(size for size, _ in sizes), sum(size for size, bytecode in sizes if bytecode)


def installed(package: str, seen: set[str]) -> int:
    """The bytes of a package and of those it needs, where they are installed; `seen` are counted already."""
    name = re.sub(r"[-_.]+", "-", package).lower()
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return 0
    if name in seen:
        return 0
    seen.add(name)
    files = (Path(str(file.locate())) for file in found.files or ())
    size = sum(file.stat().st_size for file in files if file.is_file())
    needs = [need for need in found.requires or () if "extra ==" not in need]
    return size + sum(installed(re.split(r"[^\w.-]", need)[0], seen) for need in needs)


def main() -> None:
    """Install, time, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    rounds = arguments.parse_args().rounds
    picture = shared("data/photos/dog.jpg").resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python, size, bytecode = install(folder / "environment")
        sizes = {"onelook, ONNX Runtime": size}
        model = model_file("yolo-fastest-1.1-xl", folder)
        detect = ("-m", "onelook", "detect", picture, "--model", model, "--output", folder / "output", "--engine")
        imports = {"onelook, ONNX Runtime": partial(run, python, "-c", IMPORT.format("onelook"))}
        detects = {"onelook, ONNX Runtime": partial(run, python, *detect, "onnxruntime")}
        if has("openvino"):
            detects["onelook, OpenVINO"] = partial(run, sys.executable, *detect, "openvino")
        if has("ultralytics", "openvino"):
            name = "ultralytics yolo11n, OpenVINO"
            exported = yolo11n(folder)
            sizes[name] = installed("ultralytics", set()) + installed("openvino", set())
            imports[name] = partial(run, sys.executable, "-c", IMPORT.format("ultralytics.models"))
            detects[name] = partial(run, sys.executable, "-c", PREDICT, exported, picture)
        seconds = {name: statistics.median(float(of()) for _ in range(rounds)) for name, of in imports.items()}
        times = {name: statistics.median(some) for name, some in take_turns(detects, rounds, seconds=0).items()}
    rows = [
        (
            name,
            f"{seconds[name]:.3f}" if name in seconds else "-",
            f"{time:.2f}",
            f"{time / min(times.values()):.2f}",
            f"{sizes[name] / 1e6:.0f}" if name in sizes else "-",
        )
        for name, time in times.items()
    ]
    note = (
        f"onelook without torch: {size / 1e6:.0f} MB, of which Python's bytecode, made by pip, {bytecode / 1e6:.0f} MB"
    )
    show("Start", ("", "import, s", "one picture, s", "× fastest", "installed, MB"), rows, note)


if __name__ == "__main__":
    main()
