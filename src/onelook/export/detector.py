"""A detector as one self-contained ONNX file: uint8 pixels in, boxes out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from onelook.export.graph import trace, write
from onelook.export.masks import MOST, append_masks, maps_of
from onelook.export.suppression import suppression
from onelook.nn.conv import fold_batch_norm
from onelook.runtime.resize import GREY
from onelook.runtime.session import OUTPUTS

CANDIDATES = ("all_boxes", "all_scores", "extent")  # what suppression takes, besides the thresholds


class Detector(Protocol):
    """What `export_detector` takes: a torch module with a forward and a decode."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """Picture float32 [B, 3, H, W], RGB in 0..1 -> raw maps."""

    def decode(self, raw: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Raw maps -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""


class _PixelsToCandidates(nn.Module):
    """uint8 [B, H, W, 3], with proposals [B, P, 4] where the detector takes those -> boxes and scores of all candidates,
    the picture's extent [B, 4] within the input, and the maps that masks are made of.

    Darknet measures the distances of DIoU suppression relative to the picture, not in pixels. How wide and high the
    picture is shows in the bars of a letterbox, rows or columns that are grey from edge to edge. Without `bars` it is as
    large as the input.
    """

    def __init__(self, detector: nn.Module, bars: bool):
        super().__init__()
        self.detector, self.bars = detector, bars

    def forward(self, image: Tensor, proposals: Tensor | None = None) -> tuple[Tensor, ...]:
        x = image.permute(0, 3, 1, 2).float() / 255
        raw = self.detector(x) if proposals is None else self.detector(x, proposals)
        boxes, scores = self.detector.decode(raw, image.shape[1:3])  # type: ignore[operator]
        if self.bars:
            height, width = _not_grey(image, (2, 3)), _not_grey(image, (1, 3))
            extent = torch.cat((width, height, width, height), dim=1).float()
        else:
            sides = [torch.scalar_tensor(side, dtype=boxes.dtype) for side in image.shape[2:0:-1]]
            extent = torch.stack(sides * 2) + 0 * image[:, 0, 0, :1]  # a constant could not be joined to suppression
        return boxes, scores, extent, *maps_of(self.detector, raw)


def _not_grey(image: Tensor, across: tuple[int, int]) -> Tensor:
    """Pixels [B, H, W, 3] -> how many rows or columns, `across` which one goes, are of the picture: int32 [B, 1], >= 1."""
    other = (image.amin(across) != GREY) | (image.amax(across) != GREY)
    return other.sum(-1, keepdim=True, dtype=torch.int32).clamp(min=1)


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
        detector: a module with the methods of `Detector`; it is left as it is. With those of `WithMasks` besides, the file
            gives a mask for each detection, too, and no more than the 100 best detections of a picture. If it has to
            `search` for regions, the file takes as many as its `proposals` says, as one more input.
        path: of the file, written beside and renamed.
        names: of the classes.
        size: height and width of the input, pixels; with `dynamic_size` the one that users get unless they ask.
        dynamic_size: let the file take every multiple of 32; not with masks.
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
    folded = fold_batch_norm(detector)
    maps = _examples(folded, size, batch or 2)
    proposals = int(folded.proposals) if hasattr(folded, "search") else 0  # type: ignore[arg-type]
    bars = resize == "letterbox" and diou_beta is not None  # nothing else asks how large the picture is
    network = trace(_PixelsToCandidates(folded, bars), (*CANDIDATES, *maps), size, dynamic_size, batch, proposals)
    model = _join(network, suppression(diou_beta, MOST if maps else None), (*OUTPUTS["detect"], *maps))
    if maps:
        model = append_masks(model, folded, maps, size, batch)
    return write(model, metadata, path, half)


@torch.no_grad()
def _examples(detector: nn.Module, size: tuple[int, int], pictures: int) -> dict[str, Tensor]:
    """The maps that masks are made of, of grey pictures, by the names that they have in the graph; none without masks."""
    if not hasattr(detector, "masks"):
        return {}
    maps = maps_of(detector, detector(torch.full((pictures, 3, *size), 0.5)))
    return {f"map_{i}": x for i, x in enumerate(maps)}


def _join(network: onnx.ModelProto, end: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    end.ir_version = network.ir_version
    network = onnx.compose.add_prefix(network, "network/", rename_inputs=False, rename_outputs=False)
    ties = [(name, name) for name in CANDIDATES]
    return onnx.compose.merge_models(
        network, end, io_map=ties, outputs=list(outputs), name="detector", producer_name="onelook"
    )
