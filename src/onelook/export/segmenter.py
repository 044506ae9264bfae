"""A segmenter as one self-contained ONNX file: uint8 pixels in, the class of each out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from onelook.export.graph import trace, write
from onelook.nn.conv import fold_batch_norm

BYTE_CLASSES = 255  # as many fit in a byte beside 255, the number of what does not count


class Segmenter(Protocol):
    """What `export_segmenter` takes: a torch module with a forward and a decode."""

    def forward(self, image: Tensor) -> Tensor:
        """Picture float32 [B, 3, H, W], RGB in 0..1 -> logits [B, C, h, w]."""

    def decode(self, raw: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits -> the class of each pixel of the input of `size` (height, width): int64 [B, H, W]."""


class _PixelsToClasses(nn.Module):
    """uint8 [B, H, W, 3] -> classes [B, H, W] of that type."""

    def __init__(self, segmenter: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.segmenter, self.dtype = segmenter, dtype

    def forward(self, image: Tensor) -> Tensor:
        raw = self.segmenter(image.permute(0, 3, 1, 2).float() / 255)
        return self.segmenter.decode(raw, image.shape[1:3]).to(self.dtype)  # type: ignore[operator]


def export_segmenter(
    segmenter: nn.Module,
    path: str | Path,
    names: Sequence[str],
    size: tuple[int, int],
    batch: int | None = None,
    resize: str = "letterbox",
    sampling: str = "linear",
    parameters: int = 0,
    multiply_adds: int = 0,
    half: bool = False,
    origin: dict[str, Any] | None = None,
) -> Path:
    """Write a segmenter as a model file: `image` uint8 [B, H, W, 3] -> `mask` [B, H, W], the class of each pixel.

    The mask is uint8 of up to `BYTE_CLASSES` classes, int64 of more.

    Args:
        segmenter: a module with the methods of `Segmenter`; it is left as it is.
        path: of the file, written beside and renamed.
        names: of the classes, the background among them.
        size: height and width of the input, pixels.
        batch: pictures a run; None lets the file take any number.
        resize: how a picture is brought to the input's size: "letterbox" (grey bars) or "stretch".
        sampling: "linear" or "darknet"; see `onelook.runtime.resize.place`.
        parameters, multiply_adds: of the network, for `onelook info`.
        half: store the weights in half precision; they are computed with in float32.
        origin: where the network comes from; JSON.

    Raises:
        ModelError: the file cannot be written.
    """
    metadata = {
        "task": "segment",
        "names": list(names),
        "size": size,
        "resize": resize,
        "sampling": sampling,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "origin": origin or {},
    }
    dtype = torch.uint8 if len(names) <= BYTE_CLASSES else torch.int64
    whole = _PixelsToClasses(fold_batch_norm(segmenter), dtype)
    return write(trace(whole, ("mask",), size, batch=batch), metadata, path, half)
