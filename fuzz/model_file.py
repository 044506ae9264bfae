"""Model files: what ONNX Runtime makes of them, and what their metadata say."""

from fuzz.files import refusals, written
from onelook.runtime.session import open_session


def one_input(data: bytes) -> None:
    """A file; it is loaded, not run."""
    with refusals():
        open_session(written("x.onnx", data), "onnxruntime", threads=1)
