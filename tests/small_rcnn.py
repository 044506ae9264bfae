"""What the tests of the R-CNNs share: networks so small that they run at once, and what the model file must find."""

import importlib.util
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onelook.backbones import Backbone
from onelook.backbones.backbone import Row
from onelook.detectors.faster_rcnn import FasterRcnn, anchor_shapes
from onelook.detectors.mask_rcnn import MaskRcnn
from onelook.nms import nms
from onelook.nn.conv import ConvBlock

Network = TypeVar("Network", bound=nn.Module)

ENGINES = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
SIZE = (96, 128)
ANCHORS = (anchor_shapes((16, 32, 64)),)
PYRAMID_ANCHORS = tuple(anchor_shapes((side,)) for side in (8, 16, 32, 64, 128))


def backbone(width: int = 8, padding: int | Literal["same"] = 1) -> Backbone:
    """Of the strides 2 to 32, a convolution each."""
    channels = [(3 if i == 0 else width, width) for i in range(5)]
    rows = [Row(ConvBlock(pair, 3, 2, padding, activation="relu"), width, 2) for pair in channels]
    return Backbone(rows, nn.Identity())


def plain(classes: int = 3, **options: object) -> FasterRcnn:
    return FasterRcnn(backbone(), classes, width=16, anchors=ANCHORS, proposals=20, **options)  # type: ignore[arg-type]


def pyramid(classes: int = 3) -> FasterRcnn:
    return FasterRcnn(backbone(), classes, 8, "align", 16, anchors=PYRAMID_ANCHORS, proposals=20)


def with_masks(classes: int = 3) -> MaskRcnn:
    return MaskRcnn(backbone(), classes, 8, 16, anchors=PYRAMID_ANCHORS, proposals=20)


def awake(network: Network, logits: float = 0.8) -> Network:
    """With weights that find something everywhere, in evaluation mode; `logits` is how sure it is of classes."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                gain = 0.2 * logits if "offsets" in name else logits if "logits" in name else 2
                weight.normal_(0, gain * weight[0].numel() ** -0.5)
            elif name.endswith("bias"):
                weight.zero_()
    return network.eval()


def in_torch(network: nn.Module, images: NDArray[np.uint8], score: float, iou: float) -> list[Tensor]:
    """Boxes, scores, classes and picture of every detection, picture by picture, best first."""
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        boxes, scores = network.decode(network(x), (images.shape[1], images.shape[2]))  # type: ignore[operator]
    batch, box, label = (scores > score).nonzero().unbind(1)
    boxes, scores = boxes[batch, box], scores[batch, box, label]
    kept = nms(boxes, scores, iou, label, batch)
    kept = kept[batch[kept].argsort(stable=True)]
    return [boxes[kept], scores[kept], label[kept], batch[kept]]


def agree(found: list[NDArray[np.generic]], expected: list[Tensor]) -> list[int]:
    """That a model file found the same: within 1e-3 pixels, and 1e-4 of the scores.

    Gives of every expected detection the number of the one that was found. Those with equal scores may change places.
    """
    boxes, scores, classes, batch_index = (np.asarray(x) for x in found[:4])
    assert [np.sum(batch_index == i) for i in range(4)] == [int((expected[3] == i).sum()) for i in range(4)]
    places = []
    for box, score, label, picture in zip(*(x.tolist() for x in expected), strict=True):
        near = (np.abs(boxes - box).max(axis=1) < 1e-3) & (np.abs(scores - score) < 1e-4)
        (place,) = np.nonzero(near & (classes == label) & (batch_index == picture))
        assert len(place), f"{label} at {box} in {picture}, {score}"
        places.append(int(place[0]))
    for i in range(4):
        own = scores[batch_index == i]
        assert (np.diff(own) <= 0).all()
    return places
