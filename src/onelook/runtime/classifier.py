"""A classifier: pictures in, classifications out."""

from collections.abc import Callable, Generator
from typing import Any

from onelook.errors import ModelError, SourceError
from onelook.runtime.classification import Classification
from onelook.runtime.model import Model, check_batch, collect, load_pictures
from onelook.runtime.resize import Placement
from onelook.runtime.session import Session
from onelook.runtime.sources import Picture, pictures


class Classifier(Model[Classification]):
    """A model file that says what a picture shows. Arguments and errors are those of `Model`.

    >>> classifier = onelook.load("mobilenet_v2.onnx")
    >>> [(label.name, round(label.score, 2)) for label in classifier("cat.jpg").top(2)]
    [('tiger cat', 0.49), ('Egyptian cat', 0.34)]
    """

    task = "classify"

    def __call__(self, source: Any) -> Any:
        """Classify a picture, or each of many.

        Args:
            source: a path, URL, bytes, RGB array uint8 [H, W, 3] or PIL image gives one `Classification`; a list of
                those, a folder, a pattern or a video gives a list of them. See `onelook.runtime.sources.pictures`; for
                long and endless sources see `stream`.

        Raises:
            SourceError: a picture cannot be read.
        """
        return self._call(source, self._classify)

    def stream(
        self,
        source: Any,
        batch: int = 1,
        on_error: Callable[[SourceError], None] | None = None,
        keep_images: bool | None = None,
    ) -> Generator[Classification]:
        """The classifications of picture after picture, in order and in constant memory.

        Pictures are decoded and classified in threads while the caller works on earlier ones.

        Args:
            source: as of a call; endless sources too.
            batch: pictures a run of the model; more than 1 pays on a GPU.
            on_error: called with the error of each picture that cannot be read, which is then passed over; without
                it the first such error is raised.
            keep_images: whether results hold their pictures in `image`: True for a caller that draws them all, False for
                one that draws none; None for pictures that are in no file. A result that does not hold its file's
                picture reads it again to be drawn. A large JPEG is decoded no larger than the model needs, which for
                the photographs of a phone is several times as fast; one that is held is decoded in full besides.
        """
        return self._stream(pictures(source), self._classify, check_batch(batch), on_error, keep_images)

    def batch(self, some: list[Picture], session: Session) -> list[Classification | SourceError]:
        """See `Model.batch`."""
        return self._classify(session, some, keep_images=False)

    def _classify(
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
