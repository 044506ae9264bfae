"""A classifier: pictures in, classifications out."""

from typing import Any

from onelook.errors import ModelError, SourceError
from onelook.runtime.classification import Classification
from onelook.runtime.model import Model, collect, load_pictures
from onelook.runtime.resize import Placement
from onelook.runtime.session import Session
from onelook.runtime.sources import Picture


class Classifier(Model[Classification]):
    """A model file that says what a picture shows. Arguments and errors are those of `Model`.

    >>> classifier = onelook.load("mobilenet_v2.onnx")
    >>> [(label.name, round(label.score, 2)) for label in classifier("cat.jpg").top(2)]
    [('tiger cat', 0.49), ('Egyptian cat', 0.34)]
    """

    task = "classify"

    def _run(
        self, session: Session, some: list[Picture], keep_images: bool | None
    ) -> list[Classification | SourceError]:
        info = session.info
        canvas, loaded = load_pictures(some, info, info.size, keep_images)
        (probabilities,) = session.run(canvas)
        if probabilities.shape != (len(canvas), len(info.names)):
            raise ModelError(
                f"{info.path}: gives probabilities of shape {probabilities.shape}; its metadata names "
                f"{len(info.names)} classes"
            )

        def classification(i: int, placement: Placement, about: dict[str, Any]) -> Classification:
            return Classification(probabilities[i], info.names, **about)

        return collect(some, loaded, classification)
