"""Detectors, one file a family: a network, the meaning of its numbers (`decode`), and its loss."""

import math
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from onelook.detectors.builders import ARCHITECTURES, Detector, expected
from onelook.detectors.fast_rcnn import FastRcnn, FastRcnnLoss
from onelook.detectors.faster_rcnn import FasterRcnn, FasterRcnnLoss
from onelook.detectors.localizer import Localizer, LocalizerLoss
from onelook.detectors.m2det import M2Det
from onelook.detectors.mask_rcnn import MaskRcnn, MaskRcnnLoss
from onelook.detectors.retinanet import RetinaNet, RetinaNetLoss
from onelook.detectors.ssd import Ssd, SsdLoss
from onelook.detectors.ssdlite import SsdLite
from onelook.detectors.targets import Targets, targets
from onelook.detectors.yolo_v1 import YoloV1, YoloV1Loss
from onelook.detectors.yolo_v2 import YoloV2, YoloV2Loss
from onelook.detectors.yolo_v3 import YoloV3, YoloV3Loss
from onelook.errors import NetworkError
from onelook.losses import OVERLAPS
from onelook.options import check, check_values

__all__ = [
    "ARCHITECTURES",
    "Detector",
    "FastRcnn",
    "FastRcnnLoss",
    "FasterRcnn",
    "FasterRcnnLoss",
    "Localizer",
    "LocalizerLoss",
    "Loss",
    "M2Det",
    "MaskRcnn",
    "MaskRcnnLoss",
    "RetinaNet",
    "RetinaNetLoss",
    "Ssd",
    "SsdLite",
    "SsdLoss",
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
_WORDS: Mapping[str, tuple[str | None, ...]] = {
    "box": ("squared", *OVERLAPS),
    "focal": ("objectness", "classes", None),
}

Loss = (
    YoloV1Loss
    | YoloV2Loss
    | YoloV3Loss
    | SsdLoss
    | RetinaNetLoss
    | FastRcnnLoss
    | FasterRcnnLoss
    | MaskRcnnLoss
    | LocalizerLoss
)


def create(name: str, /, **options: Any) -> Detector:
    """A detector by its name, with new weights.

    Args:
        name: one of `ARCHITECTURES`.
        options: `classes`; `backbone`, a name of `onelook.backbones.ARCHITECTURES`, the paper's by default, and `alpha`, the
            width multiplier of a MobileNet; what the class of the network takes, see there. `separable` is the default on
            a MobileNet: MobileNet-YOLO.

    Raises:
        NetworkError: no such name, an option that the network does not have, or one out of range.

    >>> create("yolo_v3", classes=2, backbone="mobilenet_v2").backbone.channels
    (32, 96, 1280)
    """
    check("detector", name, ARCHITECTURES, options)
    check_values(name, ARCHITECTURES[name], options, partial(expected, name, options=options))
    return ARCHITECTURES[name](**options)


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
        case Ssd() | SsdLite() | M2Det():
            kind, own = SsdLoss, {"priors": network.priors}
        case RetinaNet():
            kind, own = RetinaNetLoss, {"priors": network.priors}
        case MaskRcnn():  # before what it is a kind of
            kind, own = MaskRcnnLoss, {"network": network}
        case FasterRcnn():
            kind, own = FasterRcnnLoss, {"network": network}
        case FastRcnn():
            kind, own = FastRcnnLoss, {"head": network.head}
        case Localizer():
            kind, own = LocalizerLoss, {}
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
        if switch == "alpha" and value is not None and value > 1:  # what is left of 1 weighs the background
            raise NetworkError(f"alpha of {kind.__name__} must be 0 to 1; found {value}")
    if switches.get("focal") == "objectness" and switches.get("rescore"):
        raise NetworkError("the focal loss of objectness is for truths of 0 and 1; with rescore they lie between")
    return kind(**own, **switches)
