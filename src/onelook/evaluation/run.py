"""A model, or what one has found before, against a labelled dataset."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from onelook import rle
from onelook.data import Dataset, Rle, Sample, read, splits
from onelook.data.class_maps import class_names, has_class_map, load_class_map
from onelook.errors import Error, SourceError
from onelook.evaluation.classes import common_classes, match_class_maps
from onelook.evaluation.result import (
    ClassifierEvaluation,
    DetectorEvaluation,
    Run,
    SegmenterEvaluation,
    detector_evaluation,
)
from onelook.evaluation.stored import read_results
from onelook.loading import load
from onelook.metrics import (
    CocoResult,
    Found,
    OpenImagesResult,
    VocResult,
    classifier_result,
    coco_ap,
    mean_iou,
    open_images_ap,
    segmentation_result,
    voc_ap,
)
from onelook.metrics.coco import need
from onelook.runtime.classifier import Classifier
from onelook.runtime.detections import Detections
from onelook.runtime.detector import Detector
from onelook.runtime.picture import shown
from onelook.runtime.segmenter import Segmenter
from onelook.runtime.session import processors

METRICS = ("coco", "coco-masks", "voc", "voc2007", "open-images", "top-k", "mean-iou")
DEFAULT_METRICS = {"coco": "coco", "yolo": "coco", "voc": "voc", "open-images": "open-images", "imagenet": "top-k"}
TASKS = {"top-k": "classify", "mean-iou": "segment"}  # what a metric is for; the others are for detection
SCORE_THRESHOLD = 0.001  # the curves need the unsure detections too
MOST = 100  # detections of a picture that COCO admits

Step = Callable[[], None]
Source = str | Path | tuple[str | Path, str | Path]  # of a model that is not loaded yet
Result = TypeVar("Result")


def evaluate(
    model: Source | Detector | Classifier | Segmenter,
    data: str | Path | Dataset,
    split: str | None = None,
    metric: str | None = None,
    size: int | tuple[int, int] | None = None,
    engine: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    batch: int = 1,
    step: Step | None = None,
) -> DetectorEvaluation | ClassifierEvaluation | SegmenterEvaluation:
    """Measure how good a model is on a labelled dataset.

    Classes are matched by their names. What only one of both knows is left out, and a note says so.

    Args:
        model: what `onelook.load` takes; a model that is loaded; or a .json file of COCO results, which are scored as
            they are.
        data: what `onelook.data.read` takes, or a dataset that is read.
        split: of the dataset; by default "val" if it has that, else "test", else the only one there is.
        metric: one of `METRICS`; by default the one of the dataset's format, "mean-iou" of a segmenter. "coco-masks" needs a
            model that finds masks, or stored results that have them.
        size: of a detector's input, where its model file takes any.
        engine, precision, threads: as of `onelook.load`.
        batch: pictures a run of the model.
        step: called after each picture.

    Returns:
        A `DetectorEvaluation`, `ClassifierEvaluation` or `SegmenterEvaluation`.

    Raises:
        DataError: no such dataset or split; results that are not of this dataset.
        Error: an unknown metric, or one that is not for this model or data; no class in common.
        ModelError, MissingDependencyError: as of `onelook.load`; faster-coco-eval is needed for the metrics of COCO.
    """
    if metric is not None and metric not in METRICS:
        raise Error(f"unknown metric {metric[:32]!r}; known are {', '.join(METRICS)}")
    dataset = data if isinstance(data, Dataset) else read_dataset(data, split)
    where = shown(str(dataset.path))
    if not dataset.samples:
        raise Error(f"{where}: has no pictures in the split {dataset.split!r}")
    stored = Path(model) if isinstance(model, str | Path) and str(model).endswith(".json") else None
    loaded: Detector | Classifier | Segmenter | None = None
    if not isinstance(model, str | Path | tuple):
        loaded = model
    elif stored is None:
        loaded = _load(model, engine, precision, threads)
    task = loaded.task if loaded else "detect"
    metric = metric or ("mean-iou" if task == "segment" else DEFAULT_METRICS[dataset.format])
    if metric in ("coco", "coco-masks"):
        need("faster_coco_eval", "COCO's AP")  # known before the work, not after
    if metric == "top-k" and not all(len(sample.labels) for sample in dataset.samples):
        raise Error(f"{where}: has pictures without a class of their own; the metric top-k needs one of each")
    if metric not in TASKS and not any(len(sample) for sample in dataset.samples):
        raise Error(f"{where}: has no boxes in the split {dataset.split!r}; the metric {metric} needs them")
    if metric == "coco-masks" and all(mask is None for sample in dataset.samples for mask in sample.masks):
        raise Error(f"{where}: has no masks in the split {dataset.split!r}; the metric coco-masks needs them")
    if TASKS.get(metric, "detect") != task:
        raise Error(f"the metric {metric} is not for a model to {task}")
    if isinstance(loaded, Segmenter):
        return _segmenter(loaded, dataset, batch, step)
    if isinstance(loaded, Classifier):
        return _classifier(loaded, dataset, batch, step)
    if isinstance(loaded, Detector):
        return _detector(loaded, dataset, metric, size, batch, step)
    assert stored is not None
    return _stored(stored, dataset, metric)


def _load(model: Source, engine: str, precision: str, threads: int | None) -> Detector | Classifier | Segmenter:
    return load(model, engine=engine, precision=precision, threads=threads, streams=threads or processors())


def read_dataset(data: str | Path, split: str | None = None) -> Dataset:
    """A dataset to measure on; the split is by default "val" if there is one, else "test", else the only one.

    Raises:
        DataError: no such dataset or split.
        Error: there are several splits, and none of these.
    """
    known = splits(data)
    wanted = [split] if split else [name for kind in ("val", "test") for name in known if name.startswith(kind)]
    if not wanted and len(known) > 1:
        raise Error(f"{shown(str(data))}: say which split: {', '.join(map(shown, known))}")
    return read(data, (*wanted, *known)[0])


def _stored(path: Path, dataset: Dataset, metric: str) -> DetectorEvaluation:
    start = time.perf_counter()
    dataset, found = read_results(path, dataset, metric == "coco-masks")
    run = Run(str(path), "stored results", dataset, time.perf_counter() - start)
    return _scored(run, found, metric)


def _detector(
    model: Detector, dataset: Dataset, metric: str, size: int | tuple[int, int] | None, batch: int, step: Step | None
) -> DetectorEvaluation:
    by_masks = metric == "coco-masks"
    if by_masks and not model.info.masks:
        raise Error(f"{model.info.path}: finds boxes alone; the metric coco-masks is for a model that finds masks")
    matched, dataset, notes = common_classes(model.info.names, dataset)
    results: dict[str, Found] = {}
    errors: list[SourceError] = []
    start = time.perf_counter()
    stream = model.stream(_images(dataset.samples), SCORE_THRESHOLD, size=size, batch=batch, on_error=errors.append)
    for one in stream:
        kinds = matched[one.classes]
        # The highest scores are first.
        kept = np.flatnonzero(kinds >= 0)[: MOST if metric in ("coco", "coco-masks") else None]
        masks = _masks(one[kept]) if by_masks else ()
        results[one.source] = Found(one.boxes[kept], one.scores[kept], kinds[kept], masks)
        if step:
            step()
    seconds = time.perf_counter() - start
    samples, found, more = _read_ones(dataset, results, errors)
    used = (size, size) if isinstance(size, int) else size or model.info.size
    dataset = dataclasses.replace(dataset, samples=samples)
    run = Run(str(model.info.path), model.engine, dataset, seconds, used, model.info.iou_threshold, (*notes, *more))
    return _scored(run, found, metric)


def _masks(found: Detections) -> list[Rle]:
    assert found.masks is not None
    return [Rle((found.height, found.width), rle.compress(runs)) for runs in found.masks.runs]


def _scored(run: Run, found: Sequence[Found], metric: str) -> DetectorEvaluation:
    samples, names = run.dataset.samples, run.dataset.names
    result: CocoResult | VocResult | OpenImagesResult
    if metric in ("coco", "coco-masks"):
        result = coco_ap(samples, found, names, by_masks=metric == "coco-masks")
    elif metric == "open-images":
        result = open_images_ap(samples, found, names, run.dataset.parents)
    else:
        result = voc_ap(samples, found, names, eleven_points=metric == "voc2007")
    return detector_evaluation(run, metric, result, found)


def _classifier(model: Classifier, dataset: Dataset, batch: int, step: Step | None) -> ClassifierEvaluation:
    matched, dataset, notes = common_classes(model.info.names, dataset)
    dataset = dataclasses.replace(dataset, samples=tuple(sample for sample in dataset.samples if len(sample.labels)))
    # The model's classes that the dataset has not get numbers behind those that it has: they can only be wrong.
    columns = len(dataset.names) + int((matched < 0).sum())
    number = matched.copy()
    number[matched < 0] = np.arange(len(dataset.names), columns)
    extra = tuple(name for name, place in zip(model.info.names, matched, strict=True) if place < 0)
    results: dict[str, NDArray[np.int64]] = {}
    errors: list[SourceError] = []
    start = time.perf_counter()
    for one in model.stream(_images(dataset.samples), batch=batch, on_error=errors.append):
        results[one.source] = number[np.argsort(-one.probabilities, kind="stable")[:5]]
        if step:
            step()
    seconds = time.perf_counter() - start
    samples, best, more = _read_ones(dataset, results, errors)
    labels = [int(sample.labels[0]) for sample in samples]
    result = classifier_result(np.stack(best), labels, dataset.names, columns)
    dataset = dataclasses.replace(dataset, samples=samples)
    run = Run(str(model.info.path), model.engine, dataset, seconds, model.info.size, notes=(*notes, *more))
    return ClassifierEvaluation(run, extra, result)


def _segmenter(model: Segmenter, dataset: Dataset, batch: int, step: Step | None) -> SegmenterEvaluation:
    """On the pictures that have class maps, in the pixels of the pictures."""
    mapped = tuple(sample for sample in dataset.samples if has_class_map(sample.image))
    if not mapped:
        raise Error(
            f"{shown(str(dataset.path))}: has no class maps in the split {dataset.split!r}; mean-iou needs them"
        )
    table, notes = match_class_maps(model.info.names, class_names(dataset.path))
    by_image = {str(sample.image): sample for sample in mapped}
    errors: list[SourceError] = []
    classes = len(model.info.names)
    confusion, seen = np.zeros((classes, classes), np.int64), []
    start = time.perf_counter()
    for one in model.stream(_images(mapped), batch=batch, on_error=errors.append):
        sample = by_image[one.source]
        truth = table[load_class_map(sample, (one.height, one.width))]
        confusion += mean_iou([truth], [one.mask], model.info.names).confusion
        seen.append(sample)
        if step:
            step()
    seconds = time.perf_counter() - start
    samples, _, more = _read_ones(dataset, {str(sample.image): None for sample in seen}, errors)
    dataset = dataclasses.replace(dataset, samples=samples)
    run = Run(str(model.info.path), model.engine, dataset, seconds, model.info.size, notes=(*notes, *more))
    return SegmenterEvaluation(run, model.info.names, segmentation_result(confusion))


def _images(samples: Sequence[Sample]) -> list[str]:
    return [str(sample.image) for sample in samples]


def _read_ones(
    dataset: Dataset, results: dict[str, Result], errors: Sequence[SourceError]
) -> tuple[tuple[Sample, ...], list[Result], tuple[str, ...]]:
    """The pictures that could be read, what was found in each, and a note on the others."""
    samples = tuple(sample for sample in dataset.samples if str(sample.image) in results)
    if not samples:
        raise errors[0] if errors else Error(f"{shown(str(dataset.path))}: none of its pictures could be read")
    notes = (f"{len(errors)} pictures could not be read and are left out; the first: {errors[0]}",) if errors else ()
    return samples, [results[str(sample.image)] for sample in samples], notes
