"""What the benchmarks share: where the data is, how contenders take turns, the table."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

import onelook
from onelook.conversion import convert

if TYPE_CHECKING:  # most benchmarks do without torch
    from onelook.training import Settings

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("ONELOOK_SHARED", ROOT.parent / "shared"))

# The Darknet models whose detections by Darknet itself are known.
MODELS = ("yolo-fastest-1.1-xl", "yolo-fastest-1.1", "MobileNetV2-YOLOv3-Nano-coco")


def shared(name: str) -> Path:
    """A path in the folder of real data and weights; ends the benchmark where it is absent."""
    path = SHARED / name
    if not path.exists():
        sys.exit(f"{path} is missing; set ONELOOK_SHARED to the folder that holds {name}")
    return path


def darknet_files(model: str) -> tuple[Path, Path]:
    """The cfg and weights of one of the `MODELS`."""
    return shared(f"weights/darknet/{model}.cfg"), shared(f"weights/darknet/{model}.weights")


def model_file(model: str, folder: str | Path, resize: str | None = None) -> Path:
    """One of the `MODELS`, converted into a folder; pictures are resized as it was trained by default."""
    return convert(darknet_files(model), Path(folder) / f"{model}.onnx", "coco", resize=resize)


def has(*packages: str) -> bool:
    """Whether the packages of a peer are installed; says so on stderr where one is not."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: left out", file=sys.stderr)
    return not missing


def yolo11n(folder: Path) -> Path:
    """Ultralytics' yolo11n, exported to OpenVINO for pictures of 320 x 320: the folder of the model.

    Its weights are random, so that it needs no download, and it finds nothing.
    """
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}
    with contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        from ultralytics import YOLO  # type: ignore[attr-defined]

        return folder / YOLO("yolo11n.yaml", task="detect").export(format="openvino", imgsz=320)


def load_yolo(exported: Path | str, precision: str | None = None) -> Any:
    """The model of such a folder, in the precision that OpenVINO chooses or in one of OpenVINO's names ("f32")."""
    import openvino
    from ultralytics import YOLO  # type: ignore[attr-defined]

    def prepare(predictor: Any) -> None:
        if predictor.done_warmup:
            return
        # To warm up is to import torchvision, whose only build on PyPI, for CUDA, does not load beside the CPU build of
        # torch. Without it ultralytics suppresses by a function of its own.
        predictor.done_warmup = True
        if precision is not None:  # it has no option for this
            settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
            network = next(Path(exported).glob("*.xml"))
            predictor.model.backend.ov_compiled_model = openvino.compile_model(network, "CPU", settings)

    model = YOLO(exported, task="detect")
    model.add_callback("on_predict_start", prepare)
    return model


def training_rate(
    data: Path, settings: "Settings", folder: Path, clock: Callable[[], float], steps: tuple[int, int], **how: Any
) -> float:
    """Steps of training a second of a clock, between two of them; what comes before the first is not timed.

    `how` has the further arguments of `onelook.train`.
    """
    ended: list[float] = []

    def stop() -> bool:
        ended.append(clock())
        return len(ended) == steps[1]

    onelook.train(data, settings=settings, validation=None, folder=folder, stop=stop, quiet=True, **how)
    return (len(ended) - steps[0]) / (ended[-1] - ended[steps[0] - 1])


def take_turns(
    contenders: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.2
) -> dict[str, list[float]]:
    """The times, in seconds, that each contender's function takes.

    In each of the rounds every contender has a turn, in an order that rotates. A turn begins with a pause, in which
    the threads of the one before stop spinning, and one run that is not timed; then runs are timed until `seconds` are
    over.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(0.05)
            contenders[name]()
            end = time.perf_counter() + seconds
            while True:
                start = time.perf_counter()
                contenders[name]()
                stop = time.perf_counter()
                times[name].append(stop - start)
                if stop > end:
                    break
    return times


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
    """Print the one table of a benchmark: the first column is text, the others are figures."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    for note in (*notes, _versions()):
        console.print(note, style="dim", highlight=False, soft_wrap=True)


def _versions() -> str:
    """What was measured: the processor and the packages."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = "processor unknown"
    found = []
    for package in ("onnxruntime", "openvino", "opencv-python-headless", "torch", "ultralytics"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{processor}, {os.cpu_count()} cores; {', '.join(found)}"
