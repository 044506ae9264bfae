"""The command line: one function a verb, each reads its arguments, calls the library and prints."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelook.errors import Error, SourceError

if TYPE_CHECKING:
    from onelook.runtime.detections import Detections

app = typer.Typer(
    help="Object detection as the papers define it, run fast on an ordinary CPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout instead of a table.")]


def main() -> None:
    """Run the command line. Exits with 2 and one line on stderr after an error the user can put right."""
    try:
        app()
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `onelook ... | head`
        sys.stderr.close()
        sys.exit(141)


@app.command()
def detect(
    sources: Annotated[
        list[str], typer.Argument(help="Pictures, folders, patterns, videos, camera numbers, URLs; any number.")
    ],
    model: Annotated[
        str | None, typer.Option(help="A model file, or a name that 'onelook models' lists.", show_default=False)
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least score, 0 to 1; the model's own by default.", show_default=False)
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(help="Overlap above which only the better detection stays, 0 to 1.", show_default=False),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Only these, separated by commas: 'person,car'.", show_default=False)
    ] = None,
    save: Annotated[str, typer.Option(help="What to write: any of jpg,json,coco,yolo,csv, or none.")] = "jpg",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write to.", show_default="runs/detect-N")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the input, for a model file that takes any.", show_default=False)
    ] = None,
    batch: Annotated[int, typer.Option(help="Pictures a run of the model; more than 1 pays on a GPU.")] = 1,
    engine: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Of the processor.", show_default="all")] = None,
    as_json: Json = False,
) -> None:
    """Find objects in pictures, videos and cameras."""
    from onelook.loading import DEFAULT_MODEL, load
    from onelook.runtime.session import processors
    from onelook.runtime.sources import count
    from onelook.runtime.writers import open_writer, run_folder

    formats = [] if save in ("none", "") else [word.strip() for word in save.split(",")]
    total = count(sources)
    streams = 1 if total == 1 else threads or processors()
    detector = load(model or DEFAULT_MODEL, engine=engine, threads=threads, streams=streams)
    wanted = None if classes is None else _class_names(classes, detector.info.names)
    stream = detector.stream(sources, threshold, iou, size, batch, on_error := _Errors())
    folder = None
    if formats:
        folder = output or run_folder()
    report = _Report(total, as_json)
    try:
        with open_writer(formats, folder or Path(), sources) as writer, report:
            for detections in stream:
                if wanted is not None:
                    detections = detections.filter(names=wanted)
                writer.write(detections)
                report.add(detections)
    finally:
        report.summary(writer.files, folder, on_error.errors)
    if on_error.errors:
        raise typer.Exit(1 if report.pictures else 2)


@app.command()
def convert(
    cfg: Annotated[Path, typer.Argument(help="Darknet's description of the network.")],
    weights: Annotated[Path, typer.Argument(help="Its trained numbers.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The model file.", show_default="WEIGHTS with .onnx")
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="Class names: coco, voc, or a file of one name a line.", show_default=False)
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input.", show_default="the cfg's")] = None,
    dynamic_size: Annotated[bool, typer.Option("--dynamic-size", help="Take every multiple of 32.")] = False,
    batch: Annotated[int | None, typer.Option(help="Pictures a run.", show_default="any number")] = None,
    resize: Annotated[
        str | None, typer.Option(help="letterbox or stretch.", show_default="letterbox; stretch for YOLOv1")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Default for the least score.")] = 0.25,
    iou: Annotated[float, typer.Option(help="Default for the overlap in suppression.")] = 0.45,
) -> None:
    """Turn a Darknet detector into one self-contained ONNX file."""
    from onelook.conversion import convert as convert_model

    path = convert_model(cfg, weights, output, names, size, dynamic_size, batch, resize, threshold, iou)
    if names is None:
        print("note: without --names the classes are called 'class 0', 'class 1', ...", file=sys.stderr)
    print(path)


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="A model file, or a name that 'onelook models' lists.")],
    as_json: Json = False,
) -> None:
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
def models(as_json: Json = False) -> None:
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


class _Errors:
    """Collects the pictures that could not be read, to be told at the end."""

    def __init__(self) -> None:
        self.errors: list[SourceError] = []

    def __call__(self, error: SourceError) -> None:
        self.errors.append(error)


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
            if self._only is not None:
                rows = [
                    (one.name, f"{one.score:.2f}", " ".join(f"{side:.0f}" for side in one.box)) for one in self._only
                ]
                _table(("class", "score", "box (x1 y1 x2 y2)"), rows)
            elif self.pictures:
                _table(("class", "objects"), [(name, str(n)) for name, n in self.objects.most_common()])
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


def _class_names(text: str, known: tuple[str, ...]) -> set[str]:
    wanted = {word.strip() for word in text.split(",")}
    unknown = sorted(wanted - set(known))
    if unknown:
        raise Error(f"--classes: the model has no class {unknown[0]!r}; 'onelook info' lists what it has")
    return wanted


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
