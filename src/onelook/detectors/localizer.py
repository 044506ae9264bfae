"""A classifier that says where its object is (OverFeat: Sermanet et al., 2014, arXiv:1312.6229, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Backbone
from onelook.boxes import area
from onelook.detectors.assignment import last
from onelook.detectors.blocks import normalise
from onelook.detectors.targets import Targets
from onelook.errors import NetworkError
from onelook.losses import wide
from onelook.nn.conv import ConvBlock
from onelook.nn.decode import Size
from onelook.nn.pool import GlobalAvgPool

STRIDE = 32  # pixels of a place of the last map


class Localizer(nn.Module):
    """For pictures of one object: which class it is of, and its box. The step between a classifier and a detector.

    Args:
        backbone: gives the map at stride 32, which both answers are made of.
        classes: C.
        size: of the input, height and width, multiples of 32. It is fixed, as the box comes of a fully connected layer,
            which sees where in the map something is.
        width: channels that the map is brought to before that layer.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1 -> [B, C + 4], alone in a list: the class logits, then the left,
    top, right and bottom edge of the box, relative to the picture. All are linear outputs.

    Raises:
        NetworkError: a size that is not of whole places.
    """

    def __init__(self, backbone: Backbone, classes: int, size: Size = (224, 224), width: int = 256):
        super().__init__()
        if any(side <= 0 or side % STRIDE for side in size):
            raise NetworkError(f"size of a localizer must be multiples of {STRIDE}; found {size[1]} x {size[0]}")
        self.backbone, self.classes, self.size = backbone, classes, (size[0], size[1])
        channels, places = backbone.channels[-1], (size[0] // STRIDE) * (size[1] // STRIDE)
        self.logits = nn.Sequential(GlobalAvgPool(), nn.Linear(channels, classes))
        self.edges = nn.Sequential(
            ConvBlock((channels, width), 1, activation="relu"), nn.Flatten(), nn.Linear(places * width, 4)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        x = self.backbone.features(normalise(image, self.backbone))[-1]
        return [torch.cat((self.logits(x), self.edges(x)), dim=1)]

    def check_size(self, size: Size) -> None:
        """Raises NetworkError for a height or width, in pixels, that the network was not built for."""
        if tuple(size) != self.size:
            own = f"{self.size[1]} x {self.size[0]}"
            raise NetworkError(f"this localizer takes one size of input alone, {own}; found {size[1]} x {size[0]}")

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw outputs -> boxes [B, 1, 4] xyxy in pixels of the input of `size` (height, width), scores [B, 1, C]."""
        logits, edges = raw[0][:, None].split([self.classes, 4], dim=2)
        return edges * edges.new_tensor((size[1], size[0]) * 2), logits.softmax(dim=2)


@dataclass(frozen=True)
class LocalizerLoss:
    """The loss of a localizer: a dict of terms, each summed over the pictures and averaged over the batch.

    A picture is of its largest object, of equal ones the last; one without objects adds nothing.

    * classes: cross-entropy of the softmax;
    * box: squared errors of the edges, relative to the picture ("the l2 loss", section 4.2).

    Attributes:
        box_weight: of that term. The paper does not need one, since it trains the box after the classes; the default
            is lambda_coord of YOLO (arXiv:1506.02640, section 2.2).
    """

    box_weight: float = 5.0

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network: [B, C + 4], alone in a list.
            targets: of the batch.
            size: of the input, height and width.
        """
        values = wide(raw[0])
        order = area(targets.boxes).argsort(stable=True)
        main = order[last(targets.picture[order])]
        logits, edges = values[targets.picture[main]].split([values.shape[1] - 4, 4], dim=1)
        truth = targets.boxes[main] / values.new_tensor((size[1], size[0]) * 2)
        return {
            "classes": F.cross_entropy(logits, targets.classes[main], reduction="sum") / len(values),
            "box": self.box_weight * (edges - truth).square().sum() / len(values),
        }
