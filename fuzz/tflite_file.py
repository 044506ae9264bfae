"""TensorFlow Lite's files: any bytes, through the reader and as far as the importers follow them."""

from contextlib import suppress

from fuzz.files import refusals, written
from onelook.tflite import is_segmenter, load, load_segmenter, read_tflite


def one_input(data: bytes) -> None:
    """A file."""
    path = written("x.tflite", data)
    with refusals():
        graph = read_tflite(path)
        for tensor in graph.tensors:
            with suppress(ValueError):  # which the importers turn into an error
                tensor.real()
        (load_segmenter if is_segmenter(path) else load)(path)
