"""A segmenter: pictures in, a class for each pixel out."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from onelook.errors import ModelError, SourceError
from onelook.runtime.model import Model, check_batch, collect, load_pictures
from onelook.runtime.resize import Placement
from onelook.runtime.segmentation import Segmentation
from onelook.runtime.session import Session
from onelook.runtime.sources import Picture, pictures


class Segmenter(Model[Segmentation]):
    """A model file that says of each pixel what it shows. Arguments and errors are those of `Model`.

    >>> segmenter = onelook.load("deeplab.onnx")
    >>> [(region.name, round(region.share, 2)) for region in segmenter("street.jpg")]
    [('background', 0.61), ('car', 0.3), ('person', 0.09)]
    """

    task = "segment"

    def __call__(self, source: Any) -> Any:
        """Segment a picture, or each of many.

        Args:
            source: a path, URL, bytes, RGB array uint8 [H, W, 3] or PIL image gives one `Segmentation`; a list of
                those, a folder, a pattern or a video gives a list of them. See `onelook.runtime.sources.pictures`; for
                long and endless sources see `stream`.

        Raises:
            SourceError: a picture cannot be read.
        """
        return self._call(source, self._segment)

    def stream(
        self,
        source: Any,
        batch: int = 1,
        on_error: Callable[[SourceError], None] | None = None,
        keep_images: bool | None = None,
    ) -> Generator[Segmentation]:
        """The segmentations of picture after picture, in order and in constant memory.

        Pictures are decoded and segmented in threads while the caller works on earlier ones.

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
        return self._stream(pictures(source), self._segment, check_batch(batch), on_error, keep_images)

    def batch(self, some: list[Picture], session: Session) -> list[Segmentation | SourceError]:
        """See `Model.batch`."""
        return self._segment(session, some, keep_images=False)

    def _segment(
        self, session: Session, some: list[Picture], keep_images: bool | None
    ) -> list[Segmentation | SourceError]:
        info = session.info
        canvas, loaded = load_pictures(some, info, info.size, keep_images)
        (masks,) = session.run(canvas)
        if masks.shape != canvas.shape[:3] or masks.dtype != np.uint8:
            raise ModelError(
                f"{info.path}: gives a mask of shape {masks.shape}, {masks.dtype}; expected {canvas.shape[:3]}, uint8"
            )
        if masks.max() >= len(info.names):
            raise ModelError(f"{info.path}: finds class {masks.max()}; its metadata names {len(info.names)} classes")

        def segmentation(i: int, placement: Placement, about: dict[str, Any]) -> Segmentation:
            rows, columns = placement.pixels()
            return Segmentation(masks[i][:, columns][rows], info.names, **about)

        return collect(some, loaded, segmentation)
