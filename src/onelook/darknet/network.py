"""A network of torch modules from a Darknet `.cfg`: one row a section, its shape known before anything is allocated."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from onelook.darknet.cfg import Cfg, Section, read_cfg
from onelook.darknet.layers import (
    Connected,
    Crop,
    Head,
    MaxPool,
    Multiply,
    Route,
    Shortcut,
    Softmax,
    Upsample,
    grey,
)
from onelook.darknet.tree import read_tree
from onelook.errors import DarknetError
from onelook.nn.activations import ACTIVATIONS, activation
from onelook.nn.conv import ConvBlock
from onelook.nn.decode import Anchors, decode_yolo_v1, decode_yolo_v2, decode_yolo_v3
from onelook.nn.local import Local
from onelook.nn.reorg import Reorg

# What a cfg may ask for. YOLOv1, the largest network known, has 272 million parameters.
MAX_PARAMETERS = 300_000_000
MAX_MAP = 1 << 27  # numbers in one layer's output
MAX_MULTIPLY_ADDS = 10**13  # YOLOv4 at 1920 x 1920 needs 0.7e12
MAX_KERNEL = 255
MAX_SIDE = 1 << 14

Shape = tuple[int, int, int]  # channels, height, width

# The options of [yolo] in Darknet by its author, who letterboxes. One with others is of AlexeyAB's Darknet, which stretches.
ORIGINAL_YOLO = set("anchors classes ignore_thresh jitter map mask max num random truth_thresh".split())


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of the network.

    Attributes:
        index: its number, from 0, that other layers refer to.
        section: where it comes from in the cfg.
        sources: the numbers of the layers it reads; -1 is the picture.
        shape: channels, height, width of its output at the cfg's input size.
        parameters: numbers that training changes.
        multiply_adds: at the cfg's input size, convolutions and fully connected layers alone, as papers count.
    """

    index: int
    section: Section
    sources: tuple[int, ...]
    shape: Shape
    parameters: int
    multiply_adds: int


@dataclass(slots=True)
class _Layer:
    """What a builder of a layer says: how to make the module, and what follows from its options."""

    make: Callable[[], nn.Module]
    shape: Shape
    sources: tuple[int, ...] | None = None  # the layer before
    parameters: int = 0
    multiply_adds: int = 0


