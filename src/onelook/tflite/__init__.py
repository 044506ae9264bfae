"""TensorFlow Lite's trained classifiers, into onelook's own networks."""

from onelook.tflite.classifier import load
from onelook.tflite.reader import Graph, Operator, Tensor, read_tflite

__all__ = ["Graph", "Operator", "Tensor", "load", "read_tflite"]
