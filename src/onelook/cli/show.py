"""What the verbs print, and how they stop."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import click

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout instead of a table.")


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Ctrl-C or SIGTERM sets the event, to be heeded between two pictures; a second one interrupts at once."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first_time(*unused: object) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, first_time)
    try:
        yield stop
    finally:
        restore()


@contextlib.contextmanager
def progress(total: int | None, wanted: bool) -> Iterator[Callable[[], None]]:
    """A function to be called after each picture; draws how many are done, at which rate, on a terminal."""
    if total == 1 or not wanted or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} pictures/s"),
        TimeRemainingColumn(),
    )
    # Where both are the terminal, what is printed meanwhile stands above the bar; what goes elsewhere is left alone.
    both = sys.stdout.isatty()
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=both) as bar:
        task = bar.add_task("", total=total, rate=0.0)

        def step() -> None:
            bar.advance(task)
            bar.update(task, rate=bar.tasks[task].completed / (time.perf_counter() - start))

        yield step


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Says on a terminal what takes a while, for as long as it does."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of text under a head; without one, the first column is bold."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        *head, box=box.SIMPLE_HEAD if head else None, show_header=bool(head), pad_edge=False, padding=(0, 1, 0, 0)
    )
    if not head:
        grid.add_column(style="bold")
        grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # lines in a pipe or file are not folded
    console.print(grid)


def markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of text under a head as a table in Markdown."""
    for row in (head, ("---",) * len(head), *rows):
        print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
