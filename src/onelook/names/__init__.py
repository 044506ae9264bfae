"""What the classes of the public detectors and classifiers are called, and the text files that name them."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

from onelook.errors import DarknetError, Error

# fmt: off
# The eighty of COCO, spelled and ordered as Darknet's data/coco.names.
COCO: tuple[str, ...] = (
    "person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "sofa",
    "pottedplant", "bed", "diningtable", "toilet", "tvmonitor", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on

# COCO's own category ids in the same order: 1 to 90 without the ten categories that were never annotated.
COCO_CATEGORY_IDS = tuple(i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

# fmt: off
# The twenty of Pascal VOC, as Darknet's data/voc.names.
VOC: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on

# Darknet gave six of COCO's categories the names that VOC has for them.
_OFFICIAL_TO_DARKNET = {
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}

_LARGEST_NAMES_FILE = 1 << 20  # bytes; the 9418 names of YOLO9000 take less


@cache
def imagenet() -> Mapping[str, str]:
    """The thousand classes of ImageNet's challenge (ILSVRC2012) in order: WordNet id -> name.

    {"n01440764": "tench, Tinca tinca", ...}. Networks number them from 0, or from 1 behind a class `BACKGROUND`.
    """
    lines = Path(__file__).with_name("imagenet.tsv").read_text("utf-8").splitlines()
    return MappingProxyType(dict(line.split("\t") for line in lines))


BACKGROUND = "background"


def labels(class_names: str | Path | Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """The names of a network's classes from what the user says of them.

    Args:
        class_names: "coco", "voc" or "imagenet"; a file of one name a line; the names; None for "class 0", "class 1", ...
        classes: how many the network tells apart; where that is one more than there are in "imagenet" or "voc",
            `BACKGROUND` comes first.

    Raises:
        DarknetError: the file cannot be read as one of names.
        Error: there are more or fewer names than classes.
    """
    if class_names is None:
        return tuple(f"class {i}" for i in range(classes))
    if class_names in ("imagenet", "voc"):
        found = tuple(imagenet().values()) if class_names == "imagenet" else VOC
        found = (BACKGROUND, *found) if classes == len(found) + 1 else found
    elif class_names == "coco":
        found = COCO
    elif isinstance(class_names, str | Path):
        found = read_names(class_names)
    else:
        found = tuple(class_names)
    if len(found) != classes:
        where = class_names if isinstance(class_names, str | Path) else "class_names"
        raise Error(f"{where}: has {len(found)} names; the network tells {classes} classes apart")
    return found


def darknet_spelling(name: str) -> str:
    """The name that Darknet and VOC have for a category of COCO: "sofa" for "couch"; any other name as it is."""
    return _OFFICIAL_TO_DARKNET.get(name, name)


def category_ids(names: Sequence[str]) -> tuple[int, ...]:
    """The `category_id` that COCO's result format gives to each class of a model.

    Args:
        names: the model's classes, in order.

    Returns:
        COCO's official ids (1 to 90, with gaps) when `names` are the eighty of COCO, in Darknet's or in COCO's own
        spelling and in any order; 1 to C for any other set of C names.
    """
    darknet = [darknet_spelling(name) for name in names]
    if len(darknet) == len(COCO) and set(darknet) == set(COCO):
        official = dict(zip(COCO, COCO_CATEGORY_IDS, strict=True))
        return tuple(official[name] for name in darknet)
    return tuple(range(1, len(names) + 1))


def read_names(path: str | Path) -> tuple[str, ...]:
    """Class names from a text file such as Darknet's `coco.names`: UTF-8, one a line, in the order of the classes.

    Blank lines at the end and white space around a name are dropped, a byte order mark is tolerated.

    Raises:
        DarknetError: the file is missing, empty, larger than 1 MiB or not text, or a line in the middle is blank
            (dropping it would shift every class after it).
    """
    path = Path(path)
    if not path.is_file():  # also keeps a pipe or a device from blocking
        raise DarknetError(f"{path}: no such file; expected a text file with one class name a line")
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_NAMES_FILE + 1)
    except OSError as error:
        raise DarknetError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_NAMES_FILE:
        raise DarknetError(f"{path}: larger than 1 MiB, so not a list of class names, one a line")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DarknetError(f"{path}: not UTF-8 text (byte {error.start}); expected one class name a line") from error

    # Not str.splitlines(), which also splits at characters that may stand inside a name.
    names = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")]
    if names == [""]:
        raise DarknetError(f"{path}: empty; expected one class name a line")
    for number, name in enumerate(names, start=1):
        if not name:
            raise DarknetError(
                f"{path}:{number}: blank line between class names; every line names the class of its number"
            )
        if not name.isprintable():
            raise DarknetError(f"{path}:{number}: not text: {name[:40]!r}; expected a class name")
    return tuple(names)
