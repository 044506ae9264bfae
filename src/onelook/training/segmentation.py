"""To train a semantic segmenter."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from onelook import segmenters
from onelook.data import Dataset, Sample
from onelook.data.class_maps import class_names, has_class_map
from onelook.detectors import Targets
from onelook.errors import TrainingError
from onelook.segmenters import DeepLabLoss
from onelook.segmenters.deeplab_v3 import OUTPUT_STRIDE
from onelook.trained import Trained, save
from onelook.training.distributed import Processes
from onelook.training.job import Job
from onelook.training.settings import Settings
from onelook.training.validate import SegmenterValidation


def segmenter_loss(raw: Tensor, targets: Targets, size: tuple[int, int]) -> dict[str, Tensor]:
    """Cross-entropy of the pixels: logits [B, C, h, w], a class map for each picture."""
    assert targets.class_map is not None
    return DeepLabLoss()(raw, targets.class_map, size)


def sized(settings: Settings) -> Settings:
    """With sides of 16 n + 1 pixels, as DeepLab's maps want them: 321 for 320."""
    height, width = (side - side % OUTPUT_STRIDE + 1 for side in settings.size)
    return dataclasses.replace(settings, size=(height, width))


def with_maps(dataset: Dataset) -> Dataset:
    """Of its pictures those that have class maps.

    Raises:
        TrainingError: none has.
    """
    samples = tuple(sample for sample in dataset.samples if has_class_map(sample.image))
    if not samples:
        raise TrainingError(
            f"{dataset.path}: has no class maps in the split {dataset.split!r}; docs/datasets.md says where they lie"
        )
    return dataclasses.replace(dataset, samples=samples, names=class_names(dataset.path))


def describe(
    model: str, dataset: Dataset, settings: Settings, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What `build` builds from; JSON.

    Args:
        model: a name of `onelook.segmenters.ARCHITECTURES`.
        dataset: of `with_maps`; gives the classes.
        settings: of the run.
        options: of the network, see `onelook.segmenters.create`.

    Raises:
        TrainingError: batches of one picture.
    """
    if settings.batch < 2:
        raise TrainingError(f"batch must be 2 or more for {model}, which normalises means of whole pictures; found 1")
    wanted = {**(options or {}), "classes": len(dataset.names)}
    return {"task": "segment", "name": model, "options": wanted, "names": list(dataset.names)}


def build(
    about: Mapping[str, Any],
    validation: Sequence[Sample],
    settings: Settings,
    processes: Processes,
    origin: Mapping[str, Any],
) -> Job:
    """The parts of a run; arguments and errors as of `onelook.training.detection.build`."""
    network = segmenters.create(about["name"], **about["options"])
    network.check_size(settings.size)
    resize = settings.augmentation.resize
    trained = Trained(about["name"], about["options"], tuple(about["names"]), settings.size, resize, dict(origin))
    return Job(
        network,
        segmenter_loss,
        SegmenterValidation(validation, trained.names, settings.size, processes, resize),
        "class map",
        lambda best, path: save(trained, best.state_dict(), path),
    )
