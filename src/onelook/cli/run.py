"""What `detect`, `classify` and `segment` have in common: pictures through a model, results on the screen and into files."""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import click

from onelook.cli.show import as_json_option, progress, stoppable
from onelook.errors import Error, ModelError, SourceError

if TYPE_CHECKING:
    from onelook.runtime.classification import Classification
    from onelook.runtime.detections import Detections
    from onelook.runtime.segmentation import Segmentation

path_type = click.Path(path_type=Path)

Found = TypeVar("Found", "Detections", "Classification", "Segmentation")
OnError = Callable[[SourceError], None]


def run_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options of these verbs, behind those that they have of their own."""
    options = (
        click.option("--output", "-o", help="Folder to write to; runs/VERB-1, -2, ... by default."),
        click.option(
            "--batch", type=int, default=1, show_default=True, help="Pictures a run; more than 1 pays on a GPU."
        ),
        click.option("--engine", default="auto", show_default=True, help="auto, onnxruntime or openvino."),
        click.option(
            "--precision", default="float32", show_default=True, help="float32, or fastest (OpenVINO: bfloat16)."
        ),
        click.option("--threads", type=int, help="Of the processor; all of them by default."),
        as_json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def open_model(
    model: str, task: str, sources: Sequence[str], engine: str, precision: str, threads: int | None
) -> tuple[Any, int | None]:
    """The model for a task, and how many pictures there are where that can be known.

    To segment, one that finds objects serves too, where it gives their masks.
    """
    import cv2

    from onelook.loading import load
    from onelook.runtime.session import processors
    from onelook.runtime.sources import count

    total = count(list(sources))
    streams = 1 if total == 1 else threads or processors()
    if streams > 1:
        cv2.setNumThreads(1)  # each picture has a thread; OpenCV's own would only get in their way
    loaded = load(model, engine=engine, threads=threads, streams=streams, precision=precision)
    if loaded.task != task and not (task == "segment" and loaded.info.masks):
        raise ModelError(f"{model}: is a model to {loaded.task}, not to {task}; use 'onelook {loaded.task}'")
    return loaded, total


class Report(Generic[Found]):
    """What the terminal shows of a run.

    Args:
        total: pictures, where that is known.
        as_json: print a line of JSON a picture, and no tables.
    """

    task: ClassVar[str]

    def __init__(self, total: int | None, as_json: bool):
        self.pictures = 0
        self.seconds = 0.0
        self.single = total == 1
        self._as_json = as_json
        # A line of JSON is never broken, so on the terminal it has no progress bar below it.
        self.shows_progress = not (as_json and sys.stdout.isatty())

    def add(self, found: Found) -> None:
        """Count a picture, and show it."""
        self.pictures += 1
        if self._as_json:
            print(json.dumps(found.to_dict(), ensure_ascii=False), flush=True)
        else:
            self.show(found)

    def show(self, found: Found) -> None:
        """Print, or note for the end, what was found in a picture."""
        raise NotImplementedError

    def end(self) -> None:
        """Print what was found in all pictures."""
        raise NotImplementedError

    def summary(
        self, files: list[Path], folder: Path, errors: list[SourceError], undrawn: Sequence[SourceError] = ()
    ) -> None:
        """Print the end, the files, and the errors: of pictures that could not be read, and of those not drawn."""
        if not self._as_json:
            if self.pictures:
                self.end()
            if len(files) == 1:
                print(files[0])
            elif files:
                print(f"{len(files)} files in {folder}")
        for error in (*errors, *undrawn):
            print(f"error: {error}", file=sys.stderr)
        if len(errors) > 1 or (errors and self.pictures):
            print(f"{len(errors)} of {len(errors) + self.pictures} pictures could not be read", file=sys.stderr)


def run(
    stream: Callable[[OnError], Generator[Found]],
    sources: Sequence[str],
    total: int | None,
    formats: Sequence[str],
    output: str | None,
    report: Report[Found],
) -> int:
    """Take the results of a stream to the screen and into files, until it ends or Ctrl-C; gives the exit code."""
    from onelook.runtime.writers import open_writer, run_folder

    errors: list[SourceError] = []
    undrawn: list[SourceError] = []
    with stoppable() as stop:

        def on_error(error: SourceError) -> None:
            errors.append(error)
            if stop.is_set():
                raise _Stopped

        results = stream(on_error)
        folder = Path(output) if output else run_folder(name=report.task) if formats else Path()
        start = time.perf_counter()
        with (
            open_writer(formats, folder, sources, report.task) as writer,
            progress(total, report.shows_progress) as step,
            contextlib.suppress(_Stopped),
            contextlib.closing(results),
        ):
            for found in results:
                try:
                    writer.write(found)
                except SourceError as error:
                    undrawn.append(error)
                report.add(found)
                step()
                if stop.is_set():
                    break
    report.seconds = time.perf_counter() - start
    files = writer.files
    if not report.pictures and formats and output is None:
        shutil.rmtree(folder)
        files = []
    report.summary(files, folder, errors, undrawn)
    if stop.is_set():
        print(f"interrupted; the files hold the {report.pictures} pictures done until then", file=sys.stderr)
        return 130
    if not errors and not undrawn:
        return 0
    return 1 if report.pictures else 2


class _Stopped(Exception):  # noqa: N818 - it is no error
    """Ctrl-C or SIGTERM, heeded where a picture failed."""


def parse_formats(save: str, task: str, output: str | None) -> list[str]:
    """The formats that --save names. Raises Error for one that the task does not have, and for --output without any."""
    from onelook.runtime.writers import check_formats

    formats = [] if save in ("none", "") else [word.strip() for word in save.split(",")]
    check_formats(formats, task)
    if output is not None and not formats:
        raise Error("--output says where files go; say with --save which ones")
    return formats
