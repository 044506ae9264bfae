"""What a training run is made of, besides its network and its data."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from onelook.backbones.backbone import MAX_SIDE
from onelook.data.augment import Augmentation
from onelook.errors import TrainingError
from onelook.training.precision import DTYPES, Precision


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. Raises TrainingError for a value out of range.

    Attributes:
        epochs: times that each picture is seen.
        batch: pictures a step, those of all processes together.
        size: height and width of the network's input, pixels: multiples of 32; a segmenter's become 16 n + 1.
        optimizer: "sgd" with Nesterov's momentum, or "adamw".
        learning_rate: the highest, after warm-up; falls along a cosine to `final` times as much.
        backbone_rate: share of it that the backbone gets; a trained one loses what it has learned at the rate that new
            layers need. 0 leaves it as it is, but for the statistics of its batch normalisation. By default 0.1 with
            weights to start from, else 1.
        final: see learning_rate.
        momentum: of SGD; AdamW's first beta.
        weight_decay: of convolutions and fully connected layers; biases and batch normalisation have none.
        warmup: epochs in which the learning rate rises from 0; of a short run the first tenth.
        clip: largest norm of the gradient; longer ones are shortened to it.
        accumulate: steps whose gradients are added up before the weights change.
        average: decay of the moving average of the weights, which is what is evaluated and kept; 0 keeps none.
        precision: "float32", "bfloat16" or "float16" for convolutions; losses, weights and statistics are float32. By
            default bfloat16 where the processor or the GPU has instructions for it, else float32.
        multi_scale: the side changes every ten steps, by up to this share up or down (YOLOv2, section 2).
        augmentation: what is done to pictures.
        plain: share of the epochs, at the end, without mosaics: what will be seen in use are plain pictures.
        evaluate_every: epochs between two evaluations.
        patience: evaluations without a better score after which training ends; 0 never ends it early.
        workers: threads that load pictures; 0 for as many as there are processors.
        seed: of everything random. The same seed, machine and thread count give the same weights.
    """

    epochs: int = 100
    batch: int = 8
    size: tuple[int, int] = (320, 320)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 5e-3
    backbone_rate: float | None = None
    final: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.05
    warmup: float = 2.0
    clip: float = 10.0
    accumulate: int = 1
    average: float = 0.998
    precision: Precision | None = None
    multi_scale: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    plain: float = 0.15
    evaluate_every: int = 1
    patience: int = 0
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(isinstance(side, int) and 32 <= side <= MAX_SIDE for side in self.size):
            sides = " x ".join(map(str, self.size))
            raise TrainingError(f"size must be from 32 to {MAX_SIDE} pixels a side; found {sides}")
        for name, least in (("epochs", 1), ("batch", 1), ("accumulate", 1), ("evaluate_every", 1)):
            if getattr(self, name) < least:
                raise TrainingError(f"{name} must be {least} or more; found {getattr(self, name)}")
        for name, most in (("final", 1), ("momentum", 1), ("average", 1), ("multi_scale", 0.9), ("plain", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise TrainingError(f"{name} must be from 0 to {most:g}; found {getattr(self, name)}")
        if self.backbone_rate is not None and not 0 <= self.backbone_rate <= 10:
            raise TrainingError(f"backbone_rate must be from 0 to 10; found {self.backbone_rate}")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise TrainingError(f"{name} must be above 0; found {getattr(self, name)}")
        for name in ("weight_decay", "warmup", "patience", "workers", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise TrainingError(f"{name} must be 0 or more; found {getattr(self, name)}")
        for name, most in (("flip", 1), ("upside_down", 1), ("mosaic", 1), ("scale", 0.99), ("crop", 0.49)):
            if not 0 <= getattr(self.augmentation, name) <= most:
                raise TrainingError(f"{name} must be from 0 to {most:g}; found {getattr(self.augmentation, name)}")
        for name, known in (("optimizer", ("sgd", "adamw")), ("precision", (*DTYPES, None))):
            if getattr(self, name) not in known:
                raise TrainingError(
                    f"{name} must be one of {', '.join(filter(None, known))}; found {getattr(self, name)!r}"
                )


def from_json(found: dict[str, Any]) -> Settings:
    """Settings that `dataclasses.asdict` and JSON were put through."""
    known = {field.name for field in fields(Settings)}
    values = {key: value for key, value in found.items() if key in known}
    return Settings(**{**values, "size": tuple(values["size"]), "augmentation": Augmentation(**values["augmentation"])})
