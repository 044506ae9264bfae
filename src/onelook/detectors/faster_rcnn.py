"""Faster R-CNN (Ren et al., 2015, arXiv:1506.01497): a Region Proposal Network, and Fast R-CNN on what it proposes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Backbone
from onelook.detectors.fast_rcnn import FastRcnnLoss, Rcnn, Sampled
from onelook.detectors.priors import Shapes
from onelook.detectors.regions import Roi
from onelook.detectors.rpn import NOTHING, Rpn, RpnLoss
from onelook.detectors.targets import Targets
from onelook.errors import NetworkError
from onelook.nn.decode import Size


def anchor_shapes(sides: Sequence[float]) -> Shapes:
    """Width and height in pixels of anchors of the areas of these squares, at the ratios 1:2, 1:1 and 2:1 (section 3.3)."""
    return tuple((side / sqrt(ratio), side * sqrt(ratio)) for side in sides for ratio in (0.5, 1.0, 2.0))


ANCHORS = (anchor_shapes((128, 256, 512)),)  # section 3.3
PYRAMID_ANCHORS = tuple(anchor_shapes((side,)) for side in (32, 64, 128, 256, 512))  # arXiv:1612.03144, section 4.1

# Boxes of a map that enter suppression, and proposals of a picture that are left, when training and afterwards: the
# numbers of the paper's text and code, and of arXiv:1612.03144, section 5.2.
TRAINING, PYRAMID_TRAINING = (12000, 2000), (2000, 2000)
BEFORE, PYRAMID_BEFORE = 6000, 1000
PROPOSALS, PYRAMID_PROPOSALS = 300, 1000


class FasterRcnn(Rcnn):
    """Faster R-CNN, on the map of stride 16 or on a feature pyramid. What is not said here is of `Rcnn`.

    Args:
        anchors: of the map, or of each of the pyramid's five, at the strides 4 to 64: width and height in pixels of the
            input; None takes the papers', which are for pictures of 600 and 800 pixels.
        proposals: P, of a picture that are classified; None takes the papers', 300 and with a pyramid 1000.

    Raises:
        NetworkError: anchors of another number of maps, or not as many of each.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1, H and W multiples of 32 -> the maps that proposals are made on
    [B, channels, h, w], one or five; then for each the offsets [B, A * 4, h, w]; then for each the objectness [B, A, h, w].
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        pyramid: int = 0,
        roi: Roi = "pool",
        width: int = 4096,
        separable: bool = False,
        anchors: Sequence[Shapes] | None = None,
        proposals: int | None = None,
    ):
        super().__init__(backbone, classes, pyramid, roi, width, separable)
        papers = PYRAMID_ANCHORS if pyramid else ANCHORS
        self.anchors = papers if anchors is None else tuple(anchors)
        if len(self.anchors) != len(papers) or len({len(own) for own in self.anchors}) > 1:
            raise NetworkError(
                f"anchors must be of {len(papers)} maps, as many of each; found {len(self.anchors)} maps"
            )
        self.before = PYRAMID_BEFORE if pyramid else BEFORE
        self.proposals = proposals or (PYRAMID_PROPOSALS if pyramid else PROPOSALS)
        self.rpn = Rpn(self.channels, self.anchors, separable)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        maps = self.features(image)
        if self.pyramid is not None:  # "P_6 is simply a stride two subsampling of P_5": section 4.1
            maps.append(F.max_pool2d(maps[-1], 1, 2))
        return [*maps, *self.rpn(maps)]

    def split(self, raw: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """What `forward` gives: the maps that regions are cut out of, and the numbers of the RPN."""
        return raw[: len(self.strides)], raw[len(self.anchors) :]

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw tensors -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""
        maps, of_rpn = self.split(raw)
        boxes, objectness = self.rpn.propose(of_rpn, size, self.before, self.proposals)
        return self.head.decode(maps, boxes, objectness > NOTHING, size)


@dataclass(frozen=True)
class FasterRcnnLoss:
    """The four terms of the approximate joint training (section 3.2): those of `RpnLoss` and of `FastRcnnLoss`.

    The proposals are constants for the gradient.

    Attributes:
        network: whose head looks at the proposals.
        regions: of a picture; None takes the papers', 128 and with a pyramid 512.
        share: of them that hold an object, at most.
    """

    network: FasterRcnn
    regions: int | None = None
    share: float = 0.25

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network.
            targets: of the batch.
            size: of the input, height and width.
        """
        return self.both(raw, targets, size)[0]

    def both(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> tuple[dict[str, Tensor], Sampled]:
        """The terms of both stages, and the regions that the second one learns from."""
        network, pyramid = self.network, self.network.pyramid is not None
        maps, of_rpn = network.split(raw)
        terms = RpnLoss(network.rpn.priors, across=pyramid)(of_rpn, targets, size)
        boxes, objectness = network.rpn.propose(of_rpn, size, *(PYRAMID_TRAINING if pyramid else TRAINING))
        second = FastRcnnLoss(network.head, self.regions or (512 if pyramid else 128), self.share, least=0.0)
        sampled = second.sample(boxes, objectness > NOTHING, targets)
        return terms | second.terms(maps, sampled, targets), sampled
