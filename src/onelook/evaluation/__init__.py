"""How good a model is on a labelled dataset: what `onelook evaluate` does."""

from onelook.evaluation.result import (
    ClassifierEvaluation,
    DetectorEvaluation,
    Evaluation,
    SegmenterEvaluation,
    prepare,
)
from onelook.evaluation.run import METRICS, evaluate, read_dataset

__all__ = [
    "METRICS",
    "ClassifierEvaluation",
    "DetectorEvaluation",
    "Evaluation",
    "SegmenterEvaluation",
    "evaluate",
    "prepare",
    "read_dataset",
]
