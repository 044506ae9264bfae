"""Boxes and labels on a picture: a colour a class, lines and letters that fit the picture's size, labels that stay
inside it and out of each other's way.
"""

import functools
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LINE_WIDTH = 0.0032  # these two relative to the side of a square picture of the same area
FONT_SIZE = 0.02
CAPTION_SIZE = 0.03
MIN_FONT_SIZE = 11  # pixels: smaller letters cannot be read
MAX_LETTERS = 200  # of a label: what is longer is cut before anything is measured
MAX_HIDDEN = 0.1  # of a label, by the labels on top of it
COLOURS = 512  # classes after these begin again with the first colour

# OpenCV 5 draws TrueType letters and brings the fonts along: Latin, Greek, Cyrillic, Arabic and Hebrew letters,
# Chinese, Japanese, Korean. OpenCV 4 has the strokes of A. V. Hershey, for ASCII.
opencv: Any = cv2  # whose functions take other arguments in 5, for which the types of 4 have no names
FONT = opencv.FontFace("sans") if hasattr(opencv, "FontFace") else None
FONT_WEIGHT = 500  # a little bolder than regular (400): the letters are small, on colour

Colour = tuple[int, int, int]


def draw(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], classes: NDArray[np.int64], labels: Sequence[str]
) -> NDArray[np.uint8]:
    """A copy of the picture with the outline of each box and its label.

    Args:
        image: RGB uint8 [H, W, 3]; not modified.
        boxes: [N, 4] xyxy in pixels, most important first: it lies on top, and its label chooses its place first.
            They are cut to the picture; a box outside it, inverted or not finite is left out.
        classes: [N] index of the class, from 0: the colour.
        labels: N texts in any script. One that is wider than the picture is shortened; one that would hide more than
            an eighth of the picture, and an empty one, is left out.
    """
    canvas = np.array(image, order="C")
    height, width = canvas.shape[:2]
    line_width = max(1, round(math.sqrt(height * width) * LINE_WIDTH))

    visible, outlines, line_widths = _outlines(boxes, line_width, width, height)
    colours = [colour(int(classes[i])) for i in visible]
    for i in reversed(range(len(visible))):
        (x1, y1, x2, y2), line = outlines[i], line_widths[i]
        canvas[y1 : y1 + line, x1:x2] = colours[i]
        canvas[y2 - line : y2, x1:x2] = colours[i]
        canvas[y1:y2, x1 : x1 + line] = colours[i]
        canvas[y1:y2, x2 - line : x2] = colours[i]

    texts, sizes, font_size = _fitted([labels[i] for i in visible], width, height)
    _put_labels(canvas, place_labels(outlines, sizes, width, height), texts, font_size, colours)
    return canvas


