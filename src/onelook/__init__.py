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
    Error,
    MissingDependencyError,
    ModelError,
    NetworkError,
    SourceError,
    ZooError,
)

if TYPE_CHECKING:
    from onelook.conversion import convert as convert
    from onelook.loading import load as load
    from onelook.runtime.classification import Classification as Classification
    from onelook.runtime.classification import Label as Label
    from onelook.runtime.classifier import Classifier as Classifier
    from onelook.runtime.detections import Detection as Detection
    from onelook.runtime.detections import Detections as Detections
    from onelook.runtime.detector import Detector as Detector

__version__ = "0.1.0"

# Loaded when first used, so that `import onelook` costs nothing.
_LAZY = {
    "Classification": "onelook.runtime.classification",
    "Classifier": "onelook.runtime.classifier",
    "Detection": "onelook.runtime.detections",
    "Detections": "onelook.runtime.detections",
    "Detector": "onelook.runtime.detector",
    "Label": "onelook.runtime.classification",
    "convert": "onelook.conversion",
    "load": "onelook.loading",
}

__all__ = [
    "CheckpointError",
    "Classification",
    "Classifier",
    "DarknetError",
    "Detection",
    "Detections",
    "Detector",
    "Error",
    "Label",
    "MissingDependencyError",
    "ModelError",
    "NetworkError",
    "SourceError",
    "ZooError",
    "convert",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'onelook' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
