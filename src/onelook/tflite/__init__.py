"""TensorFlow Lite's trained classifiers and segmenters, into onelook's own networks."""

from onelook.tflite.classifier import load
from onelook.tflite.reader import Graph, Operator, Tensor, read_tflite
from onelook.tflite.segmenter import is_segmenter
from onelook.tflite.segmenter import load as load_segmenter

__all__ = ["Graph", "Operator", "Tensor", "is_segmenter", "load", "load_segmenter", "read_tflite"]
