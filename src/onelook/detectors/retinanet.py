"""RetinaNet (Lin et al., 2017, arXiv:1708.02002) on any backbone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Backbone
from onelook.backbones.backbone import check_sides
from onelook.detectors.blocks import PRIOR, normalise
from onelook.detectors.priors import IGNORED, Priors, Shapes, assign
from onelook.detectors.targets import Targets
from onelook.losses import focal, wide
from onelook.nn.conv import ConvBlock
from onelook.nn.decode import Size
from onelook.nn.fpn import FeaturePyramid
from onelook.nn.init import glorot_uniform, he_normal
from onelook.nn.separable import DepthwiseSeparable

# Section 4, "Anchors": areas of 32^2 to 512^2 pixels on P3 to P7, at three scales and three aspect ratios (height to
# width).
SIDES = (32, 64, 128, 256, 512)
SCALES = (2**0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (1 / 2, 1, 2)
ANCHORS_A_PLACE = len(SCALES) * len(RATIOS)
DEPTH = 4  # 3 x 3 convolutions of a subnet before its last one
DEVIATION = 0.01  # of new weights


class RetinaNet(nn.Module):
    """RetinaNet: a feature pyramid from P3 to P7, whose maps two small subnets share, one for classes, one for boxes.

    Args:
        backbone: gives C3 to C5, the maps at the strides 8, 16, 32; the paper's is ResNet-50 or -101.
        classes: K.
        width: channels of the pyramid and of the subnets; 256 in the paper.
        separable: depthwise-separable convolutions in place of the 3 x 3 ones, for MobileNets.
        smallest: side of the smallest anchors, pixels of the input; 32 in the paper, for pictures of 400 to 800 pixels.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1, H and W multiples of 32 -> of P3 to P7 the offsets of all anchors
    [B, 9 * 4, h, w], then of P3 to P7 their class logits [B, 9 * K, h, w].
    """

    def __init__(
        self, backbone: Backbone, classes: int, width: int = 256, separable: bool = False, smallest: float = SIDES[0]
    ):
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.priors = Priors(anchors(smallest), relative=False)
        self.pyramid = FeaturePyramid(backbone.channels, width, separable)
        # "P6 is obtained via a 3x3 stride-2 conv on C5, and P7 is computed by applying ReLU followed by a 3x3 stride-2
        # conv on P6": section 4, footnote 2.
        self.p6 = coarser((backbone.channels[-1], width), separable)
        self.p7 = nn.Sequential(nn.ReLU(), coarser((width, width), separable))
        for new in (self.pyramid, self.p6, self.p7):
            glorot_uniform(new)
        self.box_subnet = subnet(width, ANCHORS_A_PLACE * 4, separable)
        # "Initialization": at first each anchor is an object with a probability of PRIOR, as nearly all are of none.
        self.class_subnet = subnet(width, ANCHORS_A_PLACE * classes, separable, bias=-math.log((1 - PRIOR) / PRIOR))

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        maps = self.backbone.features(normalise(image, self.backbone))
        p6 = self.p6(maps[-1])
        levels = [*self.pyramid(maps), p6, self.p7(p6)]
        return [subnet(level) for subnet in (self.box_subnet, self.class_subnet) for level in levels]

    def check_size(self, size: Size) -> None:
        """Raises NetworkError for a height or width, in pixels, that the network cannot take."""
        check_sides(size)

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw maps -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, K]."""
        offsets, logits = self.priors.flat(raw)
        return self.priors.decode(offsets, self.priors.boxes(raw, size)), logits.sigmoid()


def anchors(smallest: float = SIDES[0]) -> tuple[Shapes, ...]:
    """Width and height of the nine anchors of each map; `smallest` is in the place of 32 pixels."""
    return tuple(
        tuple((side * s / math.sqrt(ratio), side * s * math.sqrt(ratio)) for s in SCALES for ratio in RATIOS)
        for side in (side * smallest / SIDES[0] for side in SIDES)
    )


def coarser(channels: tuple[int, int], separable: bool) -> nn.Module:
    """A 3 x 3 convolution of stride 2: [B, channels[0], H, W] -> [B, channels[1], H / 2, W / 2], rounded up."""
    if separable:
        return DepthwiseSeparable(channels, stride=2, activation="linear")
    return nn.Conv2d(*channels, 3, 2, padding=1)


def subnet(width: int, outputs: int, separable: bool, bias: float = 0.0) -> nn.Sequential:
    """Four 3 x 3 convolutions with ReLU and one without: [B, width, h, w] -> [B, outputs, h, w].

    Even separable ones have no batch normalisation: the maps that share a subnet have not the same statistics.

    Args:
        width: channels of the maps.
        outputs: channels of the last convolution.
        separable: depthwise-separable convolutions.
        bias: of the last convolution, at first.
    """

    def convolution(channels: int, activation: str) -> list[ConvBlock]:
        if not separable:
            return [ConvBlock((width, channels), 3, padding=1, batch_norm=False, activation=activation)]
        return [
            ConvBlock((width, width), 3, padding=1, groups=width, batch_norm=False, activation="relu"),
            ConvBlock((width, channels), 1, batch_norm=False, activation=activation),
        ]

    blocks = [block for _ in range(DEPTH) for block in convolution(width, "relu")] + convolution(outputs, "linear")
    net = nn.Sequential(*blocks)
    he_normal(net)
    # The paper's deviation is for sums of 9 x 256 numbers; separable convolutions, but for the last, would fade away.
    for block in blocks[-1:] if separable else blocks:
        nn.init.normal_(block.conv.weight, std=DEVIATION)
    assert blocks[-1].conv.bias is not None
    nn.init.constant_(blocks[-1].conv.bias, bias)
    return net


@dataclass(frozen=True)
class RetinaNetLoss:
    """The loss of RetinaNet (sections 3 and 4): a dict of its terms, each divided by the batch's assigned anchors.

    An anchor is assigned to the object that it overlaps from `positive` on, and each object has its best anchor, as in
    the rule of RPN that section 4 builds on; it is background below `negative`, and ignored in between.

    * classes: focal loss of independent logistic classes, summed over all anchors but the ignored ones;
    * box: smooth L1 of the assigned anchors' offsets.

    Attributes:
        priors: of the network.
        positive, negative: IoU; see above.
        gamma, alpha: of the focal loss.
        beta: where smooth L1 turns from a parabola to a line; 0.11 in the authors' code, 1 in Fast R-CNN's paper.
        box_weight: of the box term.
    """

    priors: Priors
    positive: float = 0.5
    negative: float = 0.4
    gamma: float = 2.0
    alpha: float | None = 0.25
    beta: float = 0.11
    box_weight: float = 1.0

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network.
            targets: of the batch.
            size: of the input, height and width.
        """
        raw = [wide(x) for x in raw]
        offsets, logits = self.priors.flat(raw)
        anchors = self.priors.boxes(raw, size)
        target = assign(targets, anchors, len(logits), self.positive, self.negative)
        assigned = target >= 0
        answered = target[assigned]

        truth = self.priors.encode(targets.boxes[answered], anchors.expand_as(offsets)[assigned])
        box = F.smooth_l1_loss(offsets[assigned], truth, beta=self.beta, reduction="sum")

        named = torch.zeros_like(logits)
        named[*assigned.nonzero(as_tuple=True), targets.classes[answered]] = 1
        classes = focal(logits, named, self.gamma, self.alpha)[target != IGNORED].sum()
        count = assigned.sum().clamp(min=1)
        return {"classes": classes / count, "box": self.box_weight * box / count}
