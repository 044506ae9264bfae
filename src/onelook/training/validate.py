"""How good a network is in the middle of training, on whole pictures, by the measure of `onelook evaluate`."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onelook.conversion import TRAINED_IOU_THRESHOLD
from onelook.data import Sample
from onelook.data.class_maps import load_class_map
from onelook.errors import SourceError
from onelook.metrics import Found, coco_ap, mean_iou, segmentation_result, top_k
from onelook.nms import nms
from onelook.runtime import picture
from onelook.runtime.resize import Placement, place
from onelook.training.distributed import Processes, gather

# Of AP: detections down to this score count; better ones suppress those that overlap more; at most so many of a picture
# are looked at.
SCORE_THRESHOLD, IOU_THRESHOLD, MOST = 0.001, TRAINED_IOU_THRESHOLD, 1000
CROP = 0.875  # share of a picture's shorter side that a classifier is shown
BATCH = 16


class _Input(NamedTuple):
    image: Tensor
    """float32 [B, 3, H, W], 0..1."""
    placements: list[Placement]


def _inputs(
    samples: Sequence[Sample], size: tuple[int, int], resize: str, device: torch.device, crop: float = 1.0
) -> Iterator[_Input]:
    """Pictures as the runtime shows them to a network; one that cannot be read is grey."""

    def load(sample: Sample) -> tuple[NDArray[np.uint8], Placement]:
        canvas = np.zeros((*size, 3), np.uint8)
        try:
            image = picture.read(sample.image)
        except SourceError:
            image = np.full((sample.height, sample.width, 3), 128, np.uint8)
        return canvas, place(image, canvas, resize, "linear", crop)

    with ThreadPoolExecutor() as executor:
        for i in range(0, len(samples), BATCH):
            canvases, placements = zip(*executor.map(load, samples[i : i + BATCH]), strict=True)
            image = torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2)
            yield _Input(image.to(device).float() / 255, list(placements))


class DetectorValidation:
    """COCO's AP of a detector.

    Args:
        samples: labelled pictures.
        names: of the classes.
        size: of the network's input, height and width.
        processes: each takes its share of the pictures; all get the figures.
        resize: "letterbox" or "stretch".
    """

    def __init__(
        self, samples: Sequence[Sample], names: Sequence[str], size: tuple[int, int], processes: Processes, resize: str
    ):
        self.samples, self.names, self.size, self.processes, self.resize = samples, names, size, processes, resize

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """AP and AP50; the score is AP. Empty without pictures."""
        if not self.samples:
            return {}
        found = _shared(list(self.detect(network, _share(self.samples, self.processes))), self.processes)
        result = coco_ap(self.samples, found, self.names)
        return {"AP": result.ap, "AP50": result.ap50, "score": result.ap}

    @torch.inference_mode()
    def detect(self, network: Any, samples: Sequence[Sample]) -> Iterator[Found]:
        """What a network in evaluation mode finds in each picture, boxes in its pixels, best first."""
        for image, placements in _inputs(samples, self.size, self.resize, self.processes.device):
            for boxes, scores, placement in zip(*network.decode(network(image), self.size), placements, strict=True):
                candidate, classes = (scores > SCORE_THRESHOLD).nonzero(as_tuple=True)
                score, order = scores[candidate, classes].sort(descending=True, stable=True)
                order = order[:MOST]
                box, score, kind = boxes[candidate[order]], score[:MOST], classes[order]
                kept = nms(box, score, IOU_THRESHOLD, kind)
                box, score, kind = (x[kept].cpu().numpy() for x in (box, score, kind))
                yield Found(placement.to_picture(box), score, kind)


class ClassifierValidation:
    """Top-1 and top-5 of a classifier, on the middle of each picture.

    Args:
        samples: labelled pictures.
        size: of the network's input, height and width.
        processes: each takes its share of the pictures; all get the figures.
    """

    def __init__(self, samples: Sequence[Sample], size: tuple[int, int], processes: Processes):
        self.samples, self.size, self.processes = samples, size, processes

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """The shares, 0..1; the score is top-1. Empty without pictures."""
        if not self.samples:
            return {}
        inputs = _inputs(_share(self.samples, self.processes), self.size, "crop", self.processes.device, CROP)
        logits = [row for image, _ in inputs for row in network(image).cpu().numpy()]
        scores = np.stack(_shared(logits, self.processes))
        right = np.array([sample.labels[0] for sample in self.samples])
        top1, top5 = top_k(scores, right, 1), top_k(scores, right, 5)
        return {"top1": top1, "top5": top5, "score": top1}


class SegmenterValidation:
    """Mean IoU of a semantic segmenter, in the pixels of the pictures.

    Args:
        samples: pictures that have class maps.
        names: of the classes.
        size: of the network's input, height and width.
        processes: each takes its share of the pictures; all get the figures.
        resize: "letterbox" or "stretch".
    """

    def __init__(
        self, samples: Sequence[Sample], names: Sequence[str], size: tuple[int, int], processes: Processes, resize: str
    ):
        self.samples, self.names, self.size, self.processes, self.resize = samples, names, size, processes, resize

    @torch.inference_mode()
    def __call__(self, network: Any) -> dict[str, float]:
        """Mean IoU, which is the score, and the share of pixels that are right. Empty without pictures."""
        if not self.samples:
            return {}
        mine = _share(self.samples, self.processes)
        confusion = np.zeros((len(self.names), len(self.names)), np.int64)
        of = iter(mine)
        for image, placements in _inputs(mine, self.size, self.resize, self.processes.device):
            found = network.decode(network(image), self.size).cpu().numpy()
            for mask, placement, sample in zip(found, placements, of, strict=False):
                rows, columns = placement.pixels()
                truth = load_class_map(sample, (placement.height, placement.width))
                confusion += mean_iou([truth], [mask[rows][:, columns]], self.names).confusion
        result = segmentation_result(sum(gather(confusion, self.processes)))
        return {"mean_iou": result.mean_iou, "accuracy": result.pixel_accuracy, "score": result.mean_iou}


def _share(samples: Sequence[Sample], processes: Processes) -> Sequence[Sample]:
    """The pictures of this process: every so manieth one."""
    return samples[processes.rank :: processes.count]


def _shared(mine: list[Any], processes: Processes) -> list[Any]:
    """The results of all processes, in the order of the pictures."""
    shares = gather(mine, processes)
    found: list[Any] = [None] * sum(map(len, shares))
    for rank, share in enumerate(shares):
        found[rank :: processes.count] = share
    return found
