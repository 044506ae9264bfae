"""A detector: pictures in, detections out."""

import math
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from onelook.errors import Error, ModelError, SourceError
from onelook.runtime.detections import Detections
from onelook.runtime.masks import Masks
from onelook.runtime.model import Model, check_batch, collect, load_pictures
from onelook.runtime.resize import Placement
from onelook.runtime.session import Session
from onelook.runtime.sources import Picture


class _Settings(NamedTuple):
    score_threshold: float
    iou_threshold: float
    size: tuple[int, int]


class Detector(Model[Detections]):
    """A model file that finds objects in pictures. Arguments and errors are those of `Model`.

    >>> detector = onelook.load("yolov3.onnx")
    >>> detector("street.jpg").names
    ['car', 'person']
    """

    task = "detect"

    def __call__(
        self,
        source: Any,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> Any:
        """Find the objects in a picture, or in each of many.

        Args:
            source: a path, URL, bytes, RGB array uint8 [H, W, 3] or PIL image gives one `Detections`; a list of those,
                a folder, a pattern or a video gives a list of them. See `onelook.runtime.sources.pictures`; for long
                and endless sources see `stream`.
            score_threshold: detections at or below are left out, 0..1; the model's own by default.
            iou_threshold: of two detections of a class that overlap more, the better stays, 0..1.
            size: of the input, (height, width) or the side of a square, for a model file that takes any.

        Raises:
            SourceError: a picture cannot be read.
        """
        return self._call(source, partial(self._run, settings=self._settings(score_threshold, iou_threshold, size)))

    def stream(
        self,
        source: Any,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        size: int | tuple[int, int] | None = None,
        *,
        batch: int = 1,
        on_error: Callable[[SourceError], None] | None = None,
        keep_images: bool | None = None,
    ) -> Generator[Detections]:
        """The detections of picture after picture, in order and in constant memory; see `Model.stream`.

        Args:
            source, score_threshold, iou_threshold, size: as of a call; endless sources too.
            batch, on_error, keep_images: as of `Model.stream`.
        """
        work = partial(self._run, settings=self._settings(score_threshold, iou_threshold, size))
        return self._stream(source, work, check_batch(batch), on_error, keep_images)

    def batch(
        self,
        some: list[Picture],
        session: Session,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> list[Detections | SourceError]:
        """See `Model.batch`."""
        settings = self._settings(score_threshold, iou_threshold, size)
        return self._run(session, some, keep_images=False, settings=settings)

    def _run(
        self, session: Session, some: list[Picture], keep_images: bool | None, settings: _Settings | None = None
    ) -> list[Detections | SourceError]:
        info, settings = session.info, settings or self._settings()
        canvas, loaded = load_pictures(some, info, settings.size, keep_images)
        boxes, scores, classes, batch_index, *more = session.run(
            canvas, settings.score_threshold, settings.iou_threshold
        )
        shapes = [values.shape for values in (boxes, scores, classes, batch_index)]
        if shapes != [(*boxes.shape[:1], 4), *[boxes.shape[:1]] * 3] or boxes.ndim != 2 or classes.dtype.kind != "i":
            raise ModelError(f"{info.path}: gives boxes, scores, classes and batch_index of shapes {shapes}")
        if len(classes) and not 0 <= classes.min() <= classes.max() < len(info.names):
            raise ModelError(f"{info.path}: finds class {classes.max()}; its metadata names {len(info.names)} classes")
        if more and more[0].shape != (len(boxes), *settings.size):
            raise ModelError(
                f"{info.path}: gives masks of shape {more[0].shape}; expected ({len(boxes)}, {settings.size[0]}, "
                f"{settings.size[1]}), one of each detection in pixels of the input"
            )

        def detections(i: int, placement: Placement, about: dict[str, Any]) -> Detections:
            mine = batch_index == i
            masks = Masks.of(more[0][mine], *placement.pixels()) if more else None
            found = placement.to_picture(boxes[mine])
            return Detections(found, scores[mine], classes[mine], info.names, **about, masks=masks)

        return collect(some, loaded, detections)

    def _settings(
        self,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> _Settings:
        score = self.info.score_threshold if score_threshold is None else score_threshold
        iou = self.info.iou_threshold if iou_threshold is None else iou_threshold
        for name, value in (("score_threshold", score), ("iou_threshold", iou)):
            if math.isnan(value) or not 0 <= value <= 1:
                raise Error(f"{name} must be from 0 to 1; found {value}")
        if size is None:
            return _Settings(score, iou, self.info.size)
        height, width = (size, size) if isinstance(size, (int, np.integer)) else size
        if (height, width) != self.info.size and not self.info.dynamic_size:
            own = "x".join(map(str, reversed(self.info.size)))
            raise Error(f"{self._path}: takes pictures of {own} alone; convert it with --dynamic-size to choose others")
        if not all(32 <= side <= 8192 and side % 32 == 0 for side in (height, width)):
            raise Error(f"size must be of multiples of 32, from 32 to 8192; found {width}x{height}")
        return _Settings(score, iou, (height, width))
