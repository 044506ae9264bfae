"""Draw the pictures of these pages: python docs/detectors/draw.py [NAME ...]

The photograph is one that scikit-image brings. Anchors, default boxes, cells, bins and curves are computed by the functions
that the networks themselves use; only the boxes around the objects were drawn by hand.
"""

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut
from torch import Tensor

from onelook.boxes import iou, xyxy_to_cxcywh
from onelook.detectors import faster_rcnn, m2det, priors, retinanet, ssd, yolo_v2, yolo_v3
from onelook.detectors.assignment import assign
from onelook.detectors.rcnn import propose, warp
from onelook.detectors.targets import targets
from onelook.losses import focal
from onelook.metrics.plots import COLOURS, STYLE
from onelook.nn.conv import ConvBlock
from onelook.nn.decode import decode_yolo_v2
from onelook.nn.roi import roi_align, roi_pool
from onelook.nn.tum import ThinnedU
from onelook.segmenters.deeplab_v3 import OUTPUT_STRIDE, RATES

HERE = Path(__file__).parent
DPI = 100
LARGEST = 60_000  # bytes of a picture
BLUE, ORANGE, GREEN, PINK, SKY, RED = COLOURS
GREY = "#555555"

Picture = NDArray[np.uint8]

WHOLE = 512  # pixels of a side of the photograph, in which these boxes are: xyxy
PERSON, FACE = (20, 14, 362, 512), (152, 14, 302, 190)
HELMET, SHUTTLE = (277, 343, 512, 512), (355, 0, 472, 290)
PATCH, TAG = (133, 347, 209, 423), (278, 340, 328, 378)


def localizer() -> Figure:
    """One answer for the picture, one for each window, one box."""
    figure, (left, middle, right) = panels(3)
    show(left, WHOLE, "classifier: what is it?")
    note(left, 10, WHOLE - 24, "a face")

    side, step = 160, 44
    corner = torch.arange(0, WHOLE - side + 1, step, dtype=torch.float32)
    low = torch.cartesian_prod(corner, corner)
    windows = torch.cat((low, low + side), dim=1)
    overlap = iou(windows, scaled(FACE, WHOLE))
    show(middle, WHOLE, f"{len(windows)} sliding windows: is it here?")
    for window in windows:
        outline(middle, window, GREY, 0.5)
    outline(middle, windows[overlap.argmax()], BLUE, 2.5)
    note(middle, 10, WHOLE - 24, f"IoU of the best: {float(overlap.max()):.2f}")

    show(right, WHOLE, "localizer: where is it?")
    outline(right, FACE, BLUE, 2.5)
    x1, y1, x2, y2 = FACE
    for x, y, name, edge, ha in (
        (x1 - 8, (y1 + y2) / 2, "left", x1, "right"),
        (x2 + 8, (y1 + y2) / 2, "right", x2, "left"),
        ((x1 + x2) / 2, y1 + 26, "top", y1, "center"),
        ((x1 + x2) / 2, y2 + 26, "bottom", y2, "center"),
    ):
        note(right, x, y, f"{name} {edge / WHOLE:.2f}", ha)
    return figure


