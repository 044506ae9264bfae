"""VGG-16 (Simonyan and Zisserman, 2015, arXiv:1409.1556)."""

from collections.abc import Sequence

from torch import nn

from onelook.backbones.backbone import Backbone, Row, check_classes, check_reduction, check_sides
from onelook.errors import NetworkError
from onelook.nn.attention import attended
from onelook.nn.conv import ConvBlock
from onelook.nn.init import glorot_uniform

# Column D of Table 1: channels of the 3 x 3 convolutions, in five stages that each end with a pooling of stride 2.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CONNECTED = 4096


class VGG16(Backbone):
    """VGG-16: thirteen 3 x 3 convolutions and three fully connected layers.

    Args:
        classes: outputs of the classifier; 0 leaves all three fully connected layers off.
        picture: side of the square pictures that the classifier takes, a multiple of 32; `features` takes any.
        reduction: of the squeeze-and-excitation behind each convolution; 0 puts none there.

    Attributes, `forward` and `features`: see `Backbone`; without its classifier, `forward` gives the last map. The mean
    of the training pictures is taken from each pixel (section 2.1). Weights are drawn as Glorot and Bengio do, which
    section 3.1 names as the way to do without pre-training.

    Raises:
        NetworkError: a number of classes or a side out of range.
    """

    mean = (123.68, 116.779, 103.939)
    std = (1.0, 1.0, 1.0)

    def __init__(self, classes: int = 1000, picture: int = 224, reduction: int = 0):
        check_classes(classes)
        check_reduction(reduction)
        check_sides((picture, picture))
        rows, channels = [], 3
        for stage in STAGES:
            for width in stage:
                conv = ConvBlock((channels, width), 3, padding=1, batch_norm=False, activation="relu")
                rows.append(Row(attended(conv, width, reduction), width, 1))
                channels = width
            rows.append(Row(nn.MaxPool2d(2), channels, 2))
        super().__init__(rows, _connected(channels * (picture // 32) ** 2, classes) if classes else nn.Identity())
        self.picture = picture
        glorot_uniform(self)

    def check_size(self, size: Sequence[int]) -> None:
        """Raises NetworkError for a height or width that the classifier was not made for."""
        super().check_size(size)
        if not isinstance(self.head, nn.Identity) and any(side != self.picture for side in size):
            sides = " x ".join(map(str, size))
            raise NetworkError(f"VGG-16's classifier is made for {self.picture} x {self.picture} pixels; found {sides}")


def _connected(inputs: int, classes: int) -> nn.Sequential:
    """The fully connected layers of Table 1, with dropout on the first two (section 3.1)."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(inputs, CONNECTED), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(CONNECTED, CONNECTED), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(CONNECTED, classes),
    )
