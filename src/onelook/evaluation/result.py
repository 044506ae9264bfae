"""What an evaluation found: figures, curves, mistakes; as JSON, plots and a page."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelook.data import Dataset
from onelook.errors import Error
from onelook.metrics import (
    ClassifierResult,
    CocoResult,
    Curve,
    Found,
    Mistake,
    OpenImagesResult,
    SegmentationResult,
    VocResult,
    confusion,
    curves,
    mistakes,
)
from onelook.metrics.coco import need
from onelook.metrics.matching import outcome
from onelook.metrics.mistakes import counts
from onelook.metrics.table import Finds, Truths, tables
from onelook.runtime import atomic


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What was measured."""

    model: str
    """Path of the model file, or of the file of results."""
    engine: str
    """What ran it."""
    dataset: Dataset
    """The pictures that were looked at, of the classes that the model knows."""
    seconds: float
    """From the first picture's bytes to the last one's result."""
    size: tuple[int, int] | None = None
    """Height and width of the model's input, pixels; None for stored results."""
    iou_threshold: float | None = None
    """Of the model's suppression; None where it has none."""
    notes: tuple[str, ...] = ()
    """What was left out, in a line each."""

    @property
    def pictures_per_second(self) -> float:
        """Reading and decoding included."""
        return len(self.dataset) / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        height, width = self.size or (None, None)
        return {
            "model": self.model,
            "engine": self.engine,
            "size": None if self.size is None else {"width": width, "height": height},
            "iou_threshold": self.iou_threshold,
            "data": str(self.dataset.path),
            "format": self.dataset.format,
            "split": self.dataset.split,
            "pictures": len(self.dataset),
            "seconds": round(self.seconds, 3),
            "pictures_per_second": round(self.pictures_per_second, 2),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, eq=False)
