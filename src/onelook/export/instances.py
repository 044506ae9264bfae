"""A detector with masks as one self-contained ONNX file: `export_detector`, and a mask for each detection."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from onelook.export.graph import export, trace, write
from onelook.export.suppression import suppression
from onelook.nn.conv import fold_batch_norm
from onelook.nn.masks import paste

THRESHOLD = 0.5  # of the probabilities: He et al., 2017 (arXiv:1703.06870), section 3.1, "Inference"
RESULTS = ("boxes", "scores", "classes", "batch_index")


class InstanceDetector(Protocol):
    """What `export_instances` takes, besides the methods of `onelook.export.Detector`."""

    def split(self, raw: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Of the raw tensors those that `masks` looks at, and others."""

    def masks(self, raw: Sequence[Tensor], boxes: Tensor, classes: Tensor, batch_index: Tensor) -> Tensor:
        """Of boxes [N, 4], classes [N] and the numbers of their pictures [N] the probabilities [N, m, m]."""


class _PixelsToCandidates(nn.Module):
    """uint8 [B, H, W, 3] -> boxes and scores of all candidates, the input's extent [B, 4], and the maps."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        raw = self.detector(image.permute(0, 3, 1, 2).float() / 255)
        height, width = image.shape[1:3]
        boxes, scores = self.detector.decode(raw, (height, width))  # type: ignore[operator]
        maps, _ = self.detector.split(raw)  # type: ignore[operator]
        extent = boxes.new_tensor((width, height, width, height)).expand(image.shape[0], 4)
        return boxes, scores, extent, *maps


class _DetectionsToMasks(nn.Module):
    """Boxes [N, 4], classes [N], batch_index [N] and the maps -> uint8 [N, H, W]."""

    def __init__(self, detector: nn.Module, size: tuple[int, int]):
        super().__init__()
        self.detector, self.size = detector, size

    def forward(self, boxes: Tensor, classes: Tensor, batch_index: Tensor, *maps: Tensor) -> Tensor:
        masks = self.detector.masks(maps, boxes, classes, batch_index)  # type: ignore[operator]
        return (paste(masks, boxes, self.size) >= THRESHOLD).to(torch.uint8)


def export_instances(
    detector: nn.Module,
    path: str | Path,
    names: Sequence[str],
    size: tuple[int, int],
    batch: int | None = None,
    resize: str = "letterbox",
    sampling: str = "linear",
    score_threshold: float = 0.25,
    iou_threshold: float = 0.45,
    parameters: int = 0,
    multiply_adds: int = 0,
    half: bool = False,
    origin: dict[str, Any] | None = None,
) -> Path:
    """Write a detector with masks as a model file, which has one more output: `masks`, uint8 [N, H, W], 0 or 1.

    Args:
        detector: with the methods of `onelook.export.Detector` and of `InstanceDetector`; it is left as it is.
        path, names, size, batch, resize, sampling, score_threshold, iou_threshold: as of `export_detector`.
        parameters, multiply_adds, half, origin: as of `export_detector`.

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
    folded = fold_batch_norm(detector).eval()
    maps = _maps(folded, size, batch or 2)
    names_of_maps = [f"map_{i}" for i in range(len(maps))]
    candidates = trace(
        _PixelsToCandidates(folded), ("all_boxes", "all_scores", "extent", *names_of_maps), size, batch=batch
    )
    masks = _trace_masks(_DetectionsToMasks(folded, size), maps, names_of_maps, batch)
    return write(_join(candidates, suppression(), masks, names_of_maps), metadata, path, half)


@torch.no_grad()
def _maps(detector: nn.Module, size: tuple[int, int], pictures: int) -> list[Tensor]:
    """The maps of grey pictures: examples for the trace."""
    return list(detector.split(detector(torch.full((pictures, 3, *size), 0.5)))[0])  # type: ignore[operator]


def _trace_masks(module: nn.Module, maps: Sequence[Tensor], names: Sequence[str], batch: int | None) -> onnx.ModelProto:
    """The graph behind suppression: boxes, classes, batch_index, maps -> masks."""
    count = torch.export.Dim("detections")
    pictures = {} if batch else {0: torch.export.Dim("batch")}
    examples = {
        "boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 3),
        "classes": torch.zeros(3, dtype=torch.int64),
        "batch_index": torch.zeros(3, dtype=torch.int64),
        **dict(zip(names, maps, strict=True)),
    }
    free = {0: count}
    return export(module, examples, ("masks",), (free, free, free, tuple(pictures for _ in maps)))


def _join(
    candidates: onnx.ModelProto, end: onnx.ModelProto, masks: onnx.ModelProto, maps: Sequence[str]
) -> onnx.ModelProto:
    """The network, the suppression behind it, and the masks behind both."""
    end.ir_version = masks.ir_version = candidates.ir_version
    network = onnx.compose.add_prefix(candidates, "network/", rename_inputs=False, rename_outputs=False)
    ties = [(name, name) for name in ("all_boxes", "all_scores", "extent")]
    detections = onnx.compose.merge_models(network, end, io_map=ties, outputs=[*RESULTS, *maps])
    last = onnx.compose.add_prefix(masks, "masks/", rename_outputs=False)
    ties = [(name, f"masks/{name}") for name in ("boxes", "classes", "batch_index", *maps)]
    return onnx.compose.merge_models(
        detections, last, io_map=ties, outputs=[*RESULTS, "masks"], name="detector", producer_name="onelook"
    )
