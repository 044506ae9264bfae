"""Training pictures made from labelled ones: moved, scaled, turned, recoloured, four put together.

Everything random comes from the generator that is passed in: the same state gives the same pixels. A source picture is
sampled once, whatever happens to it: its scaling, crop, turn and place are multiplied into one matrix first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook import rle
from onelook.data.polygons import cut
from onelook.data.sample import Mask, Rle, Sample
from onelook.data.warp import Matrix, moved, scaled, through, warp, warp_nearest
from onelook.runtime import picture
from onelook.runtime.outlines import polygons

VISIBLE = 0.3  # share of an object's box that must stay in sight, else the object is dropped
SMALLEST = 2.0  # pixels; an object with a shorter side is dropped

UNDECIDED = 255  # class of a pixel that is not looked at, as in PASCAL VOC

Area = tuple[int, int, int, int]  # xyxy, whole pixels
Outline = tuple[NDArray[np.float32], ...]  # polygons of one object, each [P, 2]: x, y


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture in memory and the objects in it.

    Attributes:
        image: RGB uint8 [H, W, 3].
        boxes: float32 [N, 4], xyxy in pixels of the picture, inside of it and with an area.
        classes: int64 [N].
        outlines: of each object its polygons, in pixels of the picture; empty where they are not asked for.
        class_map: uint8 [H, W], the class of each pixel, `UNDECIDED` where none is to be learned; None where it is not
            asked for.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    outlines: tuple[Outline, ...] = ()
    class_map: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What `augment` does to a picture, and how much. The defaults suit some hundred to some thousand pictures.

    Attributes:
        flip: probability of mirroring left and right.
        upside_down: probability of mirroring top and bottom, for pictures that have neither: from microscopes, from above.
        hue: largest shift, as a share of the colour circle.
        saturation, value: 0.5 multiplies by up to 1.5 or divides by up to 1.5.
        degrees: largest rotation. Boxes grow around what they turn with, so that a little goes a long way.
        translate: largest shift, as a share of the result's sides.
        scale: 0.2 scales by 0.8 to 1.2; below 1.
        shear: largest angle by which the sides lean, degrees.
        crop: each edge of the picture is moved in or out by up to this share of the side, and what is between the edges
            takes the place of the whole, so that the aspect ratio changes too: Darknet's `jitter`. Below 0.5.
        mosaic: probability of a picture made of four.
        resize: what the network's input is made by, "letterbox" or "stretch", before all this.
    """

    flip: float = 0.5
    hue: float = 0.02
    saturation: float = 0.5
    value: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.4
    shear: float = 0.0
    crop: float = 0.0
    mosaic: float = 0.5
    resize: str = "letterbox"
    upside_down: float = 0.0


# Redmon et al., 2016 (arXiv:1506.02640), section 2.2; that pictures are mirrored too is in Darknet's code only.
YOLO_V1 = Augmentation(hue=0.0, saturation=0.5, value=0.5, translate=0.2, scale=0.2, mosaic=0.0, resize="stretch")
# Girshick, 2015 (arXiv:1504.08083), section 2.3: pictures are mirrored, "no other data augmentation is used".
FAST_RCNN = Augmentation(hue=0.0, saturation=0.0, value=0.0, translate=0.0, scale=0.0, mosaic=0.0)


