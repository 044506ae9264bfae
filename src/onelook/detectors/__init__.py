"""Detectors, one file a family: a network, the meaning of its numbers (`decode`), and its loss."""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch

from onelook import backbones
from onelook.detectors import yolo_v2, yolo_v3
from onelook.detectors.targets import Targets, targets
from onelook.detectors.yolo_v1 import YoloV1, YoloV1Loss
from onelook.detectors.yolo_v2 import YoloV2, YoloV2Loss
from onelook.detectors.yolo_v3 import YoloV3, YoloV3Loss
from onelook.errors import NetworkError
from onelook.losses import OVERLAPS
from onelook.nn.wordtree import WordTree

__all__ = [
    "ARCHITECTURES",
    "Detector",
    "Loss",
    "Targets",
    "YoloV1",
    "YoloV1Loss",
    "YoloV2",
    "YoloV2Loss",
    "YoloV3",
    "YoloV3Loss",
    "create",
    "make_loss",
    "targets",
]

# Of the switches of losses, those that are one of a few words.
_WORDS = {"box": ("squared", *OVERLAPS), "focal": ("objectness", "classes", None)}

Detector = YoloV1 | YoloV2 | YoloV3
Loss = YoloV1Loss | YoloV2Loss | YoloV3Loss


def _yolo_v1(
    classes: int,
    backbone: str = "extraction",
    alpha: float | None = None,
    size: Sequence[int] = (448, 448),
    boxes: int = 2,
    head: str = "connected",
) -> YoloV1:
    return YoloV1(_backbone(backbone, alpha), classes, (size[0], size[1]), boxes, head)  # type: ignore[arg-type]


def _yolo_v2(
    classes: int,
    backbone: str = "darknet19",
    alpha: float | None = None,
    anchors: Sequence[Sequence[float]] | None = None,
    width: int | None = None,
    separable: bool | None = None,
    parents: Sequence[int] | None = None,
) -> YoloV2:
    thin = _is_mobile(backbone) if separable is None else separable
    own = yolo_v2.ANCHORS if anchors is None else tuple((w, h) for w, h in anchors)
    with torch.device("cpu"):  # its tables are no weights: no file has them
        tree = None if parents is None else WordTree(parents)
    return YoloV2(_backbone(backbone, alpha), classes, own, width or (320 if thin else 1024), thin, tree)


def _yolo_v3(
    classes: int,
    backbone: str = "darknet53",
    alpha: float | None = None,
    anchors: Sequence[Sequence[Sequence[float]]] | None = None,
    width: int | None = None,
    separable: bool | None = None,
    scale_x_y: float = 1.0,
) -> YoloV3:
    thin = _is_mobile(backbone) if separable is None else separable
    own = yolo_v3.ANCHORS if anchors is None else tuple(tuple((w, h) for w, h in scale) for scale in anchors)
    return YoloV3(_backbone(backbone, alpha), classes, own, width or (160 if thin else 512), thin, scale_x_y)


def _backbone(name: str, alpha: float | None) -> backbones.Backbone:
    return backbones.create(name, classes=0, **({} if alpha is None else {"alpha": alpha}))


def _is_mobile(backbone: str) -> bool:
    return backbone.startswith("mobilenet")


ARCHITECTURES: Mapping[str, Callable[..., Detector]] = {"yolo_v1": _yolo_v1, "yolo_v2": _yolo_v2, "yolo_v3": _yolo_v3}


