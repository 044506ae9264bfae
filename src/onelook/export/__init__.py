"""From torch to the model file: one ONNX graph from pixels to results."""

from onelook.export.classifier import export_classifier
from onelook.export.detector import Detector, export_detector
from onelook.export.segmenter import export_segmenter

__all__ = ["Detector", "export_classifier", "export_detector", "export_segmenter"]
