"""Small datasets of coloured rectangles, and the smallest runs on them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from onelook import detectors
from onelook.data import read
from onelook.data.augment import Augmentation
from onelook.trained import Trained, save
from onelook.training.detection import describe
from onelook.training.distributed import Processes
from onelook.training.settings import Settings

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
ALONE = Processes(0, 1, torch.device("cpu"))
# Pictures as they are, no larger than a batch of them is quick. In float32, as near to one another on every processor.
PLAIN = Augmentation(flip=0, hue=0, saturation=0, value=0, translate=0, scale=0, mosaic=0)
SMALL = Settings(
    epochs=2, batch=4, size=(64, 64), warmup=0.5, workers=2, plain=0, learning_rate=2e-3, precision="float32"
)
TINY: dict[str, Any] = {"model": "yolo_v3", "backbone": "mobilenet_v1", "alpha": 0.25}


def settings(**others: Any) -> Settings:
    """`SMALL`, some of them otherwise."""
    return replace(SMALL, **others)


def scene(random: np.random.Generator, count: int, side: int = 64) -> tuple[np.ndarray, list[str]]:
    """A grey picture with rectangles in it, RGB; and their lines of YOLO text."""
    image, lines = np.full((side, side, 3), 90, np.uint8), []
    for _ in range(count):
        kind = int(random.integers(len(COLOURS)))
        width, height = random.integers(side // 4, side // 2, 2)
        left, top = random.integers(side - width), random.integers(side - height)
        image[top : top + height, left : left + width] = list(COLOURS.values())[kind]
        box = np.array((left + width / 2, top + height / 2, width, height)) / side
        lines.append(" ".join(map(str, (kind, *box))))
    return image, lines


def detection(folder: Path, seed: int = 0, **counts: int) -> Path:
    """A dataset in YOLO text; of each split so many pictures, train=12 and val=5 by default."""
    random = np.random.default_rng(seed)
    for split, count in (counts or {"train": 12, "val": 5}).items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for i in range(count):
            image, lines = scene(random, 1 + i % 3)
            cv2.imwrite(str(folder / "images" / split / f"{i:02}.png"), image[:, :, ::-1])
            (folder / "labels" / split / f"{i:02}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text(
        "".join(f"{split}: images/{split}\n" for split in counts or ("train", "val"))
        + f"names: [{', '.join(COLOURS)}]\n"
    )
    return folder


def classification(folder: Path, train: int = 4, val: int = 2) -> Path:
    """A dataset of class folders: pictures of one colour, with noise."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                image = np.array(colour) + random.integers(-20, 20, (64, 64, 3))
                cv2.imwrite(str(folder / split / name / f"{i}.png"), image.clip(0, 255).astype(np.uint8)[:, :, ::-1])
    return folder


def calm(data: Path, path: Path) -> Path:
    """Weights to start from that rounding hardly disturbs: those newly drawn give float32 half of the gradient wrong."""
    about = describe(TINY["model"], read(data), SMALL, {"backbone": TINY["backbone"], "alpha": TINY["alpha"]})
    torch.manual_seed(0)
    network = detectors.create(about["name"], **about["options"])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
            nn.init.constant_(module.bias, 1.0)
    for parameter in network.outputs.parameters():  # detections that are far from one another: none change places
        nn.init.normal_(parameter, 0, 0.3)
    return save(Trained(about["name"], about["options"], tuple(about["names"]), (64, 64)), network.state_dict(), path)


def scalars(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network in numbers of floating point, copied."""
    return {key: tensor.clone() for key, tensor in network.state_dict().items() if tensor.is_floating_point()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Gives every batch normalisation numbers that training might have given it."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=random)


def stop_after(count: int) -> Callable[[], bool]:
    """A `stop` that is true from the asking of that number on."""
    asked: Sequence[None] = []

    def stop() -> bool:
        asked.append(None)  # type: ignore[attr-defined]
        return len(asked) >= count

    return stop
