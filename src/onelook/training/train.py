"""`onelook.train`: from a folder of labelled pictures to a model file and its score."""

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from onelook import __version__, backbones, segmenters
from onelook.conversion import convert
from onelook.data import Dataset, Problem, read, splits
from onelook.data.augment import FAST_RCNN, YOLO_V1, Augmentation
from onelook.errors import NetworkError, TrainingError
from onelook.runtime import atomic
from onelook.runtime.picture import shown
from onelook.training import classification, detection, segmentation
from onelook.training.distributed import Processes, gather, processes, synchronise
from onelook.training.joint import join, read_tree
from onelook.training.journal import Journal
from onelook.training.loader import Loader, scaled
from onelook.training.loop import fit
from onelook.training.memory import memory_kept
from onelook.training.memory_format import fastest_format
from onelook.training.run import Run, read_progress
from onelook.training.settings import Settings, from_json
from onelook.training.start import Weights, load_weights, recalibrate

GIVEN = {"classes": "the dataset", "size": "the settings", "parents": "the tree"}  # options that come of these
PAPERS = {"yolo_v1": YOLO_V1, "fast_rcnn": FAST_RCNN}  # augmentation that differs
TOLD = 5  # problems of a dataset; `onelook data check` tells all
CALIBRATION = 8  # batches
TRAINED_RATE = 0.1  # share of the learning rate that a backbone gets that was trained before


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Attributes:
        folder: of its files.
        model: the model file of the best network; None for all processes but the first, and where the run was stopped.
        history: of each epoch the mean of each loss term, and the measures.
        best: the highest score: COCO's AP of a detector, top-1 of a classifier; None where there was no validation.
    """

    folder: Path
    model: Path | None
    history: tuple[Mapping[str, float], ...]
    best: float | None


def train(
    data: str | Path,
    model: str = "mobilenet_yolo",
    backbone: str | None = None,
    alpha: float | None = None,
    weights: Weights | None = None,
    settings: Settings | None = None,
    paper: bool = False,
    switches: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    tree: str | Path | None = None,
    classified: str | Path | None = None,
    split: str = "train",
    validation: str | None = "val",
    folder: str | Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train a detector, a segmenter or a classifier on labelled pictures.

    Args:
        data: what `onelook.data.read` takes.
        model: "mobilenet_yolo"; a name of `onelook.detectors.ARCHITECTURES`; "deeplab_v3" for a segmenter, of datasets
            with class maps; or a backbone's name for a classifier.
        backbone: of a detector: a name of `onelook.backbones.ARCHITECTURES`; the model's own by default.
        alpha: width multiplier of a MobileNet.
        weights: to start from, see `onelook.training.start.read_weights`; else they are drawn.
        settings: how to train.
        paper: as in the paper: YOLOv3's loss, in place of the recommended one; the augmentation of YOLOv1 and Fast R-CNN.
        switches: attributes of the loss (`box`, `focal`, `gamma`, ...).
        options: of the network (`width`, `levels`, `anchors`, ...), see `onelook.detectors.create`.
        tree: of classes, for YOLOv2 (YOLO9000); see `onelook.training.joint.read_tree`. Its classes are those trained.
        classified: pictures of one class each that YOLOv2 is trained on too: a folder of a folder a class.
        split, validation: of the dataset, to train on and to measure on. Where there is no "val", or validation is None,
            the last network is kept.
        folder: for the files; by default a new one, runs/NAME-1.
        device: "cpu", "cuda", ...; a GPU where there is one.
        quiet: print nothing.
        stop: asked after every step; once it is true the run is saved, to be resumed, and left.

    Raises:
        DataError: no such dataset.
        NetworkError, CheckpointError, DarknetError: no such network; weights that are not for it.
        TrainingError: a setting out of range; an option that comes of another argument; see `onelook.training.loop.fit`.
    """
    settings = settings or Settings()
    if settings.backbone_rate is None:
        settings = dataclasses.replace(settings, backbone_rate=1.0 if weights is None else TRAINED_RATE)
    if paper and model in PAPERS:
        if settings.augmentation != Augmentation():
            raise TrainingError(f"the paper of {model} has its own augmentation; leave yours out, or paper")
        settings = dataclasses.replace(settings, augmentation=PAPERS[model])
    if (tree or classified) and model != "yolo_v2":
        raise TrainingError(f"a tree and classified pictures are for yolo_v2; found {model}")
    named = {"backbone": backbone, "alpha": alpha}
    options = {name: value for name, value in named.items() if value is not None} | dict(options or {})
    for name in options:
        if name in GIVEN:
            raise TrainingError(f"{name} is no option to choose: it comes of {GIVEN[name]}")
    known = None if tree is None else read_tree(Path(tree))
    source = {"path": data, "split": split, "validation": validation, "classified": classified}
    with processes(device) as own, one_thread_in_opencv():
        dataset, held_out = _read(source, known and known.names, quiet or own.rank > 0)
        if model in segmenters.ARCHITECTURES:
            if switches:
                raise TrainingError(f"{model} is a segmenter; a loss's switches are for detectors")
            settings = segmentation.sized(settings)
            dataset, held_out = _mapped(dataset, held_out)
            about = segmentation.describe(model, dataset, settings, options)
        elif model in backbones.ARCHITECTURES:
            if "backbone" in options or switches:
                raise TrainingError(f"{model} is a classifier; a backbone and a loss's switches are for detectors")
            about = classification.describe(model, dataset, options)
        else:
            parents = known and known.parents
            about = detection.describe(model, dataset, settings, options, paper, switches, parents)
        about["data"] = {
            **source,
            "path": str(Path(data).resolve()),
            "classified": None if classified is None else str(Path(classified).resolve()),
            "pictures": len(dataset),
        }
        place = Path(folder) if folder is not None else _new_folder(Path(data))
        # The first process decides, before any has written: another may come here later, and see what it wrote.
        place, held = gather((place, (place / "last.safetensors").exists()), own)[0]
        if held:
            raise TrainingError(f"{place}: holds a run already; go on with it by --resume, or choose another folder")
        return _go(place, about, settings, dataset, held_out, own, weights, False, quiet, stop)