def rcnn() -> Figure:
    """Proposals of selective search, a warped region, the anchors that took the place of the search."""
    figure, (left, middle, right) = panels(3)
    image = astronaut()
    proposals = torch.from_numpy(propose(image))
    few = 40
    show(left, WHOLE, f"selective search: {few} of {len(proposals)} proposals")
    for one in proposals[:few]:
        outline(left, one, GREY, 0.5)
    best = [proposals[iou(proposals, scaled(one, WHOLE)).argmax()] for one in (PERSON, HELMET, SHUTTLE, PATCH)]
    for one, colour in zip(best, (BLUE, ORANGE, GREEN, PINK), strict=True):
        outline(left, one, colour, 2.2)

    regions = warp(image, torch.stack(best).numpy().astype(np.float32), 224, (127.5,) * 3)
    middle.imshow(np.concatenate([np.concatenate(regions[i : i + 2], 1) for i in (0, 2)]), extent=(0, 448, 448, 0))
    for i, colour in enumerate((BLUE, ORANGE, GREEN, PINK)):
        x, y = 224 * (i % 2), 224 * (i // 2)
        outline(middle, (x + 3, y + 3, x + 221, y + 221), colour, 2.2)
    middle.set_title("R-CNN: each is warped to 224 × 224")
    middle.axis("off")

    size = 600
    (shapes,) = faster_rcnn.ANCHORS
    show(right, size, "Faster R-CNN: nine anchors at a place")
    right.set(xlim=(-90, size + 90), ylim=(size + 90, -90))
    for i, shape in enumerate(shapes):
        outline(right, centred((size / 2, size / 2), shape), (GREEN, ORANGE, BLUE)[i // 3], 1.6, clip_on=False)
    right.plot(size / 2, size / 2, "o", color=RED, markersize=4)
    return figure


def roi() -> Figure:
    """The cells of RoIPool's bins, and the points of RoIAlign's, of one region of a map."""
    figure, (left, right) = panels(2, 3.9)
    size, stride, bins = 320, 32, 2
    count = size // stride
    region, first = torch.tensor([[72.0, 45.0, 250.0, 265.0]]), torch.zeros(1, dtype=torch.int64)
    # Maps that say where one is: of each cell one that is 1 there alone, and two of the coordinates of the cells' centres.
    cells = torch.eye(count**2).view(1, -1, count, count)
    centre = (torch.arange(count) + 0.5) * stride
    places = torch.stack((centre.expand(count, count), centre[:, None].expand(count, count)))[None]

    title = f"RoIPool: {bins} × {bins} bins of whole cells"
    show(left, size, title, grid=count)
    held = roi_pool(cells, region, first, (bins, bins), 1 / stride)[0].unflatten(0, (count, count))
    for row in range(bins):
        for column in range(bins):
            rows, columns = held[:, :, row, column].nonzero(as_tuple=True)
            inset = 5 if (row + column) % 2 else 2  # so that bins that overlap can be told apart
            box = torch.stack((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)) * stride
            outline(left, box + torch.tensor((inset, inset, -inset, -inset)), (BLUE, GREEN)[(row + column) % 2], 2)

    show(right, size, f"RoIAlign: {bins} × {bins} bins, 2 × 2 points each", grid=count)
    points = roi_align(places, region, first, (2 * bins, 2 * bins), 1 / stride, sampling=1)[0].flatten(1)
    right.plot(*points, "o", color=BLUE, markersize=4)
    x1, y1, x2, y2 = region[0].tolist()
    for i in range(1, bins):
        right.plot((x1 + (x2 - x1) * i / bins,) * 2, (y1, y2), color=BLUE, linewidth=1)
        right.plot((x1, x2), (y1 + (y2 - y1) * i / bins,) * 2, color=BLUE, linewidth=1)
    for axes in (left, right):
        outline(axes, region[0], RED, 2, linestyle="--")
    return figure


def single_shot() -> Figure:
    """SSD300's default boxes at one place of each map, those that answer for the person among them."""
    size = 300
    figure, axes = panels(6, 2.6, rows=2)
    shapes = priors.multibox_shapes(ssd.SCALES[size], ssd.RATIOS[size])
    own, sides = priors.Priors(shapes), (38, 19, 10, 5, 3, 1)
    maps = [torch.zeros(1, 4 * len(some), side, side) for some, side in zip(shapes, sides, strict=True)]
    boxes = own.boxes(maps, (size, size))
    truth = targets([scaled(PERSON, size)[None]], [torch.zeros(1, dtype=torch.int64)])
    matched = priors.assign(truth, boxes, 1, 0.5, 0.5)[0] >= 0
    column, row, *_ = (xyxy_to_cxcywh(truth.boxes)[0] / size).tolist()
    start = 0
    for one, some, side in zip(axes, shapes, sides, strict=True):
        count = side**2
        answer = matched[start : start + count * len(some)].sum()
        show(one, size, f"{side} × {side}, {len(some)} boxes each: {answer} match")
        one.set(xlim=(-60, size + 50), ylim=(size + 50, -60))
        outline(one, truth.boxes[0], GREEN, 2)
        for i in range(len(some)):
            k = start + i * count + int(row * side) * side + int(column * side)
            outline(one, centred(boxes[k, :2], boxes[k, 2:]), RED if matched[k] else BLUE, 1.4)
        one.plot(*boxes[k, :2], "o", color=BLUE, markersize=3)
        start += count * len(some)
    return figure


def retina() -> Figure:
    """The focal loss for some gamma, the pyramid, and the anchors of one place of it."""
    figure, (left, middle, right) = panels(3)
    probability = torch.linspace(0.01, 0.999, 300)
    logits = (probability / (1 - probability)).log()
    for gamma, colour in zip((0, 0.5, 1, 2, 5), (GREY, SKY, GREEN, BLUE, ORANGE), strict=True):
        loss = focal(logits, torch.ones_like(logits), gamma)
        left.plot(probability, loss, color=colour, label=f"γ = {gamma:g}" + (", cross-entropy" if gamma == 0 else ""))
    left.set(xlim=(0, 1), ylim=(0, 4.6), xlabel="probability of the true class, $p_t$", ylabel="loss")
    left.set_title(r"FL = $-(1 - p_t)^\gamma \log p_t$")
    left.legend(loc="upper right")

    for i, side in enumerate(retinanet.SIDES):
        half, name = 1.7 * 0.72**i, 3 + i
        bar(middle, 6.2, i, half, BLUE, f"P{name}")
        middle.text(8.8, i, f"{2**name}", ha="center", va="center", fontsize=8)
        sides = ", ".join(f"{side * s:.0f}" for s in retinanet.SCALES)
        middle.text(11.9, i, sides, ha="center", va="center", fontsize=8)
        if i < 3:
            bar(middle, 1.8, i, half, GREY, f"C{name}")
            arrow(middle, (1.8 + half, i), (6.2 - half, i))
        if i < 2:
            arrow(middle, (1.8, i + 0.3), (1.8, i + 0.7))
            arrow(middle, (6.2, i + 0.7), (6.2, i + 0.3))
    arrow(middle, (1.8, 2.3), (6.2 - 0.7, 2.95))
    arrow(middle, (6.2, 3.3), (6.2, 3.7))
    for x, name in ((1.8, "backbone"), (6.2, "pyramid"), (8.8, "stride"), (11.9, "anchors, px")):
        middle.text(x, -0.75, name, ha="center", va="center", fontsize=8, color=GREY)
    middle.set(xlim=(-0.1, 14), ylim=(-1, 4.6), title="P3 to P7, of C3 to C5")
    middle.axis("off")

    size = 640
    show(right, size, "nine anchors at a place of P6")
    for i, shape in enumerate(retinanet.anchors()[3]):
        outline(right, centred((size / 2, size / 2), shape), (GREEN, ORANGE, BLUE)[i // 3], 1.5)
    right.plot(size / 2, size / 2, "o", color=RED, markersize=4)
    return figure


def multi_level() -> Figure:
    """One U of M2Det, and the maps of all eight of them, scale by scale."""
    size, levels = 320, 8
    figure = Figure(figsize=(8.4, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    with torch.device("meta"):
        maps = ThinnedU((128, 128), 256, len(m2det.RATIOS))(torch.empty(2, 128, size // 8, size // 8))
    sides = [x.shape[2] for x in maps]
    for i, side in enumerate(sides):
        half = 1.5 * 0.72**i
        bar(left, 2, -i, half, GREY, f"{side}")
        bar(left, 6.2, -i, half, BLUE, f"{side}")
        if i + 1 < len(sides):
            arrow(left, (2 + half, -i), (6.2 - half, -i))
            arrow(left, (2, -i - 0.3), (2, -i - 0.7))
            arrow(left, (6.2, -i - 0.7), (6.2, -i - 0.3))
        arrow(left, (6.2 + half, -i), (8.4, -i))
    arrow(left, (2.4, 1 - len(sides)), (6.2 - half, 1 - len(sides)))
    left.set(xlim=(0.3, 8.6), ylim=(-5.6, 0.6), title="one TUM: down, and up again")
    left.axis("off")

    x = 0.0
    photo = faded(size)
    for side in sides:
        width = 0.5 + 1.5 * (side / sides[0]) ** 0.5
        small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
        for level in range(levels):
            shift = 0.11 * (levels - 1 - level)
            colour = matplotlib.colormaps["Blues"](0.25 + 0.09 * level)
            right.add_patch(
                Rectangle((x + shift, shift), width, width, facecolor=colour, edgecolor="white", linewidth=0.7)
            )
        right.imshow(small, extent=(x, x + width, 0, width), interpolation="nearest", zorder=2)
        outline(right, (x, 0, x + width, width), BLUE, 1.2, zorder=3)
        right.text(x + width / 2, -0.22, f"{side} × {side}", ha="center", va="center", fontsize=8)
        x += width + 1.05
    right.set(xlim=(-0.1, x - 0.15), ylim=(-0.5, 3), title=f"six scales, each of the maps of {levels} TUMs")
    right.set_aspect("equal")
    right.axis("off")
    return figure


def yolo() -> Figure:
    """The cell that answers in v1, the five anchors of a cell in v2, the scale that answers in v3."""
    figure, (left, middle, right) = panels(3)
    size, cells = 448, 7
    person = scaled(PERSON, size)
    centre = xyxy_to_cxcywh(person)[:2]
    show(left, size, f"v1: {cells} × {cells} cells, one answers", grid=cells)
    fill(left, centre, size // cells, RED)
    outline(left, person, GREEN, 2)
    left.plot(*centre, "o", color=RED, markersize=5)

    size, cells = 416, 13
    show(middle, size, f"v2: {cells} × {cells} cells, five anchors each", grid=cells)
    person = scaled(PERSON, size)
    anchors = torch.tensor(yolo_v2.ANCHORS) * size / cells
    (answers,) = assign(one_each(person), [anchors], (size, size), [(cells, cells)])
    fill(middle, xyxy_to_cxcywh(person)[:2], size // cells, RED)
    outline(middle, person, GREEN, 2)
    raw = torch.zeros(
        1, len(anchors) * 6, cells, cells
    )  # all t are 0: boxes of the anchors' sides, in the cells' middles
    boxes = decode_yolo_v2(raw, (size, size), yolo_v2.ANCHORS)[0].view(len(anchors), cells, cells, 4)
    for i, box in enumerate(boxes[:, answers.row[0], answers.column[0]]):
        outline(middle, box, RED if i == answers.anchor[0] else BLUE, 1.6)

    show(right, size, "v3: the scale whose anchor fits best")
    truth = one_each(*(scaled(box, size) for box in (PERSON, PATCH, TAG)))
    shapes = [torch.tensor(own, dtype=torch.float32) for own in yolo_v3.ANCHORS]
    strides = (32, 16, 8)
    assigned = assign(truth, shapes, (size, size), [(size // stride,) * 2 for stride in strides])
    for own, shape, stride, colour in zip(assigned, shapes, strides, (BLUE, ORANGE, PINK), strict=True):
        for anchor, row, column, target in zip(*own[1:], strict=True):
            middle_of_cell = (torch.stack((column, row)) + 0.5) * stride
            fill(right, middle_of_cell, stride, colour)
            outline(right, centred(middle_of_cell, shape[anchor]), colour, 1.6, linestyle="--")
            outline(right, truth.boxes[target], GREEN, 1.6)
        right.plot([], [], "s", color=colour, label=f"stride {stride}")
    right.legend(loc="upper right", fontsize=8, frameon=True, framealpha=0.9, handletextpad=0.2)
    return figure


def deeplab() -> Figure:
    """The places that a 3 x 3 kernel looks at, by its rate, in a picture of 513 pixels."""
    size = 513
    count = (size - 1) // OUTPUT_STRIDE + 1
    rates = (1, *RATES)
    figure, axes = panels(len(rates), 2.15)
    place = (18, 14)  # row and column
    for one, rate in zip(axes, rates, strict=True):
        show(one, size, f"rate {rate}: {(2 * rate + 1)} × {2 * rate + 1} places")
        block = ConvBlock((1, 1), 3, padding="same", dilation=rate)  # as DeepLabV3 makes it
        torch.nn.init.ones_(block.conv.weight)
        x = torch.zeros(1, 1, count, count, requires_grad=True)
        block.conv(x)[0, 0, *place].backward()
        assert x.grad is not None
        rows, columns = x.grad[0, 0].nonzero(as_tuple=True)
        one.plot(
            columns * OUTPUT_STRIDE + 0.5, rows * OUTPUT_STRIDE + 0.5, "o", color=BLUE, markersize=4.5, clip_on=False
        )
        one.plot(place[1] * OUTPUT_STRIDE + 0.5, place[0] * OUTPUT_STRIDE + 0.5, "o", color=RED, markersize=4.5)
    return figure


def panels(count: int, side: float = 2.8, rows: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure and its axes, squares of so many inches, row by row."""
    columns = count // rows
    figure = Figure(figsize=(side * columns, (side + 0.2) * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.07)
    return figure, figure.subplots(rows, columns).ravel()


def faded(size: int) -> Picture:
    """The photograph, of so many pixels a side, grey and pale, so that lines on it are seen."""
    grey = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA)
    levels = (255 - (255 - small) * 0.42) // 8 * 8  # few levels: a small file
    return np.repeat(levels.astype(np.uint8)[..., None], 3, 2)


def show(axes: Axes, size: int, title: str, grid: int = 0) -> None:
    """The photograph as a picture of so many pixels a side, with so many cells a side."""
    axes.imshow(faded(size), extent=(0, size, size, 0))
    for i in range(grid + 1 if grid else 0):
        axes.axvline(i * size / grid, color=GREY, linewidth=0.4)
        axes.axhline(i * size / grid, color=GREY, linewidth=0.4)
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_title(title)
    axes.axis("off")


def scaled(box: Sequence[float], size: int) -> Tensor:
    """A box of the photograph in it as a picture of so many pixels a side."""
    return torch.tensor(box, dtype=torch.float32) * size / WHOLE


def one_each(*boxes: Tensor) -> object:
    """Those objects of one picture, of one class."""
    return targets([torch.stack(boxes)], [torch.zeros(len(boxes), dtype=torch.int64)])


def centred(centre: Sequence[float] | Tensor, sides: Sequence[float] | Tensor) -> list[float]:
    """Xyxy."""
    (x, y), (width, height) = map(float, centre), map(float, sides)
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def outline(axes: Axes, box: Sequence[float] | Tensor, colour: str, width: float, **more: object) -> None:
    """A box, xyxy."""
    x1, y1, x2, y2 = map(float, box)
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, **more))


def fill(axes: Axes, point: Tensor, stride: int, colour: str) -> None:
    """The cell that a point is in."""
    x, y = (float(value) // stride * stride for value in point)
    axes.add_patch(Rectangle((x, y), stride, stride, facecolor=colour, alpha=0.45))


def note(axes: Axes, x: float, y: float, text: str, ha: str = "left") -> None:
    """Words upon a photograph."""
    frame = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x, y, text, ha=ha, va="center", fontsize=8, bbox=frame)


def bar(axes: Axes, x: float, y: float, half: float, colour: str, text: str) -> None:
    """A map, as a bar of so much width."""
    axes.add_patch(Rectangle((x - half, y - 0.27), 2 * half, 0.54, facecolor=colour))
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From here to there."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 0.9, "shrinkA": 1, "shrinkB": 1})


def save(figure: Figure, path: Path) -> None:
    """Write a figure in as many colours as its size allows."""
    whole = io.BytesIO()
    figure.savefig(whole, format="png", dpi=DPI)
    picture = Image.open(whole).convert("RGB")
    for colours in (256, 128, 64, 32, 24):
        found = io.BytesIO()
        picture.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
            found, "png", optimize=True
        )
        if found.tell() <= LARGEST:
            path.write_bytes(found.getvalue())
            return
    sys.exit(f"error: {path.name} has {found.tell()} bytes")


PICTURES: Mapping[str, Callable[[], Figure]] = {
    "localizer": localizer,
    "rcnn": rcnn,
    "roi": roi,
    "ssd": single_shot,
    "retinanet": retina,
    "m2det": multi_level,
    "yolo": yolo,
    "deeplab": deeplab,
}

if __name__ == "__main__":
    with matplotlib.rc_context({**STYLE, "axes.titlesize": 9}):
        for name in sys.argv[1:] or PICTURES:
            save(PICTURES[name](), HERE / f"{name}.png")
