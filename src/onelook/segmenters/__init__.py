"""Semantic segmenters, one file a family: a network, the meaning of its numbers (`decode`), and its loss."""

from collections.abc import Callable, Mapping
from typing import Any

from onelook import backbones
from onelook.errors import NetworkError
from onelook.options import ANYTHING, CLASSES, NAME, YES_OR_NO, check, check_values
from onelook.segmenters.deeplab_v3 import DeepLabLoss, DeepLabV3

__all__ = ["ARCHITECTURES", "DeepLabLoss", "DeepLabV3", "Segmenter", "create"]

Segmenter = DeepLabV3


def _deeplab_v3(
    classes: int, backbone: str = "mobilenet_v2", alpha: float | None = None, aspp: bool = False
) -> DeepLabV3:
    body = backbones.create(backbone, classes=0, **({} if alpha is None else {"alpha": alpha}))
    if not isinstance(body, backbones.MobileNetV2):
        raise NetworkError(f"deeplab_v3 is built on mobilenet_v2; found {backbone[:64]!r}")
    return DeepLabV3(body, classes, aspp)


ARCHITECTURES: Mapping[str, Callable[..., Segmenter]] = {"deeplab_v3": _deeplab_v3}


_EXPECTED = {"classes": CLASSES, "backbone": NAME, "alpha": ANYTHING, "aspp": YES_OR_NO}


def create(name: str, /, **options: Any) -> Segmenter:
    """A segmenter by its name, with new weights.

    Args:
        name: one of `ARCHITECTURES`.
        options: `classes`, the background among them; `backbone` and `alpha`, its width multiplier; `aspp`. See the class.

    Raises:
        NetworkError: no such name, an option that the network does not have, or one out of range.
    """
    check("segmenter", name, ARCHITECTURES, options)
    check_values(name, ARCHITECTURES[name], options, lambda option: _EXPECTED[option])
    return ARCHITECTURES[name](**options)
