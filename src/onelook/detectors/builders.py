"""Each detector from options that JSON can hold, and what these options must be."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from onelook import backbones
from onelook.detectors import yolo_v2, yolo_v3
from onelook.detectors.fast_rcnn import PROPOSALS, FastRcnn
from onelook.detectors.faster_rcnn import FasterRcnn
from onelook.detectors.localizer import Localizer
from onelook.detectors.m2det import M2Det
from onelook.detectors.mask_rcnn import MaskRcnn
from onelook.detectors.retinanet import RetinaNet
from onelook.detectors.ssd import Ssd
from onelook.detectors.ssdlite import SsdLite
from onelook.detectors.yolo_v1 import YoloV1
from onelook.detectors.yolo_v2 import YoloV2
from onelook.detectors.yolo_v3 import YoloV3
from onelook.nn.wordtree import WordTree
from onelook.options import ANYTHING, CLASSES, NAME, YES_OR_NO, Fits, is_list, is_number, number

Detector = YoloV1 | YoloV2 | YoloV3 | Ssd | SsdLite | RetinaNet | M2Det | FastRcnn | FasterRcnn | MaskRcnn | Localizer
Pairs = Sequence[Sequence[float]]  # width and height of each


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
    anchors: Pairs | None = None,
    width: int | None = None,
    separable: bool | None = None,
    parents: Sequence[int] | None = None,
) -> YoloV2:
    thin = _is_mobile(backbone) if separable is None else separable
    own = yolo_v2.ANCHORS if anchors is None else _pairs(anchors)
    with torch.device("cpu"):  # its tables are no weights: no file has them
        tree = None if parents is None else WordTree(parents)
    return YoloV2(_backbone(backbone, alpha), classes, own, width or (320 if thin else 1024), thin, tree)


def _yolo_v3(
    classes: int,
    backbone: str = "darknet53",
    alpha: float | None = None,
    anchors: Sequence[Pairs] | None = None,
    width: int | None = None,
    separable: bool | None = None,
    scale_x_y: float = 1.0,
) -> YoloV3:
    thin = _is_mobile(backbone) if separable is None else separable
    own = yolo_v3.ANCHORS if anchors is None else tuple(map(_pairs, anchors))
    return YoloV3(_backbone(backbone, alpha), classes, own, width or (160 if thin else 512), thin, scale_x_y)


def _ssd(classes: int, backbone: str = "vgg16", side: int = 300, scales: Sequence[float] | None = None) -> Ssd:
    return Ssd(_backbone(backbone, None), classes, side, scales)


def _ssdlite(
    classes: int, backbone: str = "mobilenet_v2", alpha: float | None = None, scales: Sequence[float] | None = None
) -> SsdLite:
    return SsdLite(_backbone(backbone, alpha), classes, scales)


def _retinanet(
    classes: int,
    backbone: str = "resnet50",
    alpha: float | None = None,
    width: int | None = None,
    separable: bool | None = None,
    smallest: float = 32.0,
) -> RetinaNet:
    thin = _is_mobile(backbone) if separable is None else separable
    return RetinaNet(_backbone(backbone, alpha), classes, width or (64 if thin else 256), thin, smallest)


def _m2det(
    classes: int,
    backbone: str = "vgg16",
    alpha: float | None = None,
    side: int = 320,
    levels: int = 8,
    width: int = 256,
    scales: Sequence[float] | None = None,
) -> M2Det:
    return M2Det(_backbone(backbone, alpha), classes, side, levels, width, scales)


def _rcnn(
    backbone: str,
    alpha: float | None,
    pyramid: int | None,
    roi: str | None,
    width: int | None,
    separable: bool | None,
) -> dict[str, Any]:
    """What Fast and Faster R-CNN are made of: the papers' on VGG-16, on others a pyramid with RoIAlign."""
    thin = _is_mobile(backbone) if separable is None else separable
    channels = (0 if backbone == "vgg16" else 64 if thin else 256) if pyramid is None else pyramid
    return {
        "backbone": _backbone(backbone, alpha),
        "pyramid": channels,
        "roi": roi or ("align" if channels else "pool"),
        "width": width or (4096 if not channels else 256 if thin else 1024),
        "separable": thin,
    }


def _fast_rcnn(
    classes: int,
    backbone: str = "vgg16",
    alpha: float | None = None,
    pyramid: int | None = None,
    roi: str | None = None,
    width: int | None = None,
    separable: bool | None = None,
    proposals: int = PROPOSALS,
) -> FastRcnn:
    return FastRcnn(classes=classes, proposals=proposals, **_rcnn(backbone, alpha, pyramid, roi, width, separable))


