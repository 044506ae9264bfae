"""onelook: object detection as the papers define it, run fast on an ordinary CPU.

>>> import onelook
>>> detector = onelook.load("yolov3.onnx")
>>> detections = detector("street.jpg")
>>> detections.filter(score=0.5).save("found.jpg")
"""

import importlib
from typing import TYPE_CHECKING, Any

from onelook.errors import (
    CheckpointError,
    DarknetError,
    DataError,
    Error,
    MissingDependencyError,
    ModelError,
    NetworkError,
    SourceError,
    TrainingError,
    ZooError,
)

if TYPE_CHECKING:
    from onelook.benchmarking import Benchmark as Benchmark
    from onelook.benchmarking import benchmark as benchmark
    from onelook.conversion import convert as convert
    from onelook.evaluation import Evaluation as Evaluation
    from onelook.evaluation import evaluate as evaluate
    from onelook.loading import load as load
    from onelook.runtime.classification import Classification as Classification
    from onelook.runtime.classification import Label as Label
    from onelook.runtime.classifier import Classifier as Classifier
    from onelook.runtime.detections import Detection as Detection
    from onelook.runtime.detections import Detections as Detections
    from onelook.runtime.detector import Detector as Detector
    from onelook.runtime.masks import Masks as Masks
    from onelook.runtime.segmentation import Region as Region
    from onelook.runtime.segmentation import Segmentation as Segmentation
    from onelook.runtime.segmenter import Segmenter as Segmenter
    from onelook.training.train import resume as resume
    from onelook.training.train import train as train

__version__ = "0.1.0"

# Loaded when first used, so that `import onelook` costs nothing.
_LAZY = {
    "Benchmark": "onelook.benchmarking",
    "benchmark": "onelook.benchmarking",
    "Classification": "onelook.runtime.classification",
    "Classifier": "onelook.runtime.classifier",
    "Detection": "onelook.runtime.detections",
    "Detections": "onelook.runtime.detections",
    "Detector": "onelook.runtime.detector",
    "Evaluation": "onelook.evaluation",
    "Label": "onelook.runtime.classification",
    "Masks": "onelook.runtime.masks",
    "Region": "onelook.runtime.segmentation",
    "Segmentation": "onelook.runtime.segmentation",
    "Segmenter": "onelook.runtime.segmenter",
    "convert": "onelook.conversion",
    "evaluate": "onelook.evaluation",
    "load": "onelook.loading",
    "resume": "onelook.training",
    "train": "onelook.training",
}

_MODULES = (
    "backbones",
    "boxes",
    "darknet",
    "data",
    "detectors",
    "losses",
    "metrics",
    "nms",
    "nn",
    "segmenters",
    "tflite",
)

__all__ = [
    "Benchmark",
    "CheckpointError",
    "Classification",
    "Classifier",
    "DarknetError",
    "DataError",
    "Detection",
    "Detections",
    "Detector",
    "Error",
    "Evaluation",
    "Label",
    "Masks",
    "MissingDependencyError",
    "ModelError",
    "NetworkError",
    "Region",
    "Segmentation",
    "Segmenter",
    "SourceError",
    "TrainingError",
    "ZooError",
    "benchmark",
    "convert",
    "evaluate",
    "load",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    elif name in _MODULES:
        value = _module(f"onelook.{name}")
    else:
        raise AttributeError(f"module 'onelook' has no attribute {name!r}")
    globals()[name] = value
    return value


def _module(name: str) -> Any:
    """Raises MissingDependencyError where it needs the torch half, and that is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("onelook"):
            raise
        raise MissingDependencyError(
            f'{error.name} is not installed, and {name} needs it; pip install "onelook[train]"'
        ) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
