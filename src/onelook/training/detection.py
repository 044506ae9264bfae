"""To train a detector: its anchors, its loss, its measure."""

from collections.abc import Mapping, Sequence
from typing import Any

from onelook import detectors
from onelook.data import Dataset, Sample
from onelook.data.anchors import anchors, box_sizes
from onelook.detectors.faster_rcnn import ANCHORS, PYRAMID_ANCHORS
from onelook.errors import DataError, TrainingError
from onelook.trained import Trained, save
from onelook.training.distributed import Processes
from onelook.training.job import Job
from onelook.training.settings import Settings
from onelook.training.validate import DetectorValidation

# Names of recommended networks, with what they stand for. MobileNet-YOLO is YOLOv3 of depthwise-separable convolutions.
PRESETS: Mapping[str, Mapping[str, Any]] = {"mobilenet_yolo": {"name": "yolo_v3", "backbone": "mobilenet_v2"}}
# How YOLOv3 is trained unless the paper's loss is asked for: as YOLOv4 does (arXiv:2004.10934, section 3.4), but for the
# objectness, which is to be the box's IoU, as in YOLOv1 and YOLOv2.
SWITCHES: Mapping[str, Any] = {"box": "ciou", "share": 0.4, "rescore": True}
SCALE_X_Y = 1.1
SIDES = {"ssd": (300, 512), "m2det": (320, 512, 800)}  # that there are networks for; the nearest one is taken
ANCHORED = (
    640  # pixels of the longer side for which the papers' anchors are taken as they are; for others in proportion
)
REGIONS = 128  # of a picture that the R-CNNs learn from, as in Fast R-CNN; 512 take minutes a step without a GPU


def describe(
    model: str,
    dataset: Dataset,
    settings: Settings,
    options: Mapping[str, Any] | None = None,
    paper: bool = False,
    switches: Mapping[str, Any] | None = None,
    parents: Sequence[int] | None = None,
) -> dict[str, Any]:
    """What `build` builds from; JSON.

    Args:
        model: a name of `onelook.detectors.ARCHITECTURES` or `PRESETS`.
        dataset: to be trained on; gives the classes, and YOLOv2 and v3 their anchors.
        settings: of the run.
        options: of the network, see `onelook.detectors.create`; they go before what is chosen here.
        paper: the loss of the paper, in place of the one that is recommended.
        switches: attributes of the loss that are to be otherwise.
        parents: of the classes, for YOLOv2 (YOLO9000's WordTree).

    Raises:
        TrainingError: no boxes to find anchors for, or no masks; parents for another network.
    """
    wanted = {**PRESETS.get(model, {}), **(options or {}), "classes": len(dataset.names)}
    name = wanted.pop("name", model)
    own: dict[str, Any] = {}
    if parents is not None:
        if name != "yolo_v2":
            raise TrainingError(f"a tree of classes is for yolo_v2; {model} has no softmax over siblings")
        own["parents"] = list(parents)
    chosen: dict[str, Any] = {}
    side = max(settings.size)
    if name in ("yolo_v1", "localizer"):
        own["size"] = list(settings.size)
    if name in SIDES:
        own["side"] = min(SIDES[name], key=lambda known: abs(known - side))
    if name == "retinanet":
        own["smallest"] = round(32 * side / ANCHORED, 2)
    if name == "mask_rcnn" and all(mask is None for sample in dataset.samples for mask in sample.masks):
        raise TrainingError(f"{dataset.path}: has no masks in the split {dataset.split!r} to train {model} on")
    if name in ("faster_rcnn", "mask_rcnn"):
        shapes = PYRAMID_ANCHORS if _has_pyramid(name, wanted) else ANCHORS
        own["anchors"] = [[[round(x * side / ANCHORED, 2) for x in one] for one in level] for level in shapes]
        chosen["regions"] = REGIONS
    if name == "yolo_v2" and "anchors" not in wanted:
        own["anchors"] = [[side / 32 for side in one] for one in _anchors(dataset, 5, settings)]
    if name == "yolo_v3":
        if "anchors" not in wanted:
            nine = _anchors(dataset, 9, settings)
            own["anchors"] = [nine[6:], nine[3:6], nine[:3]]  # the largest at the coarsest scale
        if not paper:
            own["scale_x_y"], chosen = SCALE_X_Y, dict(SWITCHES)
            if (switches or {}).get("focal") == "objectness":
                chosen["rescore"] = False  # the focal loss is for truths of 0 and 1
    return {
        "task": "detect",
        "name": name,
        "options": own | wanted,
        "switches": chosen | dict(switches or {}),
        "names": list(dataset.names),
    }


def build(
    about: Mapping[str, Any],
    validation: Sequence[Sample],
    settings: Settings,
    processes: Processes,
    origin: Mapping[str, Any],
) -> Job:
    """The parts of a run.

    Args:
        about: of `describe`.
        validation: labelled pictures to measure on.
        settings: of the run.
        processes: which of them this is.
        origin: what the files of the network say of where it comes from; JSON.

    Raises:
        NetworkError: no such network, backbone, option or switch; a size that it cannot take.
    """
    network = detectors.create(about["name"], **about["options"])
    network.check_size(settings.size)
    resize = settings.augmentation.resize
    trained = Trained(about["name"], about["options"], tuple(about["names"]), settings.size, resize, dict(origin))
    return Job(
        network,
        detectors.make_loss(network, **about["switches"]),
        DetectorValidation(validation, trained.names, settings.size, processes, resize),
        "masks" if about["name"] == "mask_rcnn" else "boxes",
        lambda best, path: save(trained, best.state_dict(), path),
    )


def _has_pyramid(name: str, options: Mapping[str, Any]) -> bool:
    if options.get("pyramid") is not None:
        return bool(options["pyramid"])
    return name == "mask_rcnn" or options.get("backbone", "vgg16") != "vgg16"


def _anchors(dataset: Dataset, count: int, settings: Settings) -> list[list[float]]:
    """Width and height of each, from the smallest on, in pixels of the network's input."""
    sizes = box_sizes(dataset, max(settings.size))
    if not len(sizes):
        raise TrainingError(f"{dataset.path}: has no boxes in the split {dataset.split!r} to train a detector on")
    try:
        found = anchors(sizes, count)[0]
    except DataError as error:
        raise TrainingError(f"{dataset.path}: {error}; give --option 'anchors=[...]', or choose retinanet") from None
    return [[round(float(side), 2) for side in one] for one in found]