def resume(
    folder: str | Path, device: str | None = None, quiet: bool = False, stop: Callable[[], bool] = lambda: False
) -> Result:
    """Go on with a run that was stopped or killed, as if nothing had happened.

    Args:
        folder: of the run.
        device, quiet, stop: as of `train`.

    Raises:
        TrainingError: there is no run in the folder, or its dataset has changed.
    """
    with processes(device) as own, one_thread_in_opencv():
        progress = read_progress(Path(folder) / "last.safetensors")
        about, settings = progress["about"], from_json(progress["settings"])
        source = about["data"]
        names = None if about["task"] == "segment" else about["names"]
        dataset, held_out = _read(source, names, quiet or own.rank > 0)
        if about["task"] == "segment":
            dataset, held_out = _mapped(dataset, held_out)
        if len(dataset) != source["pictures"]:
            raise TrainingError(
                f"{source['path']}: has {len(dataset)} pictures to train on; it had {source['pictures']} when the run began"
            )
        return _go(Path(folder), about, settings, dataset, held_out, own, None, True, quiet, stop)


def _go(
    folder: Path,
    about: dict[str, Any],
    settings: Settings,
    dataset: Dataset,
    held_out: Dataset | None,
    own: Processes,
    weights: Weights | None,
    resumes: bool,
    quiet: bool,
    stop: Callable[[], bool],
) -> Result:
    if settings.batch % own.count:
        raise TrainingError(f"batch must be a multiple of the {own.count} processes; found {settings.batch}")
    torch.manual_seed(settings.seed)  # of the weights that are drawn
    kind = {"detect": detection, "classify": classification, "segment": segmentation}[about["task"]]
    origin = {"by": f"onelook {__version__}", "network": about["name"], "trained_on": dataset.path.name}
    job = kind.build(about, held_out.samples if held_out else (), settings, own, origin)
    for share in (1 - settings.multi_scale, 1 + settings.multi_scale) if settings.multi_scale else ():
        try:
            job.network.check_size(scaled(settings.size, share))
        except NetworkError as error:
            raise TrainingError(f"multi_scale {settings.multi_scale} is too much: {error}") from None
    loader = Loader(dataset.samples, settings, own, job.kind)
    job.network.to(own.device, memory_format=fastest_format(job.network, own.device))
    if weights is not None:
        load_weights(job.network, weights)
        # In every process from the same pictures, or their statistics would differ.
        alone = Loader(dataset.samples, settings, dataclasses.replace(own, rank=0, count=1), job.kind)
        batches = zip(range(CALIBRATION), alone.epoch(0), strict=False)
        recalibrate(job.network, (batch.image.to(own.device).float() / 255 for _, batch in batches))
    if own.count > 1:
        synchronise(job.network)
    run = Run(folder, job.network, settings, about, own)
    if resumes:
        run.restore()
    with atomic.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not resumes:
            run.save()  # so that it can be resumed whenever it is killed
        with memory_kept(), Journal(run, loader.steps, dataset.names, quiet) as journal:
            fit(run, job, loader, journal, stop)
    for message in loader.unreadable.values():
        print(f"note: {message}; another picture was taken in its place", file=sys.stderr)
    ended = run.epoch == settings.epochs or bool(settings.patience and run.since_best >= settings.patience)
    path = convert(run.best_path, folder / "best.onnx") if ended and own.rank == 0 else None
    return Result(folder, path, tuple(run.history), run.best if math.isfinite(run.best) else None)


