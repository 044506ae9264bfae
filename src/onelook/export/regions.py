"""The classifier of R-CNN as an ONNX file: the pixels of warped regions in, scores and offsets out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from onelook.export.graph import trace, write
from onelook.nn.conv import fold_batch_norm


class _PixelsToScores(nn.Module):
    """uint8 [N, S, S, 3] -> scores [N, C], offsets [N, 4 C]."""

    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.classifier = classifier

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        scores, offsets = self.classifier(image.permute(0, 3, 1, 2).float() / 255)
        return scores, offsets


def export_regions(
    classifier: nn.Module,
    path: str | Path,
    names: Sequence[str],
    size: int,
    half: bool = False,
    origin: dict[str, Any] | None = None,
) -> Path:
    """Write the classifier of R-CNN as a file that takes any number of regions, as `onelook.detectors.rcnn.warp` makes them.

    What it gives is decoded by `RegionClassifier.decode`: the regions' places in the picture are not in the file.

    Args:
        classifier: regions float32 [N, 3, size, size], RGB in 0..1 -> scores [N, C], offsets [N, 4 C].
        path: of the file, written beside and renamed.
        names: of the C classes.
        size: side of the regions, pixels.
        half: store the weights in half precision; they are computed with in float32.
        origin: where the network comes from; JSON.

    Raises:
        ModelError: the file cannot be written.
    """
    metadata = {"task": "regions", "names": list(names), "size": (size, size), "origin": origin or {}}
    whole = _PixelsToScores(fold_batch_norm(classifier))
    return write(trace(whole, ("scores", "offsets"), (size, size)), metadata, path, half)
