"""To train a classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook import backbones, checkpoint
from onelook.backbones import Backbone
from onelook.checkpoint import Checkpoint
from onelook.data import Dataset, Sample
from onelook.detectors import Targets
from onelook.detectors.blocks import normalise
from onelook.errors import TrainingError
from onelook.training.distributed import Processes
from onelook.training.job import Job
from onelook.training.settings import Settings
from onelook.training.validate import CROP, ClassifierValidation


class Classifier(nn.Module):
    """A backbone for pictures float32 [B, 3, H, W], RGB in 0..1 -> logits [B, C]."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.backbone(normalise(image, self.backbone))


def classifier_loss(logits: Tensor, targets: Targets, size: tuple[int, int]) -> dict[str, Tensor]:
    """Cross-entropy of a softmax: logits [B, C], a label for each picture; of any size."""
    return {"classes": F.cross_entropy(logits.float(), targets.labels)}


def describe(model: str, dataset: Dataset, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `build` builds from; JSON.

    Args:
        model: a name of `onelook.backbones.ARCHITECTURES`.
        dataset: to be trained on; gives the classes.
        options: of the network, see `onelook.backbones.create`.

    Raises:
        TrainingError: a picture without a class.
    """
    for sample in dataset.samples:
        if not len(sample.labels):
            raise TrainingError(
                f"{sample.image}: has no class; {model} is a classifier, for pictures of one class each"
            )
    wanted = {**(options or {}), "classes": len(dataset.names)}
    return {"task": "classify", "name": model, "options": wanted, "names": list(dataset.names)}


def build(
    about: Mapping[str, Any],
    validation: Sequence[Sample],
    settings: Settings,
    processes: Processes,
    origin: Mapping[str, Any],
) -> Job:
    """The parts of a run; arguments and errors as of `onelook.training.detection.build`."""
    backbone = backbones.create(about["name"], **about["options"])
    backbone.check_size(settings.size)

    def save(best: nn.Module, path: Path) -> Path:
        assert isinstance(best, Classifier)
        return checkpoint.save(
            Checkpoint(
                best.backbone,
                about["name"],
                dict(about["options"]),
                tuple(about["names"]),
                settings.size,
                backbone.mean,
                backbone.std,
                CROP,
                dict(origin),
            ),
            path,
        )

    evaluate = ClassifierValidation(validation, settings.size, processes)
    return Job(Classifier(backbone), classifier_loss, evaluate, "label", save)
