"""What the convolutions reckon in while a network is trained."""

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[Precision, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def fastest(device: torch.device) -> Precision:
    """Bfloat16 where a processor or a GPU has instructions for it, else float32."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "float32"
