"""What was published of the classification networks, and which way of counting gives the figures."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from onelook.backbones import create
from onelook.nn.count import Numbers, numbers


@dataclass(frozen=True, slots=True)
class Published:
    """Figures of a network, to the digits that were printed.

    Attributes:
        name, options: what `onelook.backbones.create` takes.
        size: side of the square picture, pixels.
        top1, top5: share of ImageNet's validation pictures whose class is the first, is among the first five.
        source: where they stand.
        parameters, multiply_adds: with their unit, "4.20M"; None where not printed. Where a paper counts operations,
            half as many multiply-adds are given.
        weights: the name in onelook's zoo of trained ones, where there are some.
    """

    name: str
    options: Mapping[str, Any]
    size: int
    top1: float
    top5: float
    source: str
    parameters: str | None = None
    multiply_adds: str | None = None
    weights: str | None = None


_SLIM_V1 = "github.com/tensorflow/models, slim/nets/mobilenet_v1.md"
_SLIM_V2 = "github.com/tensorflow/models, slim/nets/mobilenet/README.md"
_RESNET = "arXiv:1512.03385, Tables 1 and 3 (ten crops)"

# fmt: off
PUBLISHED = (
    Published("xception", {}, 299, 0.790, 0.945, "arXiv:1610.02357, Table 1; parameters: keras.io", "22.91M"),
    Published("vgg16", {}, 224, 0.715, 0.901, "arXiv:1610.02357, Table 1; parameters: keras.io", "138.35M"),
    Published("mobilenet_v1", {"alpha": 1.0}, 224, 0.709, 0.899, f"{_SLIM_V1}; parameters: arXiv:1704.04861, Table 4",
              "4.20M", "569M"),
    Published("mobilenet_v1", {"alpha": 0.75}, 192, 0.672, 0.873, _SLIM_V1, "2.59M", "233M",
              "mobilenet_v1_0.75_192"),
    Published("mobilenet_v1", {"alpha": 0.5}, 160, 0.591, 0.819, _SLIM_V1, "1.34M", "77M",
              "mobilenet_v1_0.5_160"),
    Published("mobilenet_v1", {"alpha": 0.25}, 128, 0.415, 0.663, _SLIM_V1, "0.47M", "14M",
              "mobilenet_v1_0.25_128"),
    Published("mobilenet_v2", {"alpha": 1.4}, 224, 0.750, 0.925, _SLIM_V2, "6.06M", "582M"),
    Published("mobilenet_v2", {"alpha": 1.0}, 224, 0.718, 0.910, _SLIM_V2, "3.47M", "300M",
              "mobilenet_v2_1.0_224"),
    Published("mobilenet_v2", {"alpha": 0.35}, 96, 0.455, 0.704, _SLIM_V2, "1.66M", "11M"),
    Published("resnet50", {}, 224, 0.7715, 0.9329, _RESNET, None, "3.8G"),
    Published("resnet101", {}, 224, 0.7825, 0.9395, _RESNET, None, "7.6G"),
    Published("se_resnet50", {}, 224, 0.7671, 0.9338, "arXiv:1709.01507, Tables 2 and 10", "28.1M", "3.87G"),
    Published("extraction", {}, 224, 0.725, 0.908, "pjreddie.com/darknet/imagenet", None, "4.26G"),
    Published("darknet19", {}, 224, 0.729, 0.912, "arXiv:1612.08242, section 3", None, "2.79G"),
    Published("darknet53", {}, 256, 0.772, 0.938, "arXiv:1804.02767, Table 2", None, "9.35G"),
)
# fmt: on

_UNITS = {"M": 10**6, "G": 10**9}


def counts(network: Published) -> Iterator[tuple[str, int]]:
    """The ways of counting parameters, each with what it gives, the likeliest first.

    The MobileNets also with 1001 classes: their authors have one more, for the background.
    """
    for classes in (1000, 1001) if network.name.startswith("mobilenet") else (1000,):
        with torch.device("meta"):
            n: Numbers = numbers(create(network.name, classes=classes, **network.options))
        ways = {
            "learned": n.parameters,
            "weights": n.weights,
            "weights and biases": n.weights + n.biases,
            "learned and statistics": n.parameters + n.statistics,
        }
        for way, value in ways.items():
            yield way if classes == 1000 else f"{way}, 1001 classes", value


def explain(network: Published) -> str | None:
    """How the printed number of parameters comes about; None where no way of counting gives it, or none is printed.

    "learned": weights, biases, scale and shift of batch normalisation; "statistics": its running mean and variance;
    "cut": the digits that were printed are right, but the number was not rounded to them.
    """
    if network.parameters is None:
        return None
    found = list(counts(network))
    for rounding, suffix in ((round, ""), (math.floor, ", cut")):
        for way, value in found:
            if printed(value, network.parameters, rounding) == network.parameters:
                return way + suffix
    return None


def printed(value: int, like: str, rounding: Callable[[float], int] = round) -> str:
    """A number in the unit and with the decimals of another: 3469760 like "4.20M" is "3.47M"."""
    decimals = len(like[:-1].partition(".")[2])
    digits = rounding(value / _UNITS[like[-1]] * 10**decimals) / 10**decimals
    return f"{digits:.{decimals}f}{like[-1]}"
