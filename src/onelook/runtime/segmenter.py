"""A segmenter: pictures in, a class for each pixel out."""

from typing import Any

import numpy as np

from onelook.errors import ModelError, SourceError
from onelook.runtime.model import Model, collect, load_pictures
from onelook.runtime.resize import Placement
from onelook.runtime.segmentation import Segmentation
from onelook.runtime.session import Session
from onelook.runtime.sources import Picture


class Segmenter(Model[Segmentation]):
    """A model file that says of each pixel what it shows. Arguments and errors are those of `Model`.

    >>> segmenter = onelook.load("deeplab.onnx")
    >>> [(region.name, round(region.share, 2)) for region in segmenter("street.jpg")]
    [('background', 0.61), ('car', 0.3), ('person', 0.09)]
    """

    task = "segment"

    def _run(self, session: Session, some: list[Picture], keep_images: bool | None) -> list[Segmentation | SourceError]:
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
