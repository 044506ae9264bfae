"""Classification networks, one file a family; each is a backbone for detectors too."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from onelook.backbones.backbone import STRIDES, Backbone
from onelook.backbones.darknet import Darknet19, Darknet53, Extraction
from onelook.backbones.mobilenet_v1 import MobileNetV1
from onelook.backbones.mobilenet_v2 import MobileNetV2
from onelook.backbones.resnet import ResNet
from onelook.backbones.vgg import VGG16
from onelook.backbones.xception import Xception
from onelook.options import check

__all__ = [
    "ARCHITECTURES",
    "STRIDES",
    "VGG16",
    "Backbone",
    "Darknet19",
    "Darknet53",
    "Extraction",
    "MobileNetV1",
    "MobileNetV2",
    "ResNet",
    "Xception",
    "create",
]

ARCHITECTURES: Mapping[str, Callable[..., Backbone]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "vgg16": VGG16,
    "xception": Xception,
    "resnet50": partial(ResNet, 50),
    "resnet101": partial(ResNet, 101),
    "se_resnet50": partial(ResNet, 50, reduction=16),
    "extraction": Extraction,
    "darknet19": Darknet19,
    "darknet53": Darknet53,
}


def create(name: str, /, **options: Any) -> Backbone:
    """A backbone by its name, with new weights.

    Args:
        name: one of `ARCHITECTURES`.
        options: what its class takes: `classes`, `reduction`; `alpha` of the MobileNets.

    Raises:
        NetworkError: no such name, an option that the network does not have, or one out of range.

    >>> create("mobilenet_v2", alpha=1.4, classes=10).channels
    (48, 136, 1792)
    """
    check("architecture", name, ARCHITECTURES, options)
    return ARCHITECTURES[name](**options)
