"""How R-CNN is trained (Girshick et al., 2014, arXiv:1311.2524): its backbone, its SVMs, its box regressions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.boxes import iou, xyxy_to_cxcywh
from onelook.detectors.linear import ridge, svms
from onelook.detectors.rcnn import NORM, OFFSETS, Boxes, Propose, RegionClassifier, propose
from onelook.detectors.regions import draw
from onelook.errors import NetworkError
from onelook.runtime.picture import Pixels

FOREGROUND = 0.5  # IoU with an object from which on a region is of its class when the backbone is tuned: section 2.3
REGIONS, SHARE = 128, 0.25  # of a minibatch, "32 positive windows (over all classes) and 96 background windows"
BACKGROUND = 0.3  # IoU with a class's objects below which a region is a negative of its SVM: section 2.3
NEARBY = 0.6  # IoU above which a proposal teaches the regression of its object's box: appendix C
PENALTY = 1000.0  # lambda of equation 5

# What the paper leaves to the authors' code: cost and weight of the SVMs' errors; a region is a hard negative above the
# one score and is dropped again below the other; negatives that are gathered before the SVMs are trained anew.
COST, POSITIVE = 1e-3, 2.0
HARD, EASY = -1.0, -1.2
GATHERED = 2000


class Labelled(NamedTuple):
    """A picture to learn from."""

    image: Pixels
    """RGB uint8 [H, W, 3]."""
    boxes: Boxes
    """[M, 4] xyxy in pixels."""
    classes: NDArray[np.int64]
    """[M]"""


def fine_tune(
    network: RegionClassifier,
    pictures: Sequence[Labelled],
    steps: int,
    propose: Propose = propose,
    learning_rate: float = 0.001,
) -> None:
    """Train the backbone itself on warped regions, by a softmax over the classes and the background (section 2.3).

    To be followed by `fit`. Batch normalisation keeps its statistics, as a minibatch is mostly background.

    Args:
        network: its backbone is changed in place.
        pictures: read as they are asked for, some for each minibatch.
        steps: minibatches of stochastic gradient descent.
        propose: gives the regions of a picture.
        learning_rate: "1/10th of the initial pre-training rate".
    """
    network.eval()
    found = []
    for i, one in enumerate(pictures):
        boxes = torch.from_numpy(np.concatenate((one.boxes, propose(one.image))))
        # One more object, none, which is what is found where there are no others.
        overlap, nearest = F.pad(iou(boxes[:, None], torch.from_numpy(one.boxes)), (0, 1)).max(dim=1)
        classes = F.pad(1 + torch.from_numpy(one.classes), (0, 1))[nearest] * (overlap >= FOREGROUND)
        found.append((torch.full_like(classes, i), boxes, classes))
    picture, boxes, classes = (torch.cat(column) for column in zip(*found, strict=True))
    softmax = nn.Linear(network.svms.in_features, 1 + network.classes)
    nn.init.normal_(softmax.weight, std=0.01)
    nn.init.zeros_(softmax.bias)
    learning = [*network.backbone.parameters(), *softmax.parameters()]
    optimizer = torch.optim.SGD(learning, learning_rate, momentum=0.9)
    for _ in range(steps):
        chosen = torch.cat(draw(classes > 0, classes == 0, REGIONS, SHARE))
        chosen = chosen[picture[chosen].argsort()]
        crops: list[Tensor] = []
        for i in picture[chosen].unique().tolist():
            crops += network.warp(pictures[i].image, boxes[chosen[picture[chosen] == i]].numpy())
        optimizer.zero_grad()
        F.cross_entropy(softmax(network.features(torch.cat(crops))[0]), classes[chosen]).backward()
        optimizer.step()


@torch.no_grad()
def fit(
    network: RegionClassifier, pictures: Sequence[Labelled], propose: Propose = propose, cost: float = COST
) -> None:
    """Train the SVMs (section 2.3, appendix B) and the box regressions (appendix C) on the backbone's features.

    The pictures are gone through twice: for the objects, which are the SVMs' positives; then for the proposals, once,
    which are mined for hard negatives ("in practice mAP stops increasing after only a single pass over all images").

    Args:
        network: changed in place.
        pictures: read as they are asked for, twice.
        propose: gives the regions of a picture.
        cost: of the SVMs' errors; of few pictures they learn more where it is higher than for VOC's thousands.

    Raises:
        NetworkError: no picture has an object.
    """
    network.eval()
    for parameter in (*network.svms.parameters(), *network.boxes.parameters()):
        parameter.zero_()
    seen = [(*_see(network, one.image, one.boxes), torch.from_numpy(one.classes)) for one in pictures]
    objects, maps, classes = (torch.cat(parts) for parts in zip(*seen, strict=True))
    if not len(objects):
        raise NetworkError("R-CNN cannot be trained on pictures without objects")
    scale = torch.stack([NORM / x.norm(dim=1).mean() for x in (objects, maps)])
    network.norms.div_(scale)
    mining = Mining(objects * scale[0], F.one_hot(classes, network.classes).float(), network.svms, cost)
    offsets, near, of = [], [], []
    for one in pictures:
        boxes, kinds = torch.from_numpy(one.boxes), torch.from_numpy(one.classes)
        proposed = propose(one.image)
        features, whole = _see(network, one.image, np.concatenate((one.boxes, proposed)))
        regions = torch.from_numpy(proposed)
        overlap = iou(torch.cat((boxes, regions))[:, None], boxes)
        best = torch.zeros(len(overlap), network.classes)
        best.scatter_reduce_(1, kinds.expand(len(overlap), -1), overlap, "amax")
        mining.add(features, best < BACKGROUND)
        if len(boxes):
            overlap, nearest = overlap[len(boxes) :].max(dim=1)
            taught = overlap > NEARBY
            near.append(whole[len(boxes) :][taught])
            offsets.append(OFFSETS.encode(boxes[nearest[taught]], xyxy_to_cxcywh(regions[taught])))
            of.append(kinds[nearest[taught]])
    mining.train()
    _regress(network.boxes, torch.cat(near), torch.cat(offsets), torch.cat(of))


class Mining:
    """The SVMs with the regions that they learn from: all positives, and the negatives that are hard for them.

    Args:
        positives: features of the objects [M, D].
        signs: [M, C], 1 in the class of each, else 0.
        svms: of C classes on D features, trained in place; zeros at first, to which every negative is hard. Of a class
            without positives there is nothing to learn: its SVM says -1 of everything.
        cost: of their errors.
    """

    def __init__(self, positives: Tensor, signs: Tensor, svms: nn.Linear, cost: float):
        self.features, self.signs, self.svms, self.cost = positives, signs, svms, cost
        self.new = 0
        svms.bias[~(signs > 0).any(dim=0)] = -1

    def add(self, features: Tensor, negative: Tensor) -> None:
        """Take in what is hard of the regions of a picture.

        Args:
            features: [N, D].
            negative: bool [N, C], those that are negatives of each class.
        """
        hard = negative & (self.svms(features) > HARD)
        kept = hard.any(dim=1)
        self.features = torch.cat((self.features, features[kept]))
        self.signs = torch.cat((self.signs, -hard[kept].float()))
        self.new += int(kept.sum())
        if self.new >= GATHERED:
            self.train()
            self.drop()

    def train(self) -> None:
        """Train the SVMs on what there is."""
        weight, bias = svms(self.features, self.signs, self.cost, POSITIVE, (self.svms.weight, self.svms.bias))
        self.svms.weight.copy_(weight)
        self.svms.bias.copy_(bias)
        self.new = 0

    def drop(self) -> None:
        """Leave out the negatives that have become easy."""
        easy = (self.signs < 0) & (self.svms(self.features) < EASY)
        signs = self.signs.masked_fill(easy, 0)
        kept = signs.any(dim=1)
        self.features, self.signs = self.features[kept], signs[kept]


def _see(network: RegionClassifier, image: Pixels, boxes: Boxes) -> tuple[Tensor, Tensor]:
    """The features of regions [N, D] and [N, D']."""
    empty = (
        network.svms.weight.new_zeros(0, network.svms.in_features),
        network.boxes.weight.new_zeros(0, network.boxes.in_features),
    )
    found = [empty, *(network.features(crops) for crops in network.warp(image, boxes))]
    mean, whole = (torch.cat(parts) for parts in zip(*found, strict=True))
    return mean, whole


def _regress(layer: nn.Linear, features: Tensor, offsets: Tensor, classes: Tensor) -> None:
    """Train the regressions of every class that has pairs; those of the others leave a box as it is.

    Args:
        layer: of the regressions, changed in place.
        features: of the proposals [N, D'].
        offsets: of their objects from them [N, 4].
        classes: of those objects [N].
    """
    for i in classes.unique().tolist():
        own = classes == i
        layer.weight[4 * i : 4 * i + 4], layer.bias[4 * i : 4 * i + 4] = ridge(features[own], offsets[own], PENALTY)