def put_names(
    canvas: NDArray[np.uint8], circles: NDArray[np.int64], classes: Sequence[int], labels: Sequence[str]
) -> None:
    """Draws labels into the picture: each in the middle of its circle, or above it where that is too low.

    Args:
        canvas: RGB uint8 [H, W, 3]; modified.
        circles: [N, 3] x, y of the middle and the radius, pixels; the most important first, whose label chooses its place
            first.
        classes, labels: N, as of `draw`.
    """
    height, width = canvas.shape[:2]
    texts, sizes, font_size = _fitted(labels, width, height)
    (x, y, radius), (w, h) = circles.T, sizes.T
    fits = 2 * radius >= h
    top, bottom = np.where(fits, y + h // 2, y - radius), np.where(fits, y + h // 2, y + radius)
    outlines = np.stack([x - w // 2, top, x - w // 2 + w, bottom], 1)  # a label's first place is on top of it
    places = place_labels(outlines, sizes, width, height)
    _put_labels(canvas, places, texts, font_size, [colour(i) for i in classes])


def caption(image: NDArray[np.uint8], lines: Sequence[str], classes: Sequence[int]) -> NDArray[np.uint8]:
    """A copy of the picture with labels under one another in its upper left corner, as many as fit its height.

    Args:
        image: RGB uint8 [H, W, 3]; not modified.
        lines: texts in any script, shortened where they are wider than the picture.
        classes: index of the class of each, from 0: the colour.
    """
    canvas = np.array(image, order="C")
    height, width = canvas.shape[:2]
    font_size = max(MIN_FONT_SIZE, round(math.sqrt(height * width) * CAPTION_SIZE))
    top = 0
    for line, class_id in zip(lines, classes, strict=True):
        room = width * height // (8 * label_size("x", font_size)[1])  # no label hides more than an eighth
        text = _shorten(drawable(line[:MAX_LETTERS]), font_size, min(room, width))
        label_width, label_height = label_size(text, font_size)
        if not text or top + label_height > height:
            break
        area = canvas[top : top + label_height, :label_width]
        area[:] = colour(class_id)
        _put_text(area, text, font_size, text_colour(colour(class_id)))
        top += label_height
    return canvas


def _outlines(
    boxes: NDArray[np.float32], line_width: int, width: int, height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of the boxes in sight: their indices, the outer edges of their lines in the picture (xyxy), the lines' widths."""
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    seen = np.isfinite(x1 + y1 + x2 + y2) & (x1 <= x2) & (y1 <= y2)
    seen &= (x1 < width) & (y1 < height) & (x2 >= 0) & (y2 >= 0)
    visible = np.flatnonzero(seen)
    limits = np.array([width, height] * 2)
    edges = np.clip(np.stack([x1, y1, x2, y2], 1)[visible], 0, limits).round().astype(np.int64)
    # The lines of a small box are thin, that its object stays in sight. They lie half inside the box, half around it;
    # being upright and on whole pixels they are sharp without anti-aliasing. An outline has at least one pixel.
    line_widths = ((edges[:, 2:] - edges[:, :2]).min(1, initial=max(width, height)) // 8).clip(1, line_width)
    edges += np.array([-1, -1, 1, 1]) * (line_widths[:, None] // 2)
    edges[:, :2] = np.clip(edges[:, :2], 0, limits[:2] - 1)
    edges[:, 2:] = np.clip(edges[:, 2:], edges[:, :2] + 1, limits[2:])
    return visible, edges, line_widths


def place_labels(outlines: NDArray[np.int64], sizes: NDArray[np.int64], width: int, height: int) -> NDArray[np.int64]:
    """Where each label goes: the first place at its box that is free of the labels before it, else the freest.

    The places are tried in this order: on top of the box, inside at its top, under it, inside at its bottom; at its
    left and then at its right end. All are moved into the picture. A label that would be hidden in part is left out.

    Args:
        outlines: [N, 4] xyxy, whole pixels.
        sizes: [N, 2] width and height of the labels, none larger than the picture.
        width, height: of the picture.

    Returns:
        [N, 4] xyxy inside the picture; of zero area for a label that is left out.
    """
    x1, y1, x2, y2 = outlines[:, :, None].transpose(1, 0, 2)  # [N, 1] each
    w, h = sizes[:, :, None].transpose(1, 0, 2)
    left = np.concatenate([x1, x1, x1, x1, x2 - w, x2 - w, x2 - w, x2 - w], 1).clip(0, width - w)
    top = np.tile(np.concatenate([y1 - h, y1, y2, y2 - h], 1), 2).clip(0, height - h)
    choices = np.stack([left, top, left + w, top + h], 2)  # [N, 8, 4]

    places = np.empty_like(outlines)
    for i, choice in enumerate(choices):
        low = np.maximum(choice[:, None, :2], places[:i, :2])
        high = np.minimum(choice[:, None, 2:], places[:i, 2:])
        hidden = (high - low).clip(0).prod(2).sum(1)  # [8] pixels of other labels that each place would cover
        best = hidden.argmin()
        places[i] = choice[best] if hidden[best] <= MAX_HIDDEN * sizes[i].prod() else 0
    return places


def _fitted(labels: Sequence[str], width: int, height: int) -> tuple[list[str], NDArray[np.int64], int]:
    """Labels as they can be drawn on a picture of that size: texts, their sizes [N, 2] in pixels, and that of the font."""
    font_size = max(MIN_FONT_SIZE, round(math.sqrt(height * width) * FONT_SIZE))
    texts = [_fit(drawable(label[:MAX_LETTERS]), font_size, width, height) for label in labels]
    return texts, np.array([label_size(text, font_size) for text in texts], np.int64).reshape(-1, 2), font_size


def _put_labels(
    canvas: NDArray[np.uint8],
    places: NDArray[np.int64],
    texts: Sequence[str],
    font_size: int,
    colours: Sequence[Colour],
) -> None:
    """Draws labels where `place_labels` says, the first on top."""
    for i in reversed(range(len(texts))):
        x1, y1, x2, y2 = places[i]
        if x1 < x2:
            canvas[y1:y2, x1:x2] = colours[i]
            _put_text(canvas[y1:y2, x1:x2], texts[i], font_size, text_colour(colours[i]))


def label_size(text: str, font_size: int) -> tuple[int, int]:
    """Width and height of a label in pixels, with the margin around its letters; nothing for an empty text."""
    if not text:
        return 0, 0
    if FONT is not None:
        _, _, text_width, _ = opencv.getTextSize((0, 0), text, (0, 0), FONT, font_size, FONT_WEIGHT)
    else:
        (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, *_hershey(font_size))
    return text_width + 2 * _margin(font_size), round(1.1 * font_size) + 2 * _margin(font_size)


def _put_text(area: NDArray[np.uint8], text: str, font_size: int, ink: Colour) -> None:
    """Draws a text into an area of `label_size`."""
    margin = _margin(font_size)
    start = (margin, margin + round(0.9 * font_size))  # left end of the line that the letters stand on
    if FONT is not None:
        opencv.putText(area, text, start, ink, FONT, font_size, FONT_WEIGHT)
    else:
        scale, thickness = _hershey(font_size)
        cv2.putText(area, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA)


def _margin(font_size: int) -> int:
    return max(2, font_size // 6)


def _hershey(font_size: int) -> tuple[float, int]:
    """Scale and thickness that make OpenCV 4's strokes as large as TrueType letters of `font_size`."""
    return font_size / 31, max(1, font_size // 12)


def _fit(text: str, font_size: int, width: int, height: int) -> str:
    """The text, as much of it as fits the width of the picture; nothing where the label would hide too much."""
    fitted = _shorten(text, font_size, width)
    label_width, label_height = label_size(fitted, font_size)
    return fitted if label_height <= height and 8 * label_width * label_height <= width * height else ""


def _shorten(text: str, font_size: int, width: int) -> str:
    """The text, as much of it as a label of that width has room for."""
    letters, fitted = len(text), text
    while (label_width := label_size(fitted, font_size)[0]) > width:
        letters = min(letters - 1, letters * width // label_width)
        if letters < 3:
            return ""
        fitted = text[:letters].rstrip() + "..."
    return fitted


def drawable(text: str) -> str:
    """The text on one line in characters that the font has; for others their sound or meaning in ASCII (`anyascii`).

    Control characters become spaces. Letters of a script that joins them (Arabic) are drawn one by one. Indic scripts
    and emoji, which OpenCV 5 has no font for, come out like "kutta" and ":dog:"; with OpenCV 4, all but ASCII does so.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(_drawable_character(character) for character in unicodedata.normalize("NFC", text))
    return " ".join(text.split())


@functools.lru_cache(maxsize=4096)
def _drawable_character(character: str) -> str:
    if not character.isprintable():
        return " "
    if character.isascii() or (FONT is not None and _glyph(character) != _glyph("?")):
        return character
    from anyascii import anyascii

    return anyascii(character)


def _glyph(character: str) -> bytes:
    """The pixels of one character; those of "?" where the font has none for it."""
    pixels = np.zeros((32, 64), np.uint8)
    opencv.putText(pixels, character, (16, 24), 255, FONT, 16, FONT_WEIGHT)
    return pixels.tobytes()


def colour(class_id: int) -> Colour:
    """The colour of a class, RGB 0..255: always the same, and the first classes differ most."""
    return palette()[class_id % COLOURS]


@functools.cache
def palette() -> list[Colour]:
    """512 colours, RGB 0..255. Each is the one least like all those before it.

    Chosen among the vivid colours that stand out on dark and on bright pictures, by their distance in OKLab (Ottosson,
    2020), where equal distances look equally large.
    """
    levels = np.linspace(0, 255, 16).round()
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(rgb)
    lightness, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    vivid = (lightness > 0.5) & (lightness < 0.93) & (chroma > 0.08) & (chroma < 0.25)
    rgb, lab = rgb[vivid], lab[vivid]

    chosen = [int(np.abs(rgb - (255, 120, 40)).sum(1).argmin())]  # orange: any will do
    distance = np.full(len(lab), np.inf)
    while len(chosen) < COLOURS:
        difference = lab - lab[chosen[-1]]
        distance = np.minimum(distance, np.einsum("ij,ij->i", difference, difference))
        chosen.append(int(distance.argmax()))
    return [(int(red), int(green), int(blue)) for red, green, blue in rgb[chosen]]


def _linear(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light, 0..1, of sRGB values 0..255 (IEC 61966-2-1)."""
    value = np.asarray(rgb, np.float64) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _oklab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    cones = _linear(rgb) @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    lab: NDArray[np.float64] = np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
    return lab


@functools.lru_cache(maxsize=COLOURS)
def text_colour(background: Colour) -> Colour:
    """Black or white: whichever contrasts more with the background (WCAG 2.2, contrast ratio)."""
    luminance = float(_linear(np.array(background)) @ (0.2126, 0.7152, 0.0722))
    return (255, 255, 255) if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else (0, 0, 0)