def _read(source: Mapping[str, Any], names: Sequence[str] | None, quiet: bool) -> tuple[Dataset, Dataset | None]:
    """The pictures to train on and those to measure on, without those that are not there; says what is wrong."""
    path, split, validation = Path(source["path"]), source["split"], source["validation"]
    dataset = read(path, split, names=names)
    if source.get("classified") is not None:
        dataset = join(dataset, Path(source["classified"]), split)
    dataset = _with_pictures(dataset)
    if not dataset.samples:
        raise TrainingError(f"{shown(str(path))}: has no pictures to train on in the split {split!r}")
    held_out = None
    # That there is none is no mistake; that there is not the one which was named is.
    if validation is not None and (validation != "val" or any(name.startswith("val") for name in splits(path))):
        held_out = _with_pictures(read(path, validation, names=dataset.names))
    if not quiet:
        problems = [*dataset.problems, *(held_out.problems if held_out else ())]
        for problem in problems[:TOLD]:
            print(f"note: {problem.where}: {problem.what}", file=sys.stderr)
        if len(problems) > TOLD:
            print(f"note: {len(problems) - TOLD} more like these; see onelook data check {path}", file=sys.stderr)
        if held_out is None and validation is not None:
            print(f"note: there is no split {validation!r} to measure on; the last network is kept", file=sys.stderr)
    return dataset, held_out


def _mapped(dataset: Dataset, held_out: Dataset | None) -> tuple[Dataset, Dataset | None]:
    """Both with the pictures that have class maps alone."""
    return segmentation.with_maps(dataset), None if held_out is None else segmentation.with_maps(held_out)


def _with_pictures(dataset: Dataset) -> Dataset:
    there = [os.path.isfile(sample.image) for sample in dataset.samples]
    if all(there):
        return dataset
    missing = [sample for sample, is_there in zip(dataset.samples, there, strict=True) if not is_there]
    problems = tuple(Problem(str(sample.image), "there is no such picture", "missing picture") for sample in missing)
    samples = tuple(sample for sample, is_there in zip(dataset.samples, there, strict=True) if is_there)
    return dataclasses.replace(dataset, samples=samples, problems=(*dataset.problems, *problems))


def _new_folder(data: Path) -> Path:
    name, number = data.resolve().stem or "run", 1
    while (Path("runs") / f"{name}-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-{number}"


@contextmanager
def one_thread_in_opencv() -> Iterator[None]:
    """Each picture has a thread of its own; OpenCV's would only get in their way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