class DetectorEvaluation:
    """How good a detector is."""

    run: Run
    metric: str
    result: CocoResult | VocResult | OpenImagesResult
    """The figures of the metric."""
    curve: Curve
    """Of all detections at IoU 0.5."""
    class_curves: Sequence[Curve]
    """Of each class."""
    confusion: NDArray[np.int64]
    """[C + 1, C + 1] at the best threshold; see `onelook.metrics.confusion`."""
    mistakes: Sequence[Mistake]
    """At the best threshold, the worst first."""
    truths: Truths
    """The objects that the mistakes speak of."""
    finds: Finds
    """The detections that they speak of."""

    @property
    def threshold(self) -> float:
        """The score threshold of greatest F1 over all objects; NaN where nothing was found."""
        return self.curve.best.threshold

    @property
    def numbers(self) -> Mapping[str, float]:
        """The figures of the metric by name, 0..1."""
        return self.result.numbers if isinstance(self.result, CocoResult) else {"map": self.result.map}

    def class_rows(self) -> list[dict[str, Any]]:
        """A row of figures for each class."""
        rows = []
        for c, (name, one) in enumerate(zip(self.run.dataset.names, self.class_curves, strict=True)):
            ap50 = {"ap50": float(self.result.class_ap50[c])} if isinstance(self.result, CocoResult) else {}
            best = one.best
            rows.append(
                {
                    "name": name,
                    "objects": one.objects,
                    "ap": float(self.result.class_ap[c]),
                    **ap50,
                    "threshold": best.threshold,
                    "f1": best.f1,
                    "precision": best.precision,
                    "recall": best.recall,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: docs/evaluation.md explains the fields. NaN is None."""
        best = self.curve.best
        report = {
            "task": "detect",
            **self.run.to_dict(),
            "objects": self.curve.objects,
            "detections": len(self.finds.scores),
            "metric": self.metric,
            "metrics": dict(self.numbers),
            "best": {"threshold": best.threshold, "f1": best.f1, "precision": best.precision, "recall": best.recall},
            "classes": self.class_rows(),
            "confusion": {
                "names": [*self.run.dataset.names, "background"],
                "matrix": self.confusion.tolist(),
            },
            "mistakes": counts(self.mistakes),
        }
        return _clean(report)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes report.json, the plots (each as .png and .pdf) and mistakes.html into a folder, made where it is missing.

        Raises:
            Error: a file cannot be written.
            MissingDependencyError: matplotlib is not installed.
        """
        from onelook.evaluation.page import mistakes_page
        from onelook.metrics import plots

        folder, names = Path(folder), self.run.dataset.names
        matrix = plots.confusion_matrix(self.confusion, (*names, "background"), (*names, "missed"))
        return [
            _report(folder, self.to_dict()),
            *plots.save(plots.precision_recall(self.curve, self.class_curves, names), folder / "precision-recall"),
            *plots.save(plots.f1_threshold(self.curve, self.class_curves, names), folder / "f1-threshold"),
            *plots.save(matrix, folder / "confusion"),
            _write(folder / "mistakes.html", mistakes_page(self)),
        ]


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierEvaluation:
    """How good a classifier is."""

    run: Run
    extra: tuple[str, ...]
    """The model's classes that the dataset does not have, in the columns of the confusion behind those that it has."""
    result: ClassifierResult
    metric: str = "top-k"

    @property
    def numbers(self) -> Mapping[str, float]:
        """The figures by name, 0..1."""
        return {"top1": self.result.top1, "top5": self.result.top5}

    def class_rows(self) -> list[dict[str, Any]]:
        """A row of figures for each class."""
        columns = (self.run.dataset.names, self.result.pictures, self.result.class_top1, self.result.class_top5)
        return [
            {"name": name, "pictures": int(count), "top1": float(top1), "top5": float(top5)}
            for name, count, top1, top5 in zip(*columns, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: docs/evaluation.md explains the fields. NaN is None."""
        rows, columns = np.nonzero(self.result.confusion)
        names = (*self.run.dataset.names, *self.extra)
        taken = [(names[i], names[j], int(self.result.confusion[i, j])) for i, j in zip(rows, columns, strict=True)]
        report = {
            "task": "classify",
            **self.run.to_dict(),
            "metric": self.metric,
            "metrics": dict(self.numbers),
            "classes": self.class_rows(),
            "confusion": [{"class": own, "taken_for": other, "pictures": count} for own, other, count in taken],
        }
        return _clean(report)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes report.json and the confusion (.png and .pdf) into a folder, made where it is missing.

        Raises: as of `DetectorEvaluation.save`.
        """
        from onelook.metrics import plots

        names = self.run.dataset.names
        figure = plots.confusion_matrix(self.result.confusion, names, (*names, *self.extra))
        return [_report(Path(folder), self.to_dict()), *plots.save(figure, Path(folder) / "confusion")]


@dataclass(frozen=True, slots=True, eq=False)
class SegmenterEvaluation:
    """How good a semantic segmenter is."""

    run: Run
    names: tuple[str, ...]
    """Of the model's classes."""
    result: SegmentationResult
    metric: str = "mean-iou"

    @property
    def numbers(self) -> Mapping[str, float]:
        """The figures by name, 0..1."""
        return {"mean_iou": self.result.mean_iou, "pixel_accuracy": self.result.pixel_accuracy}

    def class_rows(self) -> list[dict[str, Any]]:
        """A row of figures for each class that is in the pictures, or was found in them."""
        pixels = self.result.confusion.sum(1)
        return [
            {"name": name, "pixels": int(pixels[i]), "iou": float(self.result.class_iou[i])}
            for i, name in enumerate(self.names)
            if not math.isnan(self.result.class_iou[i])
        ]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: docs/evaluation.md explains the fields. NaN is None."""
        rows, columns = np.nonzero(self.result.confusion)
        report = {
            "task": "segment",
            **self.run.to_dict(),
            "metric": self.metric,
            "metrics": dict(self.numbers),
            "classes": self.class_rows(),
            "confusion": [
                {"class": self.names[i], "taken_for": self.names[j], "pixels": int(self.result.confusion[i, j])}
                for i, j in zip(rows, columns, strict=True)
            ],
        }
        return _clean(report)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes report.json and the confusion (.png and .pdf) into a folder, made where it is missing.

        Raises: as of `DetectorEvaluation.save`.
        """
        from onelook.metrics import plots

        figure = plots.confusion_matrix(self.result.confusion, self.names, self.names)
        return [_report(Path(folder), self.to_dict()), *plots.save(figure, Path(folder) / "confusion")]


Evaluation = DetectorEvaluation | ClassifierEvaluation | SegmenterEvaluation


def detector_evaluation(
    run: Run, metric: str, result: CocoResult | VocResult | OpenImagesResult, found: Sequence[Found]
) -> DetectorEvaluation:
    """The curves, the confusion and the mistakes to the figures of a metric.

    Args:
        run: what was measured.
        metric: the name of the metric.
        result: its figures.
        found: the detections of each picture.
    """
    classes = len(run.dataset.names)
    truths, finds = tables(run.dataset.samples, found, classes)
    matched = outcome(truths, finds)
    together, of_class = curves(truths, finds, matched, classes)
    threshold = together.best.threshold
    threshold = 0.0 if math.isnan(threshold) else threshold
    return DetectorEvaluation(
        run,
        metric,
        result,
        together,
        of_class,
        confusion(truths, finds, classes, threshold),
        mistakes(truths, finds, matched, threshold),
        truths,
        finds,
    )


def prepare(folder: Path) -> None:
    """Makes the folder that `save` writes to: what would keep it from that is better known before the work than after.

    Raises:
        Error: it cannot be made.
        MissingDependencyError: matplotlib is not installed.
    """
    need("matplotlib", "drawing plots")
    with atomic.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _clean(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: _clean(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _report(folder: Path, report: dict[str, Any]) -> Path:
    return _write(folder / "report.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")


def _write(path: Path, text: str) -> Path:
    return atomic.save(path, text.encode("utf-8", "backslashreplace"), Error)
