"""onelook benchmark."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onelook.cli.run import path_type
from onelook.cli.show import as_json_option, table
from onelook.errors import Error

if TYPE_CHECKING:
    from onelook.benchmarking import Benchmark


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--data", type=path_type, help="Labelled dataset to measure the accuracy on; without it, none is.")
@click.option("--split", help="Of the dataset; val by default, or else test.")
@click.option("--engine", "engines", multiple=True, default=("auto",), show_default=True,
              help="auto, onnxruntime or openvino; may be given several times.")  # fmt: skip
@click.option("--size", "sizes", type=int, multiple=True,
              help="Side of the input, for detectors that take any; may be given several times.")  # fmt: skip
@click.option("--runs", type=int, default=50, show_default=True, help="How often each is timed, at least.")
@click.option("--threads", type=int, help="Of the processor; all of them by default.")
@click.option(
    "--published", is_flag=True, help="Show what papers print beside, in the picture; needs --data, --output."
)
@click.option("--output", "-o", type=path_type, help="Folder for the report, the table and the picture.")
@as_json_option
def benchmark(
    models: tuple[str, ...],
    data: Path | None,
    split: str | None,
    engines: tuple[str, ...],
    sizes: tuple[int, ...],
    runs: int,
    threads: int | None,
    published: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Measure models side by side: accuracy, latency, throughput, memory and size.

    Each MODEL is a model file or a name that 'onelook models' lists. It is measured with every engine and at every size.
    """
    from onelook.benchmarking import benchmark as measure
    from onelook.evaluation import prepare, read_dataset
    from onelook.evaluation.run import DEFAULT_METRICS

    dataset = None if data is None else read_dataset(data, split)
    if published and (output is None or dataset is None or DEFAULT_METRICS[dataset.format] != "coco"):
        raise Error("--published needs --output, and --data with a dataset whose metric is COCO's AP")
    if output is not None and dataset is not None:
        prepare(output)
    with _telling() as tell:
        found = measure(models, dataset, None, engines, sizes or (None,), runs, threads, tell)
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        _print(found)
    for note in dict.fromkeys(f"note: {row.model}: {note}" for row in found.measurements for note in row.notes):
        print(note, file=sys.stderr)
    for row in found.failures:
        print(f"error: {row}", file=sys.stderr)
    if output is not None:
        for file in found.save(output, published and bool(found.measurements)):
            print(file, file=sys.stderr if as_json else sys.stdout)
    return _code(found)


def _print(found: "Benchmark") -> None:
    """Two tables, so that they fit a terminal: how well and how fast; how large."""
    head, rows = found.table()
    row, cut = 3, head.index("session ms")  # a row's own columns come first
    table(head[:cut], [cells[:cut] for cells in rows])
    table(head[:row] + head[cut:], [cells[:row] + cells[cut:] for cells in rows])
    print(found.conditions())


def _code(found: "Benchmark") -> int:
    """0 where every row has figures, 1 where some have, 2 where none has."""
    if not found.failures:
        return 0
    return 1 if found.measurements else 2


@contextlib.contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """A function that says on a terminal what is being done."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update