class Darknet(nn.Module):
    """The network that a Darknet `.cfg` describes, with random weights; `load_weights` fills in trained ones.

    Args:
        cfg: path of the file, or what `read_cfg` made of it.
        device: where the parameters are; "meta" allocates none.
        size: of the input, (height, width) or the side of a square; the cfg's by default.

    Attributes:
        rows: the layers as data; `layers[i]` is the module of `rows[i]`.
        size: height and width of the input, pixels.
        task: "detect" with a [yolo], [region] or [detection] layer, "classify" with a final [softmax], else "features".

    `forward`: picture float32 [B, 3, H, W], RGB in 0..1 -> the raw maps of the heads; without one, the last map. Networks
    of one channel see the picture in grey; those of another number take pictures of as many.
    `decode`: those -> boxes [B, N, 4] xyxy in pixels of the input, and scores [B, N, C].

    Raises:
        DarknetError: a section or option that is unknown, malformed or does not fit; says file, line and section.
    """

    def __init__(self, cfg: str | Path | Cfg, device: str = "cpu", size: int | tuple[int, int] | None = None):
        super().__init__()
        self.cfg = cfg if isinstance(cfg, Cfg) else read_cfg(cfg)
        net = self.cfg.net
        self.channels = net.integer("channels", 3, high=1024)
        if size is None:
            size = net.integer("height", high=MAX_SIDE), net.integer("width", high=MAX_SIDE)
        self.size = (size, size) if isinstance(size, int) else size
        if not all(1 <= side <= MAX_SIDE for side in self.size):
            raise DarknetError(f"the sides of the input must be from 1 to {MAX_SIDE}; found {self.size}")
        rows: list[Row] = []
        makers: list[Callable[[], nn.Module]] = []
        for section in self.cfg.layers:
            row, make = _row(section, rows, (self.channels, *self.size))
            rows.append(row)
            makers.append(make)
        self.rows = tuple(rows)
        with torch.device(device):
            self.layers = nn.ModuleList(make() for make in makers)
        heads = self._head_sections
        for section, head in zip(heads, self.heads, strict=True):
            if head.classes != self.classes:
                raise section.error(
                    f"has {head.classes} classes; [{heads[0].name}] in line {heads[0].line} has {self.classes}, and all "
                    f"heads must have the same",
                    "classes",
                )
        self._kept = {source for row in rows for source in row.sources if source != row.index - 1}

    @property
    def heads(self) -> list[Head]:
        """The layers that detections are decoded from, top to bottom."""
        return [layer for layer in self.layers if isinstance(layer, Head)]

    @property
    def task(self) -> str:
        """What the network is for: "detect", "classify" or "features"."""
        if self.heads:
            return "detect"
        names = [row.section.name for row in self.rows if row.section.name != "cost"]
        return "classify" if names[-1] in ("softmax", "soft") else "features"

    @property
    def classes(self) -> int:
        """How many classes are told apart; the channels of the last map where there are none."""
        return self.heads[0].classes if self.heads else math.prod(self.rows[-1].shape)

    @property
    def fixed_size(self) -> Section | None:
        """The first layer that lets the input have no size but this one, if there is any."""
        fixed = (Connected, Local, Crop)
        return next((r.section for r, x in zip(self.rows, self.layers, strict=True) if isinstance(x, fixed)), None)

    @property
    def letterboxed(self) -> bool:
        """Whether a detector sees pictures between grey bars, in their own shape; else they are stretched.

        As it was trained: as `letter_box` of [net] says, else as its Darknet does by default. That of [detection], and
        AlexeyAB's, stretch.
        """
        if "letter_box" in self.cfg.net.options:
            return self.cfg.net.flag("letter_box")
        return not any(
            section.name == "detection" or (section.name == "yolo" and section.options.keys() - ORIGINAL_YOLO)
            for section in self.cfg.layers
        )

    @property
    def diou_beta(self) -> float | None:
        """The power of the penalty in DIoU suppression where the last [yolo] layer has that (`nms_kind`), else None.

        Darknet's `greedynms` is DIoU with the power 0.6 whatever `beta_nms` says, which only `diounms` heeds.
        """
        section = self._head_sections[-1]
        kind = section.text("nms_kind", "default")
        return {"greedynms": 0.6, "diounms": section.number("beta_nms", 0.6)}.get(kind)

    @property
    def _head_sections(self) -> list[Section]:
        return [row.section for row, layer in zip(self.rows, self.layers, strict=True) if isinstance(layer, Head)]

    @property
    def parameters_count(self) -> int:
        """Numbers that training changes."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Of one picture of the cfg's size."""
        return sum(row.multiply_adds for row in self.rows)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        x = grey(image) if self.channels == 1 else image
        kept = {-1: x}
        raw = []
        for row, layer in zip(self.rows, self.layers, strict=True):
            x = layer(*(x if source == row.index - 1 else kept[source] for source in row.sources))
            if row.index in self._kept:
                kept[row.index] = x
            if isinstance(layer, Head):
                raw.append(x)
        return raw or [x]

    def decode(self, raw: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What the raw maps mean for an input of `size` (height, width): boxes [B, N, 4] and scores [B, N, C]."""
        boxes, scores = zip(*(head.decode(x, size) for head, x in zip(self.heads, raw, strict=True)), strict=True)
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)


def _row(section: Section, rows: list[Row], image: Shape) -> tuple[Row, Callable[[], nn.Module]]:
    """The next row, checked against the limits, and the maker of its module."""
    build = _BUILDERS.get(section.name)
    if build is None:
        raise section.error(f"is not a layer that onelook knows; it knows {', '.join(sorted(_BUILDERS))}")
    index = len(rows)
    before = rows[-1].shape if rows else image
    layer = build(section, before, rows)
    if min(layer.shape) < 1:
        raise section.error(
            f"its output would be empty: {' x '.join(map(str, layer.shape))} (channels x height x width)"
        )
    if math.prod(layer.shape) > MAX_MAP:
        raise section.error(
            f"its output of {' x '.join(map(str, layer.shape))} numbers is larger than onelook's limit of {MAX_MAP}"
        )
    parameters = layer.parameters + sum(row.parameters for row in rows)
    if parameters > MAX_PARAMETERS:
        raise section.error(f"brings the network to {parameters} parameters; onelook's limit is {MAX_PARAMETERS}")
    multiply_adds = layer.multiply_adds + sum(row.multiply_adds for row in rows)
    if multiply_adds > MAX_MULTIPLY_ADDS:
        raise section.error(
            f"brings the network to {multiply_adds} multiply-adds; onelook's limit is {MAX_MULTIPLY_ADDS}"
        )
    sources = (index - 1,) if layer.sources is None else layer.sources
    return Row(index, section, sources, layer.shape, layer.parameters, layer.multiply_adds), layer.make


# ---- one builder a section -------------------------------------------------------------------------------------------

# Options that change what a layer computes and that onelook does not have; the rest only concern training.
_REFUSED = (
    "antialiasing",
    "assisted_excitation",
    "binary",
    "bin_output",
    "coordconv",
    "flipped",
    "dontload",
    "dontloadscales",
    "rotate",
    "share_index",
    "stretch",
    "stretch_sway",
    "sway",
    "xnor",
    "maxpool_depth",
    "maxpool_zero_nonmax",
    "extra",
    "flatten",
    "spatial",
    "background",
    "embedding_layer",
)


def _refuse(section: Section) -> None:
    for key in _REFUSED:
        if key in section.options and section.text(key, "0") not in ("0", ""):
            raise section.error(f"has '{key}', which onelook does not have", key)


def _activation(section: Section, default: str) -> str:
    name = section.text("activation", default)
    if name not in ACTIVATIONS:
        raise section.error(
            f"needs 'activation', one of {', '.join(sorted(ACTIVATIONS))}; found {name[:40]!r}", "activation"
        )
    return name


def _strides(section: Section) -> tuple[int, int]:
    """Along y and x."""
    stride = section.integer("stride", 1, high=MAX_KERNEL)
    return section.integer("stride_y", stride, high=MAX_KERNEL), section.integer("stride_x", stride, high=MAX_KERNEL)


def _padding(section: Section, size: int) -> int:
    return size // 2 if section.flag("pad") else section.integer("padding", 0, low=0, high=MAX_KERNEL)


def _output(sides: tuple[int, int], strides: tuple[int, int], margin: int) -> tuple[int, int]:
    """Height and width of the output; `margin` is the padding of both sides less the size of the kernel."""
    return (sides[0] + margin) // strides[0] + 1, (sides[1] + margin) // strides[1] + 1


def _references(section: Section, key: str, rows: list[Row]) -> list[Row]:
    """The rows that the option `key` names by number, or, when negative, by how far up they stand."""
    found = []
    for number in section.integers(key):
        index = number + len(rows) if number < 0 else number
        if not 0 <= index < len(rows):
            raise section.error(f"is layer {len(rows)}; its '{key}' names layer {number}, which is not above it", key)
        found.append(rows[index])
    if len(found) > 64:
        raise section.error(f"its '{key}' names {len(found)} layers; onelook's limit is 64", key)
    return found


def _convolutional(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    channels, height, width = shape
    filters = section.integer("filters")
    size = section.integer("size", 1, high=MAX_KERNEL)
    groups = section.integer("groups", 1)
    if channels % groups or filters % groups:
        raise section.error(
            f"needs 'groups' that divides its {channels} input channels and its {filters} filters; found {groups}",
            "groups",
        )
    strides = _strides(section)
    dilation = 1 if size == 1 else section.integer("dilation", 1, high=MAX_KERNEL)
    padding = _padding(section, size)
    if dilation > 1 and (strides != (1, 1) or 2 * padding != size - 1):
        raise section.error("is dilated, for which onelook needs stride=1, an odd size and pad=1", "dilation")
    batch_norm = section.flag("batch_normalize") or section.flag("cbn")  # cbn is batch_normalize=2: of several batches
    name = _activation(section, "logistic")
    out = _output((height, width), strides, 2 * padding - size)
    weights = filters * (channels // groups) * size * size
    return _Layer(
        lambda: ConvBlock(
            (channels, filters), size, strides, padding * dilation, dilation, groups, batch_norm, activation=name
        ),
        (filters, *out),
        parameters=weights + filters * (2 if batch_norm else 1),
        multiply_adds=weights * max(out[0], 0) * max(out[1], 0),
    )


def _connected(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    inputs, outputs = math.prod(shape), section.integer("output")
    batch_norm = section.flag("batch_normalize")
    name = _activation(section, "logistic")
    return _Layer(
        lambda: Connected(inputs, outputs, batch_norm, name),
        (outputs, 1, 1),
        parameters=inputs * outputs + outputs * (2 if batch_norm else 1),
        multiply_adds=inputs * outputs,
    )


def _local(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    channels, height, width = shape
    filters = section.integer("filters")
    size = section.integer("size", 1, high=MAX_KERNEL)
    stride = section.integer("stride", 1, high=MAX_KERNEL)
    pad = section.flag("pad")
    if pad and size != 3:
        raise section.error("has pad=1, which Darknet computes for size=3 alone", "size")
    out = _output((height, width), (stride, stride), -1 if pad else -size)
    name = _activation(section, "logistic")
    places = max(out[0], 0) * max(out[1], 0)
    weights = places * filters * channels * size * size
    return _Layer(
        lambda: Local((channels, filters), out, size, stride, int(pad), name),
        (filters, *out),
        parameters=weights + places * filters,
        multiply_adds=weights,
    )


def _pool_options(section: Section, shape: Shape) -> tuple[int, tuple[int, int], int, Shape]:
    strides = _strides(section)
    size = section.integer("size", section.integer("stride", 1, high=MAX_KERNEL), high=MAX_KERNEL)
    padding = section.integer("padding", size - 1, low=0, high=size - 1)
    channels, height, width = shape
    return size, strides, padding, (channels, *_output((height, width), strides, padding - size))


def _maxpool(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    size, strides, padding, out = _pool_options(section, shape)
    return _Layer(lambda: MaxPool(size, strides, padding), out)


def _local_avgpool(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    size, strides, padding, out = _pool_options(section, shape)
    if padding % 2:
        raise section.error(f"needs an even 'padding', size - 1 unless it is given; found {padding}", "padding")
    return _Layer(lambda: nn.AvgPool2d(size, strides, padding // 2, count_include_pad=False), out)


def _avgpool(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    return _Layer(lambda: nn.AdaptiveAvgPool2d(1), (shape[0], 1, 1))


def _route(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    maps = _references(section, "layers", rows)
    groups = section.integer("groups", 1)
    group = section.integer("group_id", 0, low=0, high=groups - 1)
    for row in maps:
        if row.shape[1:] != maps[0].shape[1:]:
            raise section.error(f"joins maps of different size: {_shapes(maps)}", "layers")
        if row.shape[0] % groups:
            raise section.error(f"cannot cut {row.shape[0]} channels into {groups} equal groups", "groups")
    channels = sum(row.shape[0] for row in maps) // groups
    sources = tuple(row.index for row in maps)
    return _Layer(lambda: Route(groups, group), (channels, *maps[0].shape[1:]), sources)


def _shortcut(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    maps = _references(section, "from", rows)
    for row in maps:
        if row.shape[1:] != shape[1:]:
            raise section.error(f"adds maps of different size: {shape[1]} x {shape[2]} and {_shapes(maps)}", "from")
    for key in ("alpha", "beta"):
        if section.number(key, 1.0) != 1:
            raise section.error(f"has '{key}' other than 1, which onelook does not have", key)
    kind = section.text("weights_type", "none")
    if kind not in ("none", "per_feature", "per_layer", "per_channel"):
        raise section.error(
            f"needs 'weights_type', one of none, per_layer, per_channel; found {kind[:40]!r}", "weights_type"
        )
    old = "weights_normalizion"  # as AlexeyAB's Darknet spelled it at first
    key = old if old in section.options else "weights_normalization"
    normalization = section.text(key, "none").removeprefix("avg_")
    if normalization not in ("none", "relu", "softmax"):
        raise section.error(f"needs '{key}', one of none, relu, softmax; found {normalization[:40]!r}", key)
    weights = None if kind == "none" else shape[0] if kind == "per_channel" else 1
    name = _activation(section, "linear")
    sources = (len(rows) - 1, *(row.index for row in maps))
    return _Layer(
        lambda: Shortcut(len(sources), weights, normalization, name),
        shape,
        sources,
        parameters=len(sources) * (weights or 0),
    )


def _multiply(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    (other,) = _references(section, "from", rows)[:1]
    for mine, its in zip(shape, other.shape, strict=True):
        if mine not in (1, its):
            raise section.error(f"multiplies maps that do not fit: {_shapes([rows[-1], other])}", "from")
    name = _activation(section, "linear")
    return _Layer(lambda: Multiply(name), other.shape, (len(rows) - 1, other.index))


def _shapes(rows: list[Row]) -> str:
    return ", ".join(f"{' x '.join(map(str, row.shape))} of layer {row.index}" for row in rows)


def _reorg(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    channels, height, width = shape
    stride = section.integer("stride", 1, high=MAX_KERNEL)
    reverse, plain = section.flag("reverse"), section.name == "reorg3d"
    area = stride * stride
    if reverse:
        if plain or channels % area:
            raise section.error(f"cannot be reversed: {channels} channels, stride {stride}", "reverse")
        out = (channels // area, height * stride, width * stride)
    else:
        if height % stride or width % stride or (channels % area and not plain):
            raise section.error(f"has a stride {stride} that does not divide {channels} x {height} x {width}", "stride")
        out = (channels * area, height // stride, width // stride)
    return _Layer(lambda: Reorg(stride, reverse, plain), out)


def _upsample(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    stride, scale = section.integer("stride", 2, high=MAX_KERNEL), section.number("scale", 1.0)
    return _Layer(lambda: Upsample(stride, scale), (shape[0], shape[1] * stride, shape[2] * stride))


def _crop(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    size = section.integer("crop_height", high=shape[1]), section.integer("crop_width", high=shape[2])
    adjust = not section.flag("noadjust")
    return _Layer(lambda: Crop(size, adjust), (shape[0], *size))


def _dropout(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    probability = section.number("probability", 0.2)
    if not 0 <= probability < 1:
        raise section.error(f"needs 'probability' from 0 to below 1; found {probability}", "probability")
    return _Layer(lambda: nn.Dropout(probability), shape)


def _batchnorm(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    return _Layer(lambda: nn.BatchNorm2d(shape[0], eps=1e-5), shape, parameters=2 * shape[0])


def _activation_layer(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    name = _activation(section, "linear")
    return _Layer(lambda: activation(name), shape)


def _softmax(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    outputs = math.prod(shape)
    groups, temperature = section.integer("groups", 1), section.number("temperature", 1.0)
    if "tree" in section.options:
        raise section.error("has a 'tree', which onelook reads in [region] alone", "tree")
    if outputs % groups:
        raise section.error(f"cannot cut {outputs} numbers into {groups} equal groups", "groups")
    if temperature <= 0:
        raise section.error(f"needs a 'temperature' above 0; found {temperature}", "temperature")
    return _Layer(lambda: Softmax(groups, temperature), (outputs, 1, 1))


def _cost(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    return _Layer(nn.Identity, shape)


def _anchors(section: Section) -> Anchors:
    values = section.numbers("anchors")
    if len(values) % 2 or min(values) <= 0:
        raise section.error("needs 'anchors', pairs of width and height above 0", "anchors")
    return tuple(zip(values[::2], values[1::2], strict=True))


def _fit(section: Section, shape: Shape, expected: Shape, because: str) -> None:
    if shape != expected:
        raise section.error(
            f"expects {' x '.join(map(str, expected))} numbers ({because}); the layer above gives "
            f"{' x '.join(map(str, shape))}"
        )


def _yolo(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    classes, anchors = section.integer("classes", 20), _anchors(section)
    mask = section.integers("mask") if "mask" in section.options else tuple(range(section.integer("num", len(anchors))))
    if not all(0 <= i < len(anchors) for i in mask):
        raise section.error(f"has {len(anchors)} anchors; its 'mask' names others: {mask[:20]}", "mask")
    _fit(section, shape, (len(mask) * (5 + classes), *shape[1:]), f"{len(mask)} anchors of 5 + {classes} classes")
    new_coords = section.flag("new_coords")
    if new_coords and rows and (found := rows[-1].section.text("activation", "logistic")) != "logistic":
        raise section.error(
            f"has new_coords, which needs activation=logistic above; found {found[:40]!r}", "new_coords"
        )
    decode = partial(
        decode_yolo_v3,
        anchors=tuple(anchors[i] for i in mask),
        scale_x_y=section.number("scale_x_y", 1.0),
        new_coords=new_coords,
    )
    return _Layer(lambda: Head(decode, "yolo", classes), shape)


def _region(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    classes, anchors = section.integer("classes", 20), _anchors(section)
    count = section.integer("num", len(anchors))
    if count > len(anchors):
        raise section.error(f"needs {count} anchors ('num'); found {len(anchors)}", "anchors")
    if section.integer("coords", 4) != 4:
        raise section.error("needs 'coords' of 4: x, y, width, height", "coords")
    _fit(section, shape, (count * (5 + classes), *shape[1:]), f"{count} anchors of 5 + {classes} classes")
    tree = read_tree(section, classes) if "tree" in section.options else None
    decode = partial(decode_yolo_v2, anchors=anchors[:count], softmax=section.flag("softmax"), tree=tree)
    return _Layer(lambda: Head(decode, "region", classes), shape)


def _detection(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
    classes, side = section.integer("classes", 1), section.integer("side", 7, high=1024)
    count = section.integer("num", 1)
    if section.integer("coords", 1) != 4:
        raise section.error("needs 'coords' of 4: x, y, width, height", "coords")
    outputs = side * side * (classes + 5 * count)
    _fit(section, shape, (outputs, 1, 1), f"{side} x {side} cells of {classes} classes and {count} boxes of 5")
    square, softmax = section.flag("sqrt"), section.flag("softmax")

    def decode(raw: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        return decode_yolo_v1(raw.flatten(1), size, side, classes, square, softmax)

    return _Layer(lambda: Head(decode, "detection", classes), shape)


def _checked(build: Callable[[Section, Shape, list[Row]], _Layer]) -> Callable[[Section, Shape, list[Row]], _Layer]:
    def checked(section: Section, shape: Shape, rows: list[Row]) -> _Layer:
        _refuse(section)
        return build(section, shape, rows)

    return checked


_BUILDERS = {
    name: _checked(build)
    for names, build in (
        (("convolutional", "conv"), _convolutional),
        (("connected", "conn"), _connected),
        (("local",), _local),
        (("maxpool", "max"), _maxpool),
        (("local_avgpool", "local_avg"), _local_avgpool),
        (("avgpool", "avg"), _avgpool),
        (("route",), _route),
        (("shortcut",), _shortcut),
        (("scale_channels", "sam"), _multiply),
        (("reorg", "reorg3d"), _reorg),
        (("upsample",), _upsample),
        (("crop",), _crop),
        (("dropout",), _dropout),
        (("batchnorm",), _batchnorm),
        (("activation",), _activation_layer),
        (("softmax", "soft"), _softmax),
        (("cost",), _cost),
        (("yolo",), _yolo),
        (("region",), _region),
        (("detection",), _detection),
    )
    for name in names
}
__all__ = ["Darknet", "DarknetError", "Row"]