def load(sample: Sample, size: tuple[int, int], outlined: bool = False) -> Labelled:
    """A sample's picture and the objects in it to train on: those neither difficult nor a crowd.

    A JPEG picture is decoded at a half, a quarter or an eighth, which takes less time, where both its sides stay as
    long as those of `size` (height, width).

    Args:
        sample: the picture's file and its labels.
        size: height and width that it will be brought to.
        outlined: with the outlines of the objects, only of those that have a mask.

    Raises:
        SourceError: the file is missing or not a whole picture.
    """
    chosen = ~(sample.difficult | sample.crowd)
    outlines: tuple[Outline, ...] = ()
    if outlined:
        masks = sample.masks or (None,) * len(sample)
        chosen &= np.array([mask is not None for mask in masks], np.bool_)
        outlines = tuple(_outline(masks[i]) for i in np.flatnonzero(chosen))
    boxes, classes = sample.boxes[chosen], sample.classes[chosen]

    def reduce(width: int, height: int) -> int:
        shrink = min(height // size[0], width // size[1])
        return max((n for n in (2, 4, 8) if n <= shrink), default=1)

    name = str(sample.image)
    found = picture.decode_reduced(picture.read_bytes(name), name, reduce)
    outside = np.array((found.left, found.top), np.float32)
    factor = np.float32(found.factor)
    smaller = tuple(tuple((polygon + outside) / factor for polygon in outline) for outline in outlines)
    return Labelled(found.pixels, (boxes + np.tile(outside, 2)) / factor, classes, smaller)


def augment(
    load: Callable[[int], Labelled],
    index: int,
    count: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    settings: Augmentation,
) -> Labelled:
    """One training picture of `size` (height, width).

    Args:
        load: gives the picture of an index, 0..count - 1.
        index: of the picture that is wanted. A mosaic has three others with it, drawn at random.
        count: pictures there are.
        size: height and width of the result, pixels.
        rng: the source of all that is random.
        settings: what is done, and how much.
    """
    if rng.random() < settings.mosaic:
        others = rng.integers(count, size=3).tolist()
        made = mosaic([load(i) for i in (index, *others)], size, rng, settings)
    else:
        made = affine(load(index), size, rng, settings)
    if rng.random() < settings.flip:
        made = flip(made)
    if settings.upside_down and rng.random() < settings.upside_down:
        made = flip(made, axis=0)
    return replace(made, image=hsv(made.image, rng, settings.hue, settings.saturation, settings.value))


def flip(labelled: Labelled, axis: int = 1) -> Labelled:
    """Left and right exchanged; top and bottom where the axis, of the picture [H, W, 3], is 0."""
    rows, columns = labelled.image.shape[:2]
    turned = scaled(-1, 1) @ moved(-columns, 0) if axis else scaled(1, -1) @ moved(0, -rows)
    x1, y1, x2, y2 = labelled.boxes.T
    boxes = np.stack((columns - x2, y1, columns - x1, y2) if axis else (x1, rows - y2, x2, rows - y1), 1)
    return Labelled(
        np.asarray(cv2.flip(labelled.image, axis), np.uint8),
        boxes,
        labelled.classes,
        tuple(tuple(through(turned, polygon).astype(np.float32) for polygon in one) for one in labelled.outlines),
        None if labelled.class_map is None else np.flip(labelled.class_map, axis),
    )


def hsv(
    image: NDArray[np.uint8], rng: np.random.Generator, hue: float, saturation: float, value: float
) -> NDArray[np.uint8]:
    """Other colours: hue shifted by up to ±`hue` of the circle, the others times (1 + gain) to the power of -1..1."""
    shift, power_s, power_v = rng.uniform(-1, 1, 3)
    if not (hue or saturation or value):
        return image
    levels = np.arange(256)
    hues = (
        (levels / 256 + hue * shift) % 1 * 255
    )  # OpenCV's circle has 256 steps on the way to HSV, 255 on the way back
    saturations, values = levels * (1 + saturation) ** power_s, levels * (1 + value) ** power_v
    table = np.stack((hues, saturations, values), 1).clip(0, 255).round().astype(np.uint8)
    changed = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), table[None])
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def affine(labelled: Labelled, size: tuple[int, int], rng: np.random.Generator, settings: Augmentation) -> Labelled:
    """The picture resized to `size` (height, width), then moved, scaled, turned and sheared about its middle.

    What is uncovered is grey. An object's box is that around its turned box, cut at the border; the object is dropped
    where less than `VISIBLE` of that is left.
    """
    rows, columns = size
    x, y = rng.uniform(-settings.translate, settings.translate, 2) + 0.5
    height, width = labelled.image.shape[:2]
    scale = _fit(labelled.image, size, settings.resize) * rng.uniform(1 - settings.scale, 1 + settings.scale)
    matrix = moved(x * columns, y * rows) @ _turned(rng, settings) @ scaled(*scale)
    matrix = matrix @ moved(-width / 2, -height / 2) @ _cropped(width, height, rng, settings)
    return _drawn([labelled], [matrix], [(0, 0, columns, rows)], size)


def mosaic(
    four: Sequence[Labelled], size: tuple[int, int], rng: np.random.Generator, settings: Augmentation
) -> Labelled:
    """Four pictures around a random point (Bochkovskiy et al., 2020, arXiv:2004.10934, figure 3).

    Each is resized to the whole `size` and scaled as in `affine`, but at least to what covers its quarter, which then
    shows a random part of it.
    """
    rows, columns = size
    x, y = (round(side * share) for side, share in zip((columns, rows), rng.uniform(0.25, 0.75, 2), strict=True))
    areas = (0, 0, x, y), (x, 0, columns, y), (0, y, x, rows), (x, y, columns, rows)
    matrices = []
    for labelled, area in zip(four, areas, strict=True):
        height, width = labelled.image.shape[:2]
        sides = np.array((width, height))
        half = np.array((area[2] - area[0], area[3] - area[1])) / 2
        scale = _fit(labelled.image, size, settings.resize) * rng.uniform(1 - settings.scale, 1 + settings.scale)
        scale *= max(1.0, *(2 * half / (sides * scale)))
        middle = half / scale + rng.random(2) * (sides - 2 * half / scale)  # of the part, in pixels of the source
        matrix = moved(area[0] + half[0], area[1] + half[1]) @ _turned(rng, settings) @ scaled(*scale)
        matrices.append(matrix @ moved(*-middle) @ _cropped(width, height, rng, settings))
    return _drawn(four, matrices, areas, size)


