"""YOLO (Redmon et al., 2016, arXiv:1506.02640), the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import Backbone
from onelook.backbones.darknet import leaky
from onelook.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from onelook.detectors.assignment import last
from onelook.detectors.blocks import normalise
from onelook.detectors.targets import Targets
from onelook.errors import NetworkError
from onelook.losses import wide
from onelook.nn.decode import Size, decode_yolo_v1
from onelook.nn.local import Local

STRIDE = 64  # pixels of a cell


class YoloV1(nn.Module):
    """YOLOv1: a grid of S x S cells; each cell has B boxes and the probabilities of one class.

    Args:
        backbone: gives the map at stride 32; the paper's is the first 20 convolutions of Figure 3, "extraction".
        classes: C.
        size: of the input, height and width: S x 64 pixels both; 448 in the paper. It is fixed, as the network ends in
            fully connected layers.
        boxes: B of each cell, 2 in the paper.
        head: "connected", the two fully connected layers of Figure 3; or "local", as in the authors' later network: a
            layer whose kernels differ from place to place, then one fully connected layer.

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1 -> [B, S * S * (C + B * 5)], alone in a list: the class
    probabilities of all cells, then the confidences of all boxes, then all x, y, sqrt w, sqrt h. All are linear outputs.

    Raises:
        NetworkError: a size that is not square, or not of whole cells.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        size: Size = (448, 448),
        boxes: int = 2,
        head: Literal["connected", "local"] = "connected",
    ):
        super().__init__()
        if size[0] != size[1] or size[0] <= 0 or size[0] % STRIDE:
            raise NetworkError(f"size of YOLOv1 must be square, of a multiple of {STRIDE}; found {size[1]} x {size[0]}")
        self.backbone, self.classes, self.boxes, self.side = backbone, classes, boxes, size[0] // STRIDE
        cells, outputs = self.side**2, self.side**2 * (classes + boxes * 5)
        self.convolutions = nn.Sequential(
            leaky((backbone.channels[-1], 1024), 3),
            leaky((1024, 1024), 3, stride=2),
            leaky((1024, 1024), 3),
            leaky((1024, 1024), 3),
        )
        if head == "connected":
            self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(cells * 1024, 4096), nn.LeakyReLU(0.1))
        else:
            self.hidden = nn.Sequential(Local((1024, 256), (self.side,) * 2, 3, 1, 1, "leaky"), nn.Flatten())
        self.output = nn.Sequential(nn.Dropout(0.5), nn.Linear(4096 if head == "connected" else cells * 256, outputs))

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        x = self.backbone.features(normalise(image, self.backbone))[-1]
        return [self.output(self.hidden(self.convolutions(x)))]

    def check_size(self, size: Size) -> None:
        """Raises NetworkError for a height or width, in pixels, that the network was not built for."""
        side = self.side * STRIDE
        if tuple(size) != (side, side):
            raise NetworkError(
                f"this YOLOv1 takes one size of input alone, {side} x {side}; found {size[1]} x {size[0]}"
            )

    def decode(self, raw: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Raw outputs -> boxes [B, N, 4] xyxy in pixels of the input of `size` (height, width), scores [B, N, C]."""
        return decode_yolo_v1(raw[0], size, self.side, self.classes, square=True, softmax=False)


@dataclass(frozen=True)
class YoloV1Loss:
    """Equation 3: a dict of its terms, each summed over a picture and averaged over the batch.

    * coordinates: the errors of x, y (within the cell, 0..1) and of the square roots of w, h (relative to the picture) of
      the box that is responsible for an object: that of the object's cell which overlaps it most (section 2.2), or is
      nearest where none does, as in Darknet;
    * objectness: its confidence against its overlap with the object;
    * no_object: the confidences of all other boxes, against 0;
    * classes: the probabilities of each cell that holds an object's centre. Of two objects in one cell the later counts.

    Attributes:
        side: S of the network.
        classes: C.
        coordinates_weight, no_object_weight: lambda_coord and lambda_noobj.
    """

    side: int
    classes: int
    coordinates_weight: float = 5.0
    no_object_weight: float = 0.5

    def __call__(self, raw: Sequence[Tensor], targets: Targets, size: Size) -> dict[str, Tensor]:
        """The terms, scalars.

        Args:
            raw: of the network: [B, S * S * (C + B * 5)], alone in a list.
            targets: of the batch.
            size: of the input, height and width.
        """
        values, cells = wide(raw[0]), self.side**2
        count = (values.shape[1] // cells - self.classes) // 5
        parts = values.split([cells * self.classes, cells * count, cells * count * 4], dim=1)
        probability = parts[0].unflatten(1, (cells, self.classes))
        confidence = parts[1].unflatten(1, (cells, count))
        box = parts[2].unflatten(1, (cells, count, 4))

        truth = xyxy_to_cxcywh(targets.boxes) / values.new_tensor((size[1], size[0])).repeat(2)
        column, row = (truth[:, :2] * self.side).long().clamp(0, self.side - 1).unbind(dim=1)
        picture, cell, classes = targets.picture, row * self.side + column, targets.classes
        keep = last(picture * cells + cell)
        picture, cell, classes, truth = picture[keep], cell[keep], classes[keep], truth[keep]
        corner = torch.stack((cell % self.side, cell // self.side), dim=1)

        found = box[picture, cell]  # [M, B, 4]
        with torch.no_grad():
            centre = (found[..., :2] + corner[:, None]) / self.side
            predicted = cxcywh_to_xyxy(torch.cat((centre, found[..., 2:].square()), dim=-1))
            overlap = iou(predicted, cxcywh_to_xyxy(truth)[:, None])  # [M, B]
            distance = (xyxy_to_cxcywh(predicted) - truth[:, None]).square().sum(dim=-1)
            responsible = torch.where(overlap.amax(1) > 0, overlap.argmax(1), distance.argmin(1))
            overlap = overlap.gather(1, responsible[:, None])[:, 0]

        place = torch.cat((truth[:, :2] * self.side - corner, truth[:, 2:].sqrt()), dim=1)
        coordinates = (found.gather(1, responsible[:, None, None].expand(-1, 1, 4))[:, 0] - place).square().sum()
        objectness = (confidence[picture, cell, responsible] - overlap).square().sum()
        others = torch.ones_like(confidence)
        others[picture, cell, responsible] = 0
        no_object = (confidence.square() * others).sum()
        named = F.one_hot(classes, self.classes)
        terms = {
            "coordinates": self.coordinates_weight * coordinates,
            "objectness": objectness,
            "no_object": self.no_object_weight * no_object,
            "classes": (probability[picture, cell] - named).square().sum(),
        }
        return {name: term / len(values) for name, term in terms.items()}