def create(name: str, /, **options: Any) -> Detector:
    """A detector by its name, with new weights.

    Args:
        name: one of `ARCHITECTURES`.
        options: `classes`; `backbone`, a name of `onelook.backbones.ARCHITECTURES`, the paper's by default, and `alpha`, the
            width multiplier of a MobileNet. Of yolo_v1 `size`, `boxes` and `head`; of the others `anchors`, `width` and
            `separable`, which is the default on a MobileNet: MobileNet-YOLO. Of yolo_v2 `parents`, those of a WordTree; of
            yolo_v3 `scale_x_y`. See the classes.

    Raises:
        NetworkError: no such name, an option that the network does not have, or one out of range.

    >>> create("yolo_v3", classes=2, backbone="mobilenet_v2").backbone.channels
    (32, 96, 1280)
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name[:64], ARCHITECTURES, cutoff=0.5)
        known = f"closest: {', '.join(close)}" if close else f"known: {', '.join(ARCHITECTURES)}"
        raise NetworkError(f"no detector named {name[:64]!r}; {known}")
    takes = inspect.signature(ARCHITECTURES[name]).parameters
    for option in options:
        if option not in takes:
            raise NetworkError(f"{name} takes no {option[:64]!r}; it takes {', '.join(takes)}")
    for option, value in ({"classes": None} | options).items():
        fits, expected = _expected(name, option, options)
        if not (value is None and takes[option].default is None) and not fits(value):
            raise NetworkError(f"{option} of {name} must be {expected}; found {str(value)[:64]!r}")
    return ARCHITECTURES[name](**options)


def _expected(name: str, option: str, options: Mapping[str, Any]) -> tuple[Callable[[Any], bool], str]:
    """What an option can be: a test of it, and in words."""
    match option:
        case "classes":
            return lambda value: _is_number(value, 1, 1_000_000), "from 1 to 1000000"
        case "width":
            return lambda value: _is_number(value, 4, 65536), "from 4 to 65536"
        case "boxes":
            return lambda value: _is_number(value, 1, 1000), "from 1 to 1000"
        case "scale_x_y":
            return lambda value: _is_number(value, 1, 2, float), "from 1 to 2"
        case "separable":
            return lambda value: isinstance(value, bool), "true or false"
        case "head":
            return lambda value: value in ("connected", "local"), "connected or local"
        case "size":
            return lambda value: _is_list(value, 2) and all(_is_number(side, 1) for side in value), "height and width"
        case "anchors" if name == "yolo_v3":
            return lambda value: _is_list(value, 3) and all(map(_are_anchors, value)), "three lists of width and height"
        case "anchors":
            return _are_anchors, "a list of width and height"
        case "parents":
            classes = options.get("classes")
            return (
                lambda value: _are_parents(value) and len(value) == classes,
                f"{classes} numbers, as WordTree has them",
            )
    return lambda value: isinstance(value, str) or option != "backbone", "a name"


def _is_number(value: Any, low: float, high: float = math.inf, kind: type[int] | type[float] = int) -> bool:
    return isinstance(value, (int, kind)) and not isinstance(value, bool) and low <= value <= high


def _is_list(value: Any, length: int | None = None) -> bool:
    return isinstance(value, list | tuple) and len(value) == (len(value) or 1 if length is None else length)


def _are_anchors(value: Any) -> bool:
    return _is_list(value) and all(
        _is_list(one, 2) and all(_is_number(x, 1e-6, 1e6, float) for x in one) for one in value
    )


def _are_parents(value: Any) -> bool:
    return _is_list(value) and all(_is_number(parent, -1, i - 1) for i, parent in enumerate(value))


def make_loss(network: Detector, **switches: Any) -> Loss:
    """The loss of a network; without switches the paper's.

    Args:
        network: of which it is.
        switches: attributes of its loss's class: `box`, `focal`, `ignore`, ...

    Raises:
        NetworkError: a switch that the loss does not have, or one out of range.
    """
    kind: type[Loss]
    own: dict[str, Any]
    match network:
        case YoloV1():
            kind, own = YoloV1Loss, {"side": network.side, "classes": network.classes}
        case YoloV2():
            kind, own = YoloV2Loss, {"anchors": network.anchors, "tree": network.tree}
        case YoloV3():
            kind, own = YoloV3Loss, {"anchors": network.anchors, "scale_x_y": network.scale_x_y}
    takes = {field.name for field in fields(kind)} - own.keys()
    for switch in switches:
        if switch not in takes:
            raise NetworkError(f"{kind.__name__} has no switch {switch[:64]!r}; it has {', '.join(sorted(takes))}")
    for switch, value in switches.items():
        if switch in _WORDS and value not in _WORDS[switch]:
            known = ", ".join(str(word) for word in _WORDS[switch] if word)
            raise NetworkError(f"{switch} of {kind.__name__} must be one of {known}; found {str(value)[:64]!r}")
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise NetworkError(f"{switch} of {kind.__name__} must be 0 or more; found {value}")
    if switches.get("focal") == "objectness" and switches.get("rescore"):
        raise NetworkError("the focal loss of objectness is for truths of 0 and 1; with rescore they lie between")
    return kind(**own, **switches)
