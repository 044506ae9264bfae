"""The command line: one function a verb, each reads its arguments, calls the library and prints."""

import contextlib
import json
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onelook import __version__
from onelook.errors import Error, SourceError

if TYPE_CHECKING:
    from onelook.runtime.detections import Detections

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout instead of a table.")
path_type = click.Path(path_type=Path)


def main() -> None:
    """Run the command line. Exits with 2 and one line on stderr after an error the user can put right."""
    from onelook.runtime.picture import silence_native_stderr

    silence_native_stderr()
    try:
        sys.exit(app(standalone_mode=False))
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `onelook ... | head`
        sys.stderr.close()
        sys.exit(141)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="onelook")
def app() -> None:
    """Object detection as the papers define it, run fast on an ordinary CPU."""


@app.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--model", help="A model file, or a name that 'onelook models' lists.")
@click.option("--threshold", type=float, help="Least score, 0 to 1; the model's own by default.")
@click.option("--iou", type=float, help="Overlap above which only the better detection stays, 0 to 1.")
@click.option("--classes", help="Only these, separated by commas: 'person,car'.")
@click.option("--save", default="jpg", show_default=True, help="What to write: any of jpg,json,coco,yolo,csv, or none.")
@click.option("--output", "-o", type=path_type, help="Folder to write to; runs/detect-1, -2, ... by default.")
@click.option("--size", type=int, help="Side of the input, for a model file that takes any.")
@click.option("--batch", type=int, default=1, show_default=True, help="Pictures a run; more than 1 pays on a GPU.")
@click.option("--engine", default="auto", show_default=True, help="auto, onnxruntime or openvino.")
@click.option("--precision", default="float32", show_default=True, help="float32, or fastest (OpenVINO: bfloat16).")
@click.option("--threads", type=int, help="Of the processor; all of them by default.")
@as_json_option
def detect(
    sources: tuple[str, ...],
    model: str | None,
    threshold: float | None,
    iou: float | None,
    classes: str | None,
    save: str,
    output: Path | None,
    size: int | None,
    batch: int,
    engine: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> int:
    """Find objects in pictures, folders, patterns, videos, cameras (by number) and URLs; any number of them."""
    import cv2

    from onelook.loading import DEFAULT_MODEL, load
    from onelook.runtime.detections import check_names
    from onelook.runtime.session import processors
    from onelook.runtime.sources import count
    from onelook.runtime.writers import check_formats, open_writer, run_folder

    formats = [] if save in ("none", "") else [word.strip() for word in save.split(",")]
    check_formats(formats)
    total = count(list(sources))
    streams = 1 if total == 1 else threads or processors()
    if streams > 1:
        cv2.setNumThreads(1)  # each picture has a thread; OpenCV's own would only get in their way
    detector = load(model or DEFAULT_MODEL, engine=engine, threads=threads, streams=streams, precision=precision)
    wanted = None if classes is None else {word.strip() for word in classes.split(",")}
    check_names(wanted or (), detector.info.names)
    errors: list[SourceError] = []
    stream = detector.stream(list(sources), threshold, iou, size, batch, on_error=errors.append)
    folder = output or (run_folder() if formats else Path())
    report = _Report(total, as_json)
    with open_writer(formats, folder, sources) as writer, report, contextlib.closing(stream), _stoppable() as stop:
        for detections in stream:
            found = detections if wanted is None else detections.filter(names=wanted)
            writer.write(found)
            report.add(found)
            if stop.is_set():
                break
    report.summary(writer.files, folder, errors)
    if not report.pictures and formats and output is None:
        shutil.rmtree(folder)
    if stop.is_set():
        print(f"interrupted; the files hold the {report.pictures} pictures done until then", file=sys.stderr)
        return 130
    if not errors:
        return 0
    return 1 if report.pictures else 2


@app.command()
@click.argument("cfg", type=path_type)
@click.argument("weights", type=path_type)
@click.option("--output", "-o", type=path_type, help="The model file; WEIGHTS with .onnx by default.")
@click.option("--names", help="Class names: coco, voc, or a file of one name a line.")
@click.option("--size", type=int, help="Side of the input; the cfg's by default.")
@click.option("--dynamic-size", is_flag=True, help="Take every multiple of 32.")
@click.option("--batch", type=int, help="Pictures a run; any number by default.")
@click.option("--resize", help="letterbox or stretch; letterbox by default, stretch for YOLOv1.")
@click.option("--threshold", type=float, default=0.25, show_default=True, help="Default for the least score.")
@click.option("--iou", type=float, default=0.45, show_default=True, help="Default for the overlap in suppression.")
def convert(
    cfg: Path,
    weights: Path,
    output: Path | None,
    names: str | None,
    size: int | None,
    dynamic_size: bool,
    batch: int | None,
    resize: str | None,
    threshold: float,
    iou: float,
) -> None:
    """Turn a Darknet detector into one self-contained ONNX file."""
    from onelook.conversion import convert as convert_model

    path = convert_model(cfg, weights, output, names, size, dynamic_size, batch, resize, threshold, iou)
    if names is None:
        print("note: without --names the classes are called 'class 0', 'class 1', ...", file=sys.stderr)
    print(path)


@app.command()
@click.argument("model")
@as_json_option
def info(model: str, as_json: bool) -> None:
    """Say what a model file is: task, classes, input, size, where it comes from."""
    from onelook.loading import load

    found = load(model, engine="onnxruntime").info
    height, width = found.size
    facts: dict[str, Any] = {
        "file": str(found.path),
        "bytes": found.path.stat().st_size,
        "task": found.task,
        "classes": list(found.names),
        "input": {"width": width, "height": height, "dynamic_size": found.dynamic_size, "batch": found.batch},
        "resize": found.resize,
        "score_threshold": found.score_threshold,
        "iou_threshold": found.iou_threshold,
        "parameters": found.parameters,
        "multiply_adds": found.multiply_adds,
        "origin": found.origin,
    }
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    shown = ", ".join(found.names[:10]) + (", ..." if len(found.names) > 10 else "")
    rows = {
        "file": f"{found.path} ({found.path.stat().st_size / 1e6:.1f} MB)",
        "task": found.task,
        "classes": f"{len(found.names)}: {shown}",
        "input": f"{width} x {height}{' or any multiple of 32' if found.dynamic_size else ''}, {found.resize}, "
        f"{found.batch or 'any number of'} pictures a run",
        "thresholds": f"score {found.score_threshold}, IoU {found.iou_threshold}",
        "parameters": f"{found.parameters:,}",
        "multiply-adds": f"{found.multiply_adds:,}",
        **found.origin,
    }
    _table((), [(key, str(value)) for key, value in rows.items()])


@app.command()
@as_json_option
def models(as_json: bool) -> None:
    """List what can be loaded by name."""
    from onelook.zoo import CATALOGUE

    if as_json:
        from dataclasses import asdict

        print(json.dumps([asdict(model) for model in CATALOGUE.values()], ensure_ascii=False))
        return
    rows = []
    for model in CATALOGUE.values():
        score = f"{model.published.ap50:.1f} {model.published.dataset}" if model.published else "-"
        size = f"{model.size} x {model.size}"
        rows.append(
            (model.name, size, str(len(model.classes)), f"{model.weights.size / 1e6:.1f} MB", score, model.licence)
        )
    _table(("name", "input", "classes", "weights", "published AP50", "licence"), rows)


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, to be heeded between two pictures; a second one interrupts at once."""
    stop = threading.Event()

    def first_time(*unused: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first_time)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


class _Report:
    """What the terminal shows of a run: a table for one picture, progress and a summary for many."""

    def __init__(self, total: int | None, as_json: bool):
        self.pictures = 0
        self.objects: Counter[str] = Counter()
        self._total, self._as_json = total, as_json
        self._only: Detections | None = None
        self._progress: Any = None
        self._start = time.perf_counter()

    def __enter__(self) -> None:
        self._start = time.perf_counter()
        if self._total != 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.1f} pictures/s"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._progress.start()
            self._task = self._progress.add_task("", total=self._total, rate=0.0)

    def __exit__(self, *unused: object) -> None:
        self._seconds = time.perf_counter() - self._start
        if self._progress is not None:
            self._progress.stop()

    def add(self, detections: "Detections") -> None:
        self.pictures += 1
        self.objects.update(detections.names)
        self._only = detections if self._total == 1 else None
        if self._as_json:
            print(json.dumps(detections.to_dict(), ensure_ascii=False), flush=True)
        if self._progress is not None:
            rate = self.pictures / (time.perf_counter() - self._start)
            self._progress.update(self._task, completed=self.pictures, rate=rate)

    def summary(self, files: list[Path], folder: Path | None, errors: list[SourceError]) -> None:
        if not self._as_json:
            if self.pictures and not self.objects:
                print("nothing found")
            elif self._only is not None:
                rows = [
                    (one.name, f"{one.score:.2f}", " ".join(f"{side:.0f}" for side in one.box)) for one in self._only
                ]
                _table(("class", "score", "box (x1 y1 x2 y2)"), rows)
            elif self.pictures:
                _table(("class", "objects"), [(name, str(n)) for name, n in self.objects.most_common()])
            if self.pictures and self._only is None:
                rate = self.pictures / self._seconds
                print(f"{self.pictures} pictures, {self.objects.total()} objects, {rate:.1f} pictures/s")
            if len(files) == 1:
                print(files[0])
            elif files:
                print(f"{len(files)} files in {folder}")
        for error in errors:
            print(f"error: {error}", file=sys.stderr)
        if len(errors) > 1 or (errors and self.pictures):
            print(f"{len(errors)} of {len(errors) + self.pictures} pictures could not be read", file=sys.stderr)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=box.SIMPLE_HEAD if head else None, show_header=bool(head), pad_edge=False)
    if not head:
        table.add_column(style="bold")
        table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # lines in a pipe or file are not folded
    console.print(table)