def random_resized_crop(image: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random part of a picture to classify, resized to `size` (height, width).

    It has 8 to 100% of the picture's area and an aspect ratio of 3:4 to 4:3 (Szegedy et al., 2015, arXiv:1409.4842,
    section 6); the middle of the picture where ten tries do not fit in it.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            break
    else:
        w, h = min(width, math.ceil(height * 4 / 3)), min(height, math.ceil(width * 4 / 3))
        left, top = (width - w) // 2, (height - h) // 2
    part = image[top : top + h, left : left + w]
    shrinks = h >= size[0] and w >= size[1]
    resized = cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _drawn(
    pictures: Sequence[Labelled], matrices: Sequence[Matrix], areas: Sequence[Area], size: tuple[int, int]
) -> Labelled:
    """One picture of `size` (height, width): each of those given through its matrix, in its area, grey around it."""
    canvas = np.empty((*size, 3), np.uint8)
    class_map = None if pictures[0].class_map is None else np.empty(size, np.uint8)
    found = []
    for labelled, matrix, area in zip(pictures, matrices, areas, strict=True):
        left, top, right, bottom = area
        own = moved(-left, -top) @ matrix
        warp(labelled.image, own, canvas[top:bottom, left:right])
        if class_map is not None and labelled.class_map is not None:
            warp_nearest(labelled.class_map, own, class_map[top:bottom, left:right], UNDECIDED)
        found.append(_in_sight(labelled, matrix, area))
    boxes, classes, outlines = zip(*found, strict=True)
    return Labelled(canvas, np.concatenate(boxes), np.concatenate(classes), sum(outlines, ()), class_map)


def _in_sight(
    labelled: Labelled, matrix: Matrix, area: Area
) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[Outline, ...]]:
    """Boxes, classes and outlines of the objects that stay in sight in an area."""
    left, top, right, bottom = area
    corners = through(matrix, labelled.boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]])  # [N, 4, 2]
    whole = np.concatenate((corners.min(1), corners.max(1)), 1)
    boxes = whole.clip((left, top, left, top), (right, bottom, right, bottom))
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = sides.min(1, initial=math.inf) >= SMALLEST
    kept &= sides.prod(1) >= VISIBLE * (whole[:, 2:] - whole[:, :2]).prod(1)
    outlines = tuple(
        tuple(cut(through(matrix, polygon), area).astype(np.float32) for polygon in labelled.outlines[i])
        for i in (np.flatnonzero(kept) if labelled.outlines else ())
    )
    return boxes[kept].astype(np.float32), labelled.classes[kept], outlines


def _outline(mask: Mask) -> Outline:
    """An object's polygons; of run lengths those around the pixels."""
    if isinstance(mask, Rle):
        pixels = rle.decode(rle.runs(mask.counts), mask.size[0])
        return tuple(polygon.astype(np.float32) for polygon in polygons(pixels))
    return mask or ()


def _fit(image: NDArray[np.uint8], size: tuple[int, int], resize: str) -> NDArray[np.float64]:
    """Pixels of the result per pixel of the picture along x and y."""
    scale = np.array((size[1] / image.shape[1], size[0] / image.shape[0]))
    return scale if resize == "stretch" else np.full(2, scale.min())


def _cropped(width: int, height: int, rng: np.random.Generator, settings: Augmentation) -> Matrix:
    """Takes what is between the moved edges to where the whole picture is."""
    x1, x2 = width * (np.array((0, 1)) + rng.uniform(-settings.crop, settings.crop, 2))
    y1, y2 = height * (np.array((0, 1)) + rng.uniform(-settings.crop, settings.crop, 2))
    return scaled(width / (x2 - x1), height / (y2 - y1)) @ moved(-x1, -y1)


def _turned(rng: np.random.Generator, settings: Augmentation) -> Matrix:
    """A rotation after a shear along x and y."""
    angle = math.radians(rng.uniform(-settings.degrees, settings.degrees))
    lean_x, lean_y = np.tan(np.radians(rng.uniform(-settings.shear, settings.shear, 2)))
    rotation = np.array(((math.cos(angle), math.sin(angle), 0), (-math.sin(angle), math.cos(angle), 0), (0, 0, 1)))
    return rotation @ np.array(((1, lean_x, 0), (lean_y, 1, 0), (0, 0, 1)))
