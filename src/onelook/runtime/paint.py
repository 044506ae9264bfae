"""Masks on a picture: translucent colours with outlines, and the names of classes where they have most room."""

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.runtime import draw
from onelook.runtime.masks import Masks

OPACITY = 0.4
OUTLINE = 0.0016  # width, relative to the side of a square picture of the same area
_ROOM = 320  # pixels of the longer side of the mask in which the places of names are sought


def objects(image: NDArray[np.uint8], masks: Masks) -> NDArray[np.uint8]:
    """A copy of the picture with each object in the colour of its number, the first on top.

    Args:
        image: RGB uint8 [H, W, 3]; not modified.
        masks: N of that picture.
    """
    image = np.ascontiguousarray(image)
    canvas, square = image.copy(), _square(image)
    for i in reversed(range(len(masks))):
        (x, y), part = masks.part(i)
        if part.size:
            inside = np.ascontiguousarray(part, np.uint8)
            place = slice(y, y + len(part)), slice(x, x + part.shape[1])
            colours = np.full((*part.shape, 3), draw.colour(i), np.uint8)
            tinted = _tinted(image[place], colours)
            inner = cv2.erode(inside, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
            cv2.copyTo(colours, inside - inner, tinted)
            cv2.copyTo(tinted, inside, canvas[place])
    return canvas


def classes(image: NDArray[np.uint8], mask: NDArray[np.uint8], names: Mapping[int, str]) -> NDArray[np.uint8]:
    """A copy of the picture with each class in its colour, and its name where it has most room.

    Args:
        image: RGB uint8 [H, W, 3]; not modified.
        mask: [H, W] class of each pixel.
        names: of the classes to paint, in any script; the most important first, which chooses the place of its name first.
    """
    image = np.ascontiguousarray(image)
    palette = np.zeros((256, 3), np.uint8)
    unpainted = np.full(256, 255, np.uint8)
    for i in names:
        palette[i], unpainted[i] = draw.colour(i), 0
    colours = np.asarray(cv2.LUT(cv2.merge((mask, mask, mask)), palette[None]), np.uint8)
    canvas = _tinted(image, colours)
    square = _square(image)
    cv2.copyTo(colours, cv2.compare(cv2.erode(mask, square), cv2.dilate(mask, square), cv2.CMP_NE), canvas)
    cv2.copyTo(image, cv2.LUT(mask, unpainted), canvas)

    circles = {i: circle for i in names if (circle := _roomiest(mask, i))}
    draw.put_names(
        canvas, np.array([*circles.values()], np.int64).reshape(-1, 3), [*circles], [names[i] for i in circles]
    )
    return canvas


def _roomiest(mask: NDArray[np.uint8], class_id: int) -> tuple[int, int, int] | None:
    """A circle about as large as any inside of a class and the picture, the one most in the middle of those: x, y, radius.

    None where there is but room for a few pixels.
    """
    step = math.ceil(max(mask.shape) / _ROOM)
    own = np.pad(mask[::step, ::step] == class_id, 1).astype(np.uint8)
    distance = cv2.distanceTransform(own, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if not distance.any():
        return None
    large = np.argwhere(distance > 0.9 * distance.max())
    y, x = large[((large - large.mean(0)) ** 2).sum(1).argmin()].tolist()
    return (x - 1) * step, (y - 1) * step, int(distance[y, x] * step)


def _tinted(image: NDArray[np.uint8], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.addWeighted(image, 1 - OPACITY, colours, OPACITY, 0), np.uint8)


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What outlines are drawn with: twice as wide as they are, and one pixel more."""
    side = 2 * max(1, round(math.sqrt(image.shape[0] * image.shape[1]) * OUTLINE)) + 1
    return np.ones((side, side), np.uint8)
