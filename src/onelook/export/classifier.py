"""A classifier as one self-contained ONNX file: uint8 pixels in, probabilities out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onelook.export.graph import trace, write
from onelook.nn.conv import fold_batch_norm

Colour = tuple[float, float, float]  # of RGB


class _PixelsToProbabilities(nn.Module):
    """uint8 [B, H, W, 3] -> probabilities [B, C]."""

    def __init__(self, classifier: nn.Module, mean: Colour, std: Colour):
        super().__init__()
        self.classifier = classifier
        self.mean = nn.Buffer(torch.tensor(mean).view(3, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier((image.permute(0, 3, 1, 2).float() - self.mean) / self.std)


def export_classifier(
    classifier: nn.Module,
    path: str | Path,
    names: Sequence[str],
    size: tuple[int, int],
    mean: Colour,
    std: Colour,
    batch: int | None = None,
    resize: str = "crop",
    crop: float = 1.0,
    parameters: int = 0,
    multiply_adds: int = 0,
    half: bool = False,
    origin: dict[str, Any] | None = None,
) -> Path:
    """Write a classifier as a model file.

    Args:
        classifier: picture float32 [B, 3, H, W], RGB, (pixel - mean) / std -> probabilities [B, C]; it is left as it is.
        path: of the file, written beside and renamed.
        names: of the C classes.
        size: height and width of the input, pixels.
        mean, std: of each colour, of pixels from 0 to 255.
        batch: pictures a run; None lets the file take any number.
        resize, crop: how a picture is brought to the input's size; see `onelook.runtime.resize.place`.
        parameters, multiply_adds: of the network, for `onelook info`.
        half: store the weights in half precision; they are computed with in float32.
        origin: where the network comes from; JSON.

    Raises:
        ModelError: the file cannot be written.
    """
    metadata = {
        "task": "classify",
        "names": list(names),
        "size": size,
        "resize": resize,
        "crop": crop,
        "sampling": "linear",
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "origin": origin or {},
    }
    whole = _PixelsToProbabilities(fold_batch_norm(classifier), mean, std)
    return write(trace(whole, ("probabilities",), size, batch=batch), metadata, path, half)
