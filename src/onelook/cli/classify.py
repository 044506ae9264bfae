"""onelook classify."""

import dataclasses
from collections.abc import Generator
from typing import TYPE_CHECKING

import click

from onelook.cli.run import OnError, Report, open_model, parse_formats, run, run_options
from onelook.cli.show import table

if TYPE_CHECKING:
    from onelook.runtime.classification import Classification


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--model", help="A model file, or a name that 'onelook models' lists.")
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, help="Classes to show and save of each picture."
)
@click.option("--save", default="none", show_default=True, help="What to write: any of jpg,json,csv, or none.")
@run_options
def classify(
    sources: tuple[str, ...],
    model: str | None,
    top: int,
    save: str,
    output: str | None,
    batch: int,
    engine: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> int:
    """Say what pictures show: files, folders, patterns, videos, cameras (by number) and URLs; any number of them."""
    from onelook.loading import DEFAULT_CLASSIFIER

    formats = parse_formats(save, "classify", output)
    classifier, total = open_model(model or DEFAULT_CLASSIFIER, "classify", sources, engine, precision, threads)

    def stream(on_error: OnError) -> "Generator[Classification]":
        results: Generator[Classification] = classifier.stream(
            list(sources), batch=batch, on_error=on_error, keep_images="jpg" in formats
        )
        return (dataclasses.replace(found, shown=top) for found in results)

    return run(stream, sources, total, formats, output, ClassifyReport(total, as_json))


class ClassifyReport(Report["Classification"]):
    """A table of the likeliest classes of one picture; of many, a line for each."""

    task = "classify"

    def show(self, found: "Classification") -> None:
        """See `Report`."""
        from onelook.runtime.picture import shown

        if self.single:
            table(("class", "probability"), [(shown(label.name), f"{label.score:.3f}") for label in found])
            return
        moment = "" if found.frame is None else f" frame {found.frame}"
        labels = "; ".join(f"{label.score:.2f} {shown(label.name)}" for label in found)
        print(f"{shown(found.source)}{moment}: {labels}", flush=True)

    def end(self) -> None:
        """See `Report`."""
        if not self.single:
            print(f"{self.pictures} pictures, {self.pictures / self.seconds:.1f} pictures/s")
