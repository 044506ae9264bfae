"""A detector as one self-contained ONNX file: uint8 pixels in, boxes out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from onelook.export.graph import trace, write
from onelook.export.suppression import suppression
from onelook.nn.conv import fold_batch_norm
from onelook.runtime.resize import GREY


class Detector(Protocol):
    """What `export_detector` takes: a torch module with a forward and a decode."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """Picture float32 [B, 3, H, W], RGB in 0..1 -> raw maps."""

    def decode(self, raw: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Raw maps -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""


class _PixelsToCandidates(nn.Module):
    """uint8 [B, H, W, 3] -> boxes and scores of all candidates, and the picture's extent [B, 4] within the input.

    Darknet measures the distances of DIoU suppression relative to the picture, not in pixels. How wide and high the
    picture is shows in the letterbox's bars, which are read off the middle row and column.
    """

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = image.permute(0, 3, 1, 2).float() / 255
        boxes, scores = self.detector.decode(self.detector(x), image.shape[1:3])  # type: ignore[operator]
        width = _not_grey(image[:, image.shape[1] // 2])
        height = _not_grey(image[:, :, image.shape[2] // 2])
        return boxes, scores, torch.cat((width, height, width, height), dim=1).float()


def _not_grey(line: Tensor) -> Tensor:
    """Pixels [B, n, 3] -> how many of each line are of the picture, at least 1: int32 [B, 1]."""
    grey = (line == GREY).to(torch.int32).amin(-1)
    return (line.shape[1] - grey.sum(-1, keepdim=True, dtype=torch.int32)).clamp(min=1)


def export_detector(
    detector: nn.Module,
    path: str | Path,
    names: Sequence[str],
    size: tuple[int, int],
    dynamic_size: bool = False,
    batch: int | None = None,
    resize: str = "letterbox",
    sampling: str = "linear",
    score_threshold: float = 0.25,
    iou_threshold: float = 0.45,
    diou_beta: float | None = None,
    parameters: int = 0,
    multiply_adds: int = 0,
    half: bool = False,
    origin: dict[str, Any] | None = None,
) -> Path:
    """Write a detector as a model file.

    Args:
        detector: a module with the methods of `Detector`; it is left as it is.
        path: of the file, written beside and renamed.
        names: of the classes.
        size: height and width of the input, pixels; with `dynamic_size` the one that users get unless they ask.
        dynamic_size: let the file take every multiple of 32.
        batch: pictures a run; None lets the file take any number.
        resize: how a picture is brought to the input's size: "letterbox" (grey bars) or "stretch".
        sampling: "linear" or "darknet"; see `onelook.runtime.resize.place`.
        score_threshold, iou_threshold: the defaults, 0..1.
        diou_beta: suppress by DIoU with this power of the penalty instead of by IoU; see `onelook.nms`.
        parameters, multiply_adds: of the network, for `onelook info`.
        half: store the weights in half precision; they are computed with in float32.
        origin: where the network comes from; JSON.

    Raises:
        ModelError: the file cannot be written.
    """
    metadata = {
        "task": "detect",
        "names": list(names),
        "size": size,
        "resize": resize,
        "sampling": sampling,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "origin": origin or {},
    }
    return write(_join(_candidates(detector, size, dynamic_size, batch), suppression(diou_beta)), metadata, path, half)


def _candidates(detector: nn.Module, size: tuple[int, int], dynamic_size: bool, batch: int | None) -> onnx.ModelProto:
    """The torch part of the graph: image -> all_boxes, all_scores, extent."""
    whole = _PixelsToCandidates(fold_batch_norm(detector))
    return trace(whole, ("all_boxes", "all_scores", "extent"), size, dynamic_size, batch)


def _join(candidates: onnx.ModelProto, end: onnx.ModelProto) -> onnx.ModelProto:
    end.ir_version = candidates.ir_version
    network = onnx.compose.add_prefix(candidates, "network/", rename_inputs=False, rename_outputs=False)
    ties = [(name, name) for name in ("all_boxes", "all_scores", "extent")]
    return onnx.compose.merge_models(network, end, io_map=ties, name="detector", producer_name="onelook")