def _faster_rcnn(
    classes: int,
    backbone: str = "vgg16",
    alpha: float | None = None,
    pyramid: int | None = None,
    roi: str | None = None,
    width: int | None = None,
    separable: bool | None = None,
    anchors: Sequence[Pairs] | None = None,
    proposals: int | None = None,
) -> FasterRcnn:
    own = None if anchors is None else tuple(map(_pairs, anchors))
    shared = _rcnn(backbone, alpha, pyramid, roi, width, separable)
    return FasterRcnn(classes=classes, anchors=own, proposals=proposals, **shared)


def _mask_rcnn(
    classes: int,
    backbone: str = "resnet50",
    alpha: float | None = None,
    pyramid: int | None = None,
    width: int | None = None,
    separable: bool | None = None,
    anchors: Sequence[Pairs] | None = None,
    proposals: int | None = None,
) -> MaskRcnn:
    thin = _is_mobile(backbone) if separable is None else separable
    own = None if anchors is None else tuple(map(_pairs, anchors))
    channels = pyramid or (64 if thin else 256)
    return MaskRcnn(
        _backbone(backbone, alpha), classes, channels, width or (256 if thin else 1024), thin, own, proposals
    )


def _localizer(
    classes: int,
    backbone: str = "vgg16",
    alpha: float | None = None,
    size: Sequence[int] = (224, 224),
    width: int = 256,
) -> Localizer:
    return Localizer(_backbone(backbone, alpha), classes, (size[0], size[1]), width)


ARCHITECTURES: Mapping[str, Callable[..., Detector]] = {
    "yolo_v1": _yolo_v1,
    "yolo_v2": _yolo_v2,
    "yolo_v3": _yolo_v3,
    "ssd": _ssd,
    "ssdlite": _ssdlite,
    "retinanet": _retinanet,
    "m2det": _m2det,
    "fast_rcnn": _fast_rcnn,
    "faster_rcnn": _faster_rcnn,
    "mask_rcnn": _mask_rcnn,
    "localizer": _localizer,
}


def expected(name: str, option: str, options: Mapping[str, Any]) -> Fits:
    """What an option of a network can be: a test of it, and in words."""
    match option:
        case "classes":
            return CLASSES
        case "width" | "pyramid":
            return number(4 if option == "width" or name == "mask_rcnn" else 0, 65536)
        case "boxes":
            return number(1, 1000)
        case "levels":
            return number(1, 64)
        case "proposals":
            return number(1, PROPOSALS)  # as many are proposed in training
        case "scale_x_y":
            return number(1, 2, float)
        case "smallest":
            return number(1, 1024, float)
        case "separable":
            return YES_OR_NO
        case "head":
            return lambda value: value in ("connected", "local"), "connected or local"
        case "roi":
            return lambda value: value in ("pool", "align"), "pool or align"
        case "side":
            known = (300, 512) if name == "ssd" else (320, 512, 800)
            return lambda value: is_number(value, 0) and value in known, " or ".join(map(str, known))
        case "size":
            return lambda value: is_list(value, 2) and all(is_number(side, 1) for side in value), "height and width"
        case "scales":
            return (
                lambda value: is_list(value) and all(is_number(share, 1e-3, 10, float) for share in value),
                "a list of shares of the side",
            )
        case "anchors" if name == "yolo_v2":
            return _are_pairs, "a list of width and height"
        case "anchors":
            maps = 3 if name == "yolo_v3" else None
            return lambda value: is_list(value, maps) and all(map(_are_pairs, value)), "lists of width and height"
        case "parents":
            classes = options.get("classes")
            return (
                lambda value: _are_parents(value) and len(value) == classes,
                f"{classes} numbers, as WordTree has them",
            )
        case "backbone":
            return NAME
    return ANYTHING


def _backbone(name: str, alpha: float | None) -> backbones.Backbone:
    return backbones.create(name, classes=0, **({} if alpha is None else {"alpha": alpha}))


def _is_mobile(backbone: str) -> bool:
    return backbone.startswith("mobilenet")


def _pairs(values: Pairs) -> tuple[tuple[float, float], ...]:
    return tuple((width, height) for width, height in values)


def _are_pairs(value: Any) -> bool:
    return is_list(value) and all(is_list(one, 2) and all(is_number(x, 1e-6, 1e6, float) for x in one) for one in value)


def _are_parents(value: Any) -> bool:
    return is_list(value) and all(is_number(parent, -1, i - 1) for i, parent in enumerate(value))
