"""onelook segment."""

from collections import defaultdict
from collections.abc import Generator
from typing import TYPE_CHECKING

import click

from onelook.cli.detect import DetectReport
from onelook.cli.run import OnError, Report, open_model, parse_formats, run, run_options
from onelook.cli.show import table
from onelook.errors import Error

if TYPE_CHECKING:
    from onelook.runtime.detections import Detections
    from onelook.runtime.segmentation import Segmentation


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--model", required=True, help="A model file, of classes of pixels or of objects with masks.")
@click.option(
    "--threshold",
    type=float,
    help="Leave out objects of this score or a lower one, 0 to 1; the model's own by default.",
)
@click.option(
    "--save",
    default="jpg",
    show_default=True,
    help="What to write: any of jpg,json,polygons,png (each pixel's class, or number of its object), or none.",
)
@run_options
def segment(
    sources: tuple[str, ...],
    model: str,
    threshold: float | None,
    save: str,
    output: str | None,
    batch: int,
    engine: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> int:
    """Say which pixels show what: of pictures, folders, patterns, videos, cameras (by number) and URLs."""
    formats = parse_formats(save, "segment", output)
    loaded, total = open_model(model, "segment", sources, engine, precision, threads)
    if loaded.task == "segment":
        if threshold is not None:
            raise Error(f"{model}: gives a class to every pixel; --threshold is for models that find objects")

        def regions(on_error: OnError) -> "Generator[Segmentation]":
            results: Generator[Segmentation] = loaded.stream(
                list(sources), batch=batch, on_error=on_error, keep_images="jpg" in formats
            )
            return results

        return run(regions, sources, total, formats, output, SegmentReport(total, as_json))

    def objects(on_error: OnError) -> "Generator[Detections]":
        results: Generator[Detections] = loaded.stream(
            list(sources), threshold, batch=batch, on_error=on_error, keep_images="jpg" in formats
        )
        return results

    return run(objects, sources, total, formats, output, ObjectsReport(total, as_json))


class SegmentReport(Report["Segmentation"]):
    """A table of how much of a picture, or of all of them, is of each class."""

    task = "segment"

    def __init__(self, total: int | None, as_json: bool):
        super().__init__(total, as_json)
        self._shares: defaultdict[str, float] = defaultdict(float)  # the sum over all pictures

    def show(self, found: "Segmentation") -> None:
        """See `Report`."""
        for region in found:
            self._shares[region.name] += region.share

    def end(self) -> None:
        """See `Report`."""
        shares = sorted(self._shares.items(), key=lambda item: -item[1])
        table(("class", "share"), [(name, f"{share / self.pictures:.1%}") for name, share in shares])
        if not self.single:
            print(f"{self.pictures} pictures, {self.pictures / self.seconds:.1f} pictures/s")


class ObjectsReport(DetectReport):
    """Of objects with masks, what `onelook detect` shows."""

    task = "segment"
