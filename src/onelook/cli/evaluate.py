"""onelook evaluate."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onelook.cli.run import path_type
from onelook.cli.show import as_json_option, busy, progress, table
from onelook.errors import Error
from onelook.runtime.picture import shown

if TYPE_CHECKING:
    from onelook.evaluation import Evaluation


@click.command()
@click.argument("model")
@click.argument("data", type=path_type)
@click.option("--split", help="Of the dataset; val by default, or else test.")
@click.option(
    "--metric", help="coco, coco-masks, voc, voc2007, open-images, top-k or mean-iou; the dataset's own by default."
)
@click.option("--size", type=int, help="Side of the input, for a model file that takes any.")
@click.option("--output", "-o", type=path_type, help="Folder for the report, the plots and the page of mistakes.")
@click.option("--save-threshold", is_flag=True, help="Make the best threshold the default of the model file.")
@click.option("--batch", type=int, default=1, show_default=True, help="Pictures a run; more than 1 pays on a GPU.")
@click.option("--engine", default="auto", show_default=True, help="auto, onnxruntime or openvino.")
@click.option("--precision", default="float32", show_default=True, help="float32, or fastest (OpenVINO: bfloat16).")
@click.option("--threads", type=int, help="Of the processor; all of them by default.")
@as_json_option
def evaluate(
    model: str,
    data: Path,
    split: str | None,
    metric: str | None,
    size: int | None,
    output: Path | None,
    save_threshold: bool,
    batch: int,
    engine: str,
    precision: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure a model on a labelled dataset: average precision, curves, the best threshold, the worst mistakes.

    MODEL is a model file, a name that 'onelook models' lists, or a .json file of COCO results. DATA is a folder in the
    format of PASCAL VOC, COCO, Open Images, ImageNet or YOLO, or a COCO file of annotations.
    """
    import cv2

    from onelook.evaluation import evaluate as evaluate_model
    from onelook.evaluation import prepare, read_dataset

    stored = model.endswith(".json")
    if save_threshold and stored:
        raise Error("--save-threshold needs a model file; these are stored results")
    if output is not None:
        prepare(output)
    with busy("Reading the dataset"):
        dataset = read_dataset(data, split)
    cv2.setNumThreads(1)  # each picture has a thread; OpenCV's own would only get in their way
    with busy("Scoring the results") if stored else progress(len(dataset), wanted=True) as step:
        found = evaluate_model(model, dataset, None, metric, size, engine, precision, threads, batch, step)
    for note in found.run.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        _print(found)
    files = found.save(output) if output is not None else []
    if save_threshold:
        files.append(_save_threshold(found))
    for file in files if not as_json else ():
        print(file)


def _save_threshold(found: "Evaluation") -> Path:
    """Raises Error where there is no threshold."""
    from onelook.evaluation import DetectorEvaluation
    from onelook.runtime.metadata import set_metadata

    if not isinstance(found, DetectorEvaluation) or math.isnan(found.threshold):
        raise Error(
            f"{found.run.model}: no threshold to save: a classifier has none, and a detector that is never right"
        )
    return set_metadata(found.run.model, score_threshold=json.dumps(round(found.threshold, 4)))


def _print(found: "Evaluation") -> None:
    from onelook.evaluation import DetectorEvaluation

    rows = found.class_rows()
    head = tuple(rows[0]) if rows else ()
    table(head, [tuple(_cell(row[key]) for key in head) for row in rows])
    table((), [(name, _cell(value)) for name, value in found.numbers.items()])
    if isinstance(found, DetectorEvaluation):
        best = found.curve.best
        figures = f"F1 {_cell(best.f1)}, precision {_cell(best.precision)}, recall {_cell(best.recall)}"
        print(f"best threshold {_cell(best.threshold)}: {figures}")
    run = found.run
    speed = f", {run.pictures_per_second:.1f} pictures/s with {run.engine}" if run.size else ""
    print(f"{len(run.dataset)} pictures of {run.dataset.path}, {run.dataset.split}{speed}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    return shown(str(value))
