"""onelook detect."""

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING

import click

from onelook.cli.run import OnError, Report, open_model, parse_formats, run, run_options
from onelook.cli.show import table
from onelook.errors import Error

if TYPE_CHECKING:
    from onelook.runtime.detections import Detections


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--model", help="A model file, or a name that 'onelook models' lists.")
@click.option(
    "--threshold",
    type=float,
    help="Leave out objects of this score or a lower one, 0 to 1; the model's own by default.",
)
@click.option("--iou", type=float, help="Overlap above which only the better detection stays, 0 to 1.")
@click.option("--classes", help="Only these, separated by commas: 'person,car'.")
@click.option("--save", default="jpg", show_default=True, help="What to write: any of jpg,json,coco,yolo,csv, or none.")
@click.option("--size", type=int, help="Side of the input, for a model file that takes any.")
@click.option("--cluster", help="Use the machines of a Ray cluster, write Parquet: ray://HOST:PORT, auto, or local.")
@click.option("--part", type=int, default=1000, show_default=True, help="Pictures a file, with --cluster.")
@run_options
def detect(
    sources: tuple[str, ...],
    model: str | None,
    threshold: float | None,
    iou: float | None,
    classes: str | None,
    save: str,
    size: int | None,
    cluster: str | None,
    part: int,
    output: str | None,
    batch: int,
    engine: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> int:
    """Find objects in pictures, folders, patterns, videos, cameras (by number) and URLs; any number of them.

    With --cluster, in folders and s3:// or gs:// prefixes that all machines see.
    """
    from onelook.loading import DEFAULT_MODEL
    from onelook.runtime.detections import check_names

    wanted = None if classes is None else {word.strip() for word in classes.split(",")}
    if cluster is not None:
        from onelook.cli.cluster import detect_on_cluster

        if save != "jpg":
            raise Error("--save is for one machine; a cluster writes Parquet")
        limits = (threshold, iou, size, wanted, part, engine, precision)
        return detect_on_cluster(cluster, sources, output, model or DEFAULT_MODEL, limits, threads, batch, as_json)
    formats = parse_formats(save, "detect", output)
    detector, total = open_model(model or DEFAULT_MODEL, "detect", sources, engine, precision, threads)
    check_names(wanted or (), detector.info.names)

    def stream(on_error: OnError) -> "Generator[Detections]":
        results: Generator[Detections] = detector.stream(
            list(sources), threshold, iou, size, batch=batch, on_error=on_error, keep_images="jpg" in formats
        )
        return results if wanted is None else (found.filter(names=wanted) for found in results)

    return run(stream, sources, total, formats, output, DetectReport(total, as_json))


class DetectReport(Report["Detections"]):
    """A table of the objects in one picture; of how many of each class in many."""

    task = "detect"

    def __init__(self, total: int | None, as_json: bool):
        super().__init__(total, as_json)
        self._objects: Counter[str] = Counter()
        self._only: Detections | None = None

    def show(self, found: "Detections") -> None:
        """See `Report`."""
        self._objects.update(found.names)
        self._only = found if self.single else None

    def end(self) -> None:
        """See `Report`."""
        if not self._objects:
            print("nothing found")
        elif self._only is not None:
            rows = [(one.name, f"{one.score:.2f}", " ".join(f"{side:.0f}" for side in one.box)) for one in self._only]
            table(("class", "score", "box (x1 y1 x2 y2)"), rows)
        else:
            table(("class", "objects"), [(name, str(n)) for name, n in self._objects.most_common()])
        if self._only is None:
            rate = self.pictures / self.seconds
            print(f"{self.pictures} pictures, {self._objects.total()} objects, {rate:.1f} pictures/s")
