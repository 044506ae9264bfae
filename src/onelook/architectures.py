"""The classification networks side by side: what they cost, what was published of them, what is measured here."""

import re
import statistics
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from onelook import zoo
from onelook.backbones import Backbone, create
from onelook.backbones.published import PUBLISHED, Published, explain
from onelook.errors import ModelError, SourceError
from onelook.metrics import top_k
from onelook.names import imagenet
from onelook.nn.count import layers, numbers
from onelook.runtime.classifier import Classifier
from onelook.runtime.picture import shown
from onelook.runtime.session import open_session

CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network at one size.

    Attributes:
        published: which network, and its printed figures.
        parameters: numbers that training learns, with 1000 classes.
        counted: how the printed number of parameters comes about; None where it does not, or none is printed.
        multiply_adds: of one picture.
        bytes: of the weights in a model file, float32.
    """

    published: Published
    parameters: int
    counted: str | None
    multiply_adds: int
    bytes: int

    @property
    def weights_at_hand(self) -> bool:
        """Whether trained weights are in the cache."""
        return self.published.weights is not None and zoo.at_hand(self.published.weights)


def architectures(name: str | None = None) -> list[Architecture]:
    """All networks of the published table, or those of one name."""
    rows = []
    for published in PUBLISHED:
        if name in (None, published.name):
            with torch.device("meta"):
                network = _network(published)
            count = numbers(network)
            used = sum(layer.multiply_adds for layer in layers(network, (published.size, published.size)))
            rows.append(Architecture(published, count.parameters, explain(published), used, 4 * count.folded))
    return rows


def latency(architecture: Architecture, seconds: float = 2.0) -> float:
    """Seconds that one picture takes on this machine, from pixels to probabilities: the median of many runs.

    Trained weights are taken where they are at hand, else new ones, which take as long.
    """
    from onelook.export import export_classifier
    from onelook.loading import model_file

    size = architecture.published.size
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        if architecture.weights_at_hand:
            path = model_file(str(architecture.published.weights))
        else:
            network = _network(architecture.published)
            path = export_classifier(
                nn.Sequential(network, nn.Softmax(1)),
                Path(folder) / "model.onnx",
                [str(i) for i in range(CLASSES)],
                (size, size),
                network.mean,
                network.std,
            )
        run = open_session(path).run
        for _ in range(3):
            run(image)
        times: list[float] = []
        while sum(times) < seconds or len(times) < 5:
            start = time.perf_counter()
            run(image)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def accuracy(classifier: Classifier, folder: str | Path) -> tuple[float, float, int]:
    """The share of ImageNet's photographs in a folder whose class is the first, and is among the first five.

    A picture's class is the WordNet id in its name or, where there is none, in that of its folder:
    n01443537_goldfish.JPEG, n01443537/ILSVRC2012_val_00000236.JPEG.

    Args:
        classifier: of ImageNet's thousand classes, or of one more before them.
        folder: with subfolders.

    Returns:
        Top-1 and top-5, 0..1, and the number of pictures.

    Raises:
        ModelError: a classifier of other classes.
        SourceError: a picture cannot be read, or bears no WordNet id of ImageNet's challenge.
    """
    place = {identity: i for i, identity in enumerate(imagenet())}
    first = len(classifier.info.names) - len(place)
    if first not in (0, 1):
        raise ModelError(f"{classifier.info.path}: tells {len(classifier.info.names)} classes apart, not ImageNet's")
    rows, classes = [], []
    for result in classifier.stream(str(folder)):
        rows.append(result.probabilities)
        classes.append(place[_identity(result.source, place)] + first)
    return top_k(rows, classes, 1), top_k(rows, classes, 5), len(classes)


def measured(architecture: Architecture, folder: str | Path) -> tuple[float, float, int]:
    """`accuracy` of an architecture whose trained weights are at hand."""
    return accuracy(_trained(architecture), folder)


def _trained(architecture: Architecture) -> Classifier:
    from onelook.loading import load

    assert architecture.published.weights is not None
    classifier = load(architecture.published.weights)
    assert isinstance(classifier, Classifier)
    return classifier


def _network(published: Published) -> Backbone:
    return create(published.name, classes=CLASSES, **published.options)


def _identity(name: str, known: Collection[str]) -> str:
    """The WordNet id in a path."""
    for part in reversed(Path(name).parts[-2:]):
        match = re.search(r"n\d{8}", part)
        if match and match[0] in known:
            return match[0]
    raise SourceError(
        f"{shown(name)}: neither its name nor its folder's holds a WordNet id of ImageNet's classes, as n01443537"
    )
