"""The last part of the graph of a detector with masks: of each detection, which pixels of the input are the object's."""

from collections.abc import Sequence
from typing import Protocol

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from onelook.export.graph import export
from onelook.nn.masks import paste
from onelook.runtime.session import MASKS, OUTPUTS

THRESHOLD = 0.5  # of the probabilities: He et al., 2017 (arXiv:1703.06870), section 3.1, "Inference"
MOST = 100  # "the mask branch is then applied to the highest scoring 100 detection boxes", there
INPUTS = ("boxes", "classes", "batch_index")  # of the detections


class WithMasks(Protocol):
    """A detector that says which pixels belong to each object has these methods, too."""

    def split(self, raw: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Of the raw tensors those that `masks` looks at, and others."""

    def masks(self, raw: Sequence[Tensor], boxes: Tensor, classes: Tensor, batch_index: Tensor) -> Tensor:
        """Of boxes [N, 4], classes [N] and the numbers of their pictures [N] the probabilities [N, m, m]."""


def maps_of(detector: nn.Module, raw: Sequence[Tensor]) -> Sequence[Tensor]:
    """The raw tensors that masks are made of: none of a detector without masks."""
    return detector.split(raw)[0] if hasattr(detector, "masks") else ()  # type: ignore[operator]


class _DetectionsToMasks(nn.Module):
    """Boxes [N, 4], classes [N], batch_index [N] and the maps -> uint8 [N, H, W]."""

    def __init__(self, detector: nn.Module, size: tuple[int, int]):
        super().__init__()
        self.detector, self.size = detector, size

    def forward(self, boxes: Tensor, classes: Tensor, batch_index: Tensor, *maps: Tensor) -> Tensor:
        masks = self.detector.masks(maps, boxes, classes, batch_index)  # type: ignore[operator]
        return (paste(masks, boxes, self.size) >= THRESHOLD).to(torch.uint8)


def append_masks(
    model: onnx.ModelProto, detector: nn.Module, maps: dict[str, Tensor], size: tuple[int, int], batch: int | None
) -> onnx.ModelProto:
    """The graph with one more output, `masks`, uint8 [N, H, W], 0 or 1, in place of the maps.

    Args:
        model: gives the detections and the maps.
        detector: with the methods of `WithMasks`.
        maps: examples of them, by the names that they have in the graph.
        size: height and width of the input, pixels.
        batch: pictures a run; None for any number.
    """
    examples = {
        "boxes": torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 3),
        "classes": torch.zeros(3, dtype=torch.int64),
        "batch_index": torch.zeros(3, dtype=torch.int64),
        **maps,
    }
    detections, pictures = {0: torch.export.Dim("detections")}, {} if batch else {0: torch.export.Dim("batch")}
    dynamic = (*(detections for _ in INPUTS), tuple(pictures for _ in maps))
    masks = export(_DetectionsToMasks(detector, size), examples, (MASKS,), dynamic)
    masks.ir_version = model.ir_version
    masks = onnx.compose.add_prefix(masks, f"{MASKS}/", rename_outputs=False)
    ties = [(name, f"{MASKS}/{name}") for name in (*INPUTS, *maps)]
    return onnx.compose.merge_models(
        model, masks, io_map=ties, outputs=[*OUTPUTS["detect"], MASKS], name="detector", producer_name="onelook"
    )
