"""onelook classify."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onelook.cli.run import OnError, Report, open_model, parse_formats, run, run_options
from onelook.cli.show import table

if TYPE_CHECKING:
    from onelook.runtime.classification import Classification


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--model", required=True, help="A model file, or a name that 'onelook models' lists.")
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, help="Classes to show of each picture."
)
@click.option("--save", default="none", show_default=True, help="What to write: any of jpg,json,csv, or none.")
@run_options
def classify(
    sources: tuple[str, ...],
    model: str,
    top: int,
    save: str,
    output: Path | None,
    batch: int,
    engine: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> int:
    """Say what pictures show: files, folders, patterns, videos, cameras (by number) and URLs; any number of them."""
    formats = parse_formats(save, "classify")
    classifier, total = open_model(model, "classify", sources, engine, precision, threads)

    def stream(on_error: OnError) -> "Generator[Classification]":
        found: Generator[Classification] = classifier.stream(list(sources), batch, on_error)
        return found

    return run(stream, sources, total, formats, output, ClassifyReport(total, as_json, top))


class ClassifyReport(Report["Classification"]):
    """A table of the likeliest classes of one picture; of many, a line for each."""

    task = "classify"

    def __init__(self, total: int | None, as_json: bool, top: int):
        super().__init__(total, as_json)
        self._top = top

    def json(self, found: "Classification") -> dict[str, Any]:
        """See `Report`."""
        return found.to_dict(self._top)

    def show(self, found: "Classification") -> None:
        """See `Report`."""
        labels = found.top(self._top)
        if self.single:
            table(("class", "probability"), [(label.name, f"{label.score:.3f}") for label in labels])
            return
        moment = "" if found.frame is None else f" frame {found.frame}"
        print(f"{found.source}{moment}: {'; '.join(f'{label.score:.2f} {label.name}' for label in labels)}")

    def end(self) -> None:
        """See `Report`."""
        if not self.single:
            print(f"{self.pictures} pictures, {self.pictures / self.seconds:.1f} pictures/s")
