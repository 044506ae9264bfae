"""R-CNN (Girshick et al., 2014, arXiv:1311.2524): every proposed region is cut out, warped and classified by itself."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onelook.backbones import STRIDES, Backbone, create
from onelook.backbones.backbone import check_sides
from onelook.backbones.tap import tap
from onelook.boxes import clip, xyxy_to_cxcywh
from onelook.checkpoint import fill, opened
from onelook.detectors.blocks import normalise
from onelook.detectors.priors import Priors
from onelook.errors import CheckpointError
from onelook.nms import nms
from onelook.runtime import atomic
from onelook.runtime.detections import Detections
from onelook.runtime.picture import Pixels, shown
from onelook.runtime.selective_search import selective_search
from onelook.runtime.session import FORMAT

Boxes = NDArray[np.float32]
Propose = Callable[[Pixels], Boxes]  # RGB uint8 [H, W, 3] -> xyxy [P, 4] in pixels, P at least 1

CONTEXT = 16  # p of section 2.1, pixels of the warped region
WIDTH = 500  # of the picture that is searched, pixels: section 4.2
OFFSETS = Priors(())  # equations 1 to 4 and 6 to 9
BATCH = 128  # regions that the network sees at once
NORM = 20.0  # of features on average: those of the authors' code are scaled to it


class RegionClassifier(nn.Module):
    """The network of R-CNN: what an SVM of each class says of a warped region, and where its object is.

    Args:
        backbone: with trained weights; what is behind its map of stride 32 is cut off. The mean of the map over all
            places is what the SVMs see, in the place of fc7, and the map itself is what the boxes are regressed
            from, in the place of pool5.
        classes: C.
        size: side of the warped regions, a multiple of 32 pixels.

    `forward`: regions float32 [N, 3, size, size], RGB in 0..1 -> scores [N, C], offsets [N, C * 4] of the box in each class.

    Raises:
        NetworkError: a size of no whole places.
    """

    def __init__(self, backbone: Backbone, classes: int, size: int = 224):
        super().__init__()
        check_sides((size, size))
        self.backbone, self.classes, self.size = tap(backbone, STRIDES[-1:]), classes, size
        channels = self.backbone.channels[0]
        self.norms = nn.Buffer(torch.full((2,), NORM))  # mean norms of the mean and of the map
        self.svms = nn.Linear(channels, classes)
        self.boxes = nn.Linear(channels * (size // STRIDES[-1]) ** 2, 4 * classes)
        for parameter in (*self.svms.parameters(), *self.boxes.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, regions: Tensor) -> list[Tensor]:
        """See the class."""
        mean, whole = self.features(regions)
        return [self.svms(mean), self.boxes(whole)]

    def features(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Regions as of `forward` -> what the SVMs see [N, channels], and the regressions [N, channels * places]."""
        (x,) = self.backbone.features(normalise(regions, self.backbone))
        mean, whole = NORM / self.norms
        return x.mean((2, 3)) * mean, x.flatten(1) * whole

    def decode(self, raw: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """The box of each class in the picture, xyxy [N, C, 4].

        Args:
            raw: of the network.
            boxes: of the N regions, xyxy [N, 4] in pixels of the picture.
        """
        return OFFSETS.decode(raw[1].unflatten(1, (-1, 4)), xyxy_to_cxcywh(boxes)[:, None])

    def warp(self, image: Pixels, boxes: Boxes) -> Iterator[Tensor]:
        """The regions of a picture as the network takes them, BATCH at a time; see `warp`."""
        colour = tuple(self.backbone.mean)
        for start in range(0, len(boxes), BATCH):
            regions = warp(image, boxes[start : start + BATCH], self.size, colour)
            yield torch.from_numpy(regions).permute(0, 3, 1, 2) / 255


def warp(image: Pixels, boxes: Boxes, size: int, colour: Sequence[float]) -> Pixels:
    """Each region and CONTEXT pixels around it, stretched to a square (section 2.1 and appendix A).

    Args:
        image: RGB uint8 [H, W, 3].
        boxes: xyxy [N, 4] in pixels of the picture, with an area.
        size: of the square, pixels; the region itself fills it but for the context.
        colour: of what is outside of the picture, RGB in 0..255.

    Returns:
        uint8 [N, size, size, 3].
    """
    regions = np.empty((len(boxes), size, size, 3), np.uint8)
    for region, (x1, y1, x2, y2) in zip(regions, boxes.astype(np.float64), strict=True):
        across, down = (x2 - x1) / (size - 2 * CONTEXT), (y2 - y1) / (size - 2 * CONTEXT)
        # Of the middle of a pixel of the region to its place in the picture, both counted from the middle of the first.
        x, y = (low + (0.5 - CONTEXT) * step - 0.5 for low, step in ((x1, across), (y1, down)))
        cv2.warpAffine(
            image,
            np.array(((across, 0, x), (0, down, y))),
            (size, size),
            dst=region,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=tuple(colour),
        )
    return regions


def propose(image: Pixels) -> Boxes:
    """The boxes of selective search in a picture that is brought to a width of 500 pixels (section 4.2)."""
    height, width = image.shape[:2]
    small = np.asarray(cv2.resize(image, (WIDTH, max(1, round(height * WIDTH / width)))), np.uint8)
    scale = np.array((width / small.shape[1], height / small.shape[0]) * 2, np.float32)
    return selective_search(small) * scale


@torch.no_grad()
def detect(
    network: RegionClassifier,
    image: Pixels,
    names: Sequence[str],
    propose: Propose = propose,
    score_threshold: float = 0.0,
    iou_threshold: float = 0.3,
) -> Detections:
    """The objects in a picture (section 2.2), the surest first.

    Args:
        network: trained by `onelook.detectors.rcnn_fit.fit`.
        image: RGB uint8 [H, W, 3].
        names: of the classes.
        propose: gives the regions.
        score_threshold: an SVM's score above which a region is of its class; those of VOC's figures have none.
        iou_threshold: of the suppression among those of one class.

    Returns:
        What was found, with the picture; scores are those of SVMs, of any range.
    """
    network.eval()
    regions = propose(image)
    found = [network(crops) for crops in network.warp(image, regions)]
    raw = [torch.cat(parts) for parts in zip(*found, strict=True)]
    refined = clip(network.decode(raw, torch.from_numpy(regions)), image.shape[1], image.shape[0])
    region, classes = (raw[0] > score_threshold).nonzero(as_tuple=True)
    boxes, scores = refined[region, classes], raw[0][region, classes]
    kept = nms(boxes, scores, iou_threshold, classes)
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    height, width = image.shape[:2]
    return Detections(boxes.numpy(), scores.numpy(), classes.numpy(), tuple(names), width, height, image=image)


def save(
    network: RegionClassifier, backbone: str, options: Mapping[str, Any], names: Sequence[str], path: str | Path
) -> Path:
    """Write a trained network, beside its place and then renamed.

    Args:
        network: of the `names`.
        backbone, options: what `onelook.backbones.create` made its backbone of.
        names: of the classes.
        path: of the file, in safetensors.

    Raises:
        CheckpointError: the file cannot be written.
    """
    about = {"backbone": backbone, "options": dict(options), "names": list(names), "size": network.size}
    header = {"format": FORMAT, "rcnn": json.dumps(about, ensure_ascii=False)}
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    return atomic.save(Path(path), safetensors.torch.save(tensors, header), CheckpointError)


def load(path: str | Path) -> tuple[RegionClassifier, tuple[str, ...]]:
    """Read a network, in evaluation mode, and the names of its classes.

    Raises:
        CheckpointError: the file cannot be read, holds no R-CNN of onelook's, or other weights than the network has.
    """
    with opened(Path(path), "rcnn", "an R-CNN") as (file, text):
        try:
            about = json.loads(text)
            names = tuple(about["names"])
            if not all(isinstance(name, str) and name.isprintable() for name in names):
                raise ValueError("names")
            with torch.device("meta"):
                backbone = create(about["backbone"], **{**about["options"], "classes": 0})
                network = RegionClassifier(backbone, len(names), about["size"])
        except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
            reason = shown(str(error)[:200])
            raise CheckpointError(f"{path}: its header is damaged: {type(error).__name__} {reason}") from None
        fill(network, file, Path(path))
    return network.eval(), names
