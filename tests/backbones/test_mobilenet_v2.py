"""MobileNetV2 against its paper's Table 2, typed in from there, and widths worked out by hand."""

from itertools import groupby

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from onelook.backbones import MobileNetV2
from onelook.backbones.mobilenet_v2 import width
from onelook.nn import count
from onelook.nn.separable import InvertedResidual

# Input, operator, t, c, n, s.
TABLE_2 = """
224x3    conv2d      -  32    1  2
112x32   bottleneck  1  16    1  1
112x16   bottleneck  6  24    2  2
56x24    bottleneck  6  32    3  2
28x32    bottleneck  6  64    4  2
14x64    bottleneck  6  96    3  1
14x96    bottleneck  6  160   3  2
7x160    bottleneck  6  320   1  1
7x320    conv2d 1x1  -  1280  1  1
7x1280   avgpool 7x7 -  -     1  1
1x1280   conv2d 1x1  -  1000  -  1
"""


def meta(alpha: float = 1.0) -> MobileNetV2:
    with torch.device("meta"):
        return MobileNetV2(alpha)


def test_the_body_is_table_2_row_by_row() -> None:
    model = meta()
    layers = count.layers(model, (224, 224))
    rows = []  # input, operator, t, c, s of each module
    for i, module in enumerate(model.body):
        inside = [layer for layer in layers if f"{layer.name}.".startswith(f"body.{i}.")]
        channels, side, _ = inside[0].input
        stride = side // inside[-1].output[1]
        operator, t = "conv2d 1x1" if inside[0].kernel == (1, 1) else "conv2d", "-"
        if isinstance(module, InvertedResidual):
            operator, t = "bottleneck", str(inside[-1].input[0] // channels)
        rows.append((f"{side}x{channels}", operator, t, inside[-1].output[0], stride))
    table: list[tuple[object, ...]] = []
    for _, sequence in groupby(rows, key=lambda row: row[1:4]):
        first, *others = sequence
        assert all(stride == 1 for *_, stride in others)
        table.append((*first[:4], 1 + len(others), first[4]))
    pool, connected = layers[-2:]
    side = pool.kernel[0]
    table.append((f"{pool.input[1]}x{pool.input[0]}", f"avgpool {side}x{side}", "-", "-", 1, pool.stride))
    table.append((f"1x{connected.input[0]}", "conv2d 1x1", "-", connected.output[0], "-", connected.stride))
    assert [" ".join(map(str, row)) for row in table] == [
        " ".join(line.split()) for line in TABLE_2.strip().splitlines()
    ]


def test_relu6_is_behind_every_convolution_but_those_that_end_a_bottleneck() -> None:
    model = meta()
    linear = [
        name for name, module in model.named_modules() if isinstance(module, nn.Identity) and "activation" in name
    ]
    assert linear == [f"body.{i}.project.1.activation" for i in range(1, 18)]
    assert sum(isinstance(module, nn.ReLU6) for module in model.modules()) == 1 + 1 + 16 * 2 + 1


# By hand, to the nearest multiple of 8; at 0.35, 8 would be less than 90 % of 11.2, and at 0.75, 16 of 18.
WIDTHS = {
    0.35: (16, 8, 8, 16, 24, 32, 56, 112, 1280),
    0.5: (16, 8, 16, 16, 32, 48, 80, 160, 1280),
    0.75: (24, 16, 24, 24, 48, 72, 120, 240, 1280),
    1.0: (32, 16, 24, 32, 64, 96, 160, 320, 1280),
    1.3: (40, 24, 32, 40, 80, 128, 208, 416, 1664),
    1.4: (48, 24, 32, 48, 88, 136, 224, 448, 1792),
}


@pytest.mark.parametrize("alpha", WIDTHS)
def test_the_widths_are_those_worked_out_by_hand(alpha: float) -> None:
    model = meta(alpha)
    found = [
        layer.output[0]
        for layer in count.layers(model, (64, 64))
        if layer.name.endswith(("body.0", "project.1", "body.18"))
    ]
    assert [channels for channels, _ in groupby(found)] == [c for c, _ in groupby(WIDTHS[alpha])]
    assert model.channels == (WIDTHS[alpha][3], WIDTHS[alpha][5], WIDTHS[alpha][8])


@given(channels=st.integers(1, 2048), percent=st.integers(1, 200))
def test_a_width_is_the_multiple_of_8_closest_to_it_that_is_not_below_90_percent(channels: int, percent: int) -> None:
    found = width(channels, percent / 100)
    allowed = [w for w in range(8, 4200, 8) if 1000 * w >= 9 * percent * channels]  # whole numbers: exact
    closest = min(abs(100 * w - percent * channels) for w in allowed)
    assert found in allowed
    assert abs(100 * found - percent * channels) == closest


# What the authors publish with their weights (github.com/tensorflow/models, slim/nets/mobilenet/README.md): millions of
# parameters, and of multiply-adds by the side of the picture, cut rather than rounded.
AUTHORS = {
    1.4: ("6.06", {224: 582}),
    1.3: ("5.34", {224: 509}),
    1.0: ("3.47", {224: 300, 160: 154, 96: 56}),
    0.75: ("2.61", {224: 209, 160: 107, 96: 39}),
    0.5: ("1.95", {224: 97, 160: 50, 96: 18}),
    0.35: ("1.66", {224: 59, 160: 30, 96: 11}),
}


@pytest.mark.parametrize("alpha", AUTHORS)
def test_the_cost_at_every_width_and_size_is_what_the_authors_publish(alpha: float) -> None:
    parameters, multiply_adds = AUTHORS[alpha]
    model = meta(alpha)
    assert f"{count.numbers(model).weights / 1e6:.2f}" == parameters
    assert {side: count.multiply_adds(model, (side, side)) // 10**6 for side in multiply_adds} == multiply_adds
