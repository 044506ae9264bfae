"""What a classifier says of one picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelook.errors import Error
from onelook.runtime import result

TOP = 5  # classes that are shown and saved unless asked otherwise, as ImageNet's challenge counts


class Label(NamedTuple):
    """A class that a picture may be of."""

    name: str
    """Of the class."""
    score: float
    """Its probability, 0..1."""
    class_id: int
    """Index into the model's classes."""


@dataclass(frozen=True, eq=False, repr=False)
class Classification:
    """What a classifier says of one picture: a probability for each class.

    Going through it gives the likeliest classes (`Label`), best first: five, unless `shown` says otherwise, as they are
    drawn and saved. `top` gives any number.

    Raises ValueError where the lengths disagree, and Error where a model gave probabilities that are no numbers.
    """

    probabilities: NDArray[np.float32]
    """[C] of all classes of the model, 0..1."""
    class_names: tuple[str, ...]
    """[C]"""
    width: int
    """Of the picture, in pixels."""
    height: int
    """Of the picture, in pixels."""
    source: str = "array"
    """Where the picture came from: a path, a URL, "camera 0", "array"."""
    image: NDArray[np.uint8] | None = None
    """The picture itself where it was kept: RGB [H, W, 3]."""
    frame: int | None = None
    """Its number in its video or camera stream, from 0."""
    time: float | None = None
    """Seconds since the start of the video."""
    fps: float | None = None
    """Frames a second of that video."""
    shown: int = TOP
    """How many classes are drawn and saved."""

    def __post_init__(self) -> None:
        probabilities = np.asarray(self.probabilities, np.float32)
        if probabilities.shape != (len(self.class_names),) or not len(self.class_names):
            raise ValueError(f"probabilities of shape {probabilities.shape} for {len(self.class_names)} classes")
        if not np.isfinite(probabilities).all():
            from onelook.runtime.picture import shown

            raise Error(
                f"{shown(self.source)}: the model gave probabilities that are not numbers; its weights may be damaged"
            )
        object.__setattr__(self, "probabilities", probabilities)
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __repr__(self) -> str:
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"Classification({self.name} {self.score:.2f} in {self.source}{frame}, {self.width} × {self.height})"

    @property
    def class_id(self) -> int:
        """Index of the likeliest class."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """Name of the likeliest class."""
        return self.class_names[self.class_id]

    @property
    def score(self) -> float:
        """Probability of the likeliest class, 0..1."""
        return float(self.probabilities[self.class_id])

    def top(self, count: int | None = None) -> list[Label]:
        """The likeliest classes, best first; of equal ones the first comes first.

        Args:
            count: from 1 on, `shown` by default; all classes where there are fewer.
        """
        count = self.shown if count is None else count
        if count < 1:
            raise Error(f"count must be 1 or more; found {count}")
        best = np.argsort(-self.probabilities, kind="stable")[:count].tolist()
        return [Label(self.class_names[i], float(self.probabilities[i]), i) for i in best]

    def __iter__(self) -> Iterator[Label]:
        return iter(self.top())

    def draw(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The picture with its likeliest classes ("0.83 tabby") in a corner: a copy, RGB uint8 [H, W, 3].

        Args:
            image: the picture that was classified; by default the one that was kept, or else it is read again from
                `source`.

        Raises:
            Error: there is no picture to draw on, or it is of another size than the one that was looked at.
        """
        from onelook.runtime import draw

        top = self.top()
        lines = [f"{label.score:.2f} {label.name}" for label in top]
        return draw.caption(result.picture_of(self, image), lines, [label.class_id for label in top])

    def save(self, path: str | Path) -> Path:
        """Draws the picture into a file, in the format of its suffix (.jpg, .png, .webp, ...), and gives its path.

        The file appears whole or not at all; one that is there is replaced. Raises Error as `draw` does, for an unknown
        format, and where the file cannot be written.
        """
        return result.save(self, path)

    def to_dict(self) -> dict[str, Any]:
        """The likeliest classes, ready for JSON; scores to five decimals.

        {"source", "width", "height", "classes": [{"name", "class", "score"}, ...]}, best first, with "frame" and "time"
        (seconds) for a picture of a video.
        """
        labels = self.top()
        scores = result.rounded(np.array([label.score for label in labels]), 5)
        return {
            **result.describe(self),
            "classes": [
                {"name": label.name, "class": label.class_id, "score": score}
                for label, score in zip(labels, scores, strict=True)
            ],
        }
