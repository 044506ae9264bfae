"""From torch to the model file: one ONNX graph from pixels to boxes."""

from onelook.export.detector import Detector, export_detector

__all__ = ["Detector", "export_detector"]
