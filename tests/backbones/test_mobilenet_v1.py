"""MobileNet against its paper's tables, typed in from there."""

import pytest
import torch
from torch import nn

from onelook.backbones import MobileNetV1
from onelook.nn import count

# Table 1: type and stride, filter shape, input size. The last Conv dw is printed with stride 2, which its own input and
# the input of the next row contradict: 7 x 7 both.
TABLE_1 = """
Conv s2      3x3x3x32       224x224x3
Conv dw s1   3x3x32         112x112x32
Conv s1      1x1x32x64      112x112x32
Conv dw s2   3x3x64         112x112x64
Conv s1      1x1x64x128     56x56x64
Conv dw s1   3x3x128        56x56x128
Conv s1      1x1x128x128    56x56x128
Conv dw s2   3x3x128        56x56x128
Conv s1      1x1x128x256    28x28x128
Conv dw s1   3x3x256        28x28x256
Conv s1      1x1x256x256    28x28x256
Conv dw s2   3x3x256        28x28x256
Conv s1      1x1x256x512    14x14x256
Conv dw s1   3x3x512        14x14x512
Conv s1      1x1x512x512    14x14x512
Conv dw s1   3x3x512        14x14x512
Conv s1      1x1x512x512    14x14x512
Conv dw s1   3x3x512        14x14x512
Conv s1      1x1x512x512    14x14x512
Conv dw s1   3x3x512        14x14x512
Conv s1      1x1x512x512    14x14x512
Conv dw s1   3x3x512        14x14x512
Conv s1      1x1x512x512    14x14x512
Conv dw s2   3x3x512        14x14x512
Conv s1      1x1x512x1024   7x7x512
Conv dw s1   3x3x1024       7x7x1024
Conv s1      1x1x1024x1024  7x7x1024
Avg Pool s1  7x7            7x7x1024
FC s1        1024x1000      1x1x1024
"""


def meta(alpha: float = 1.0, reduction: int = 0) -> MobileNetV1:
    with torch.device("meta"):
        return MobileNetV1(alpha, reduction=reduction)


def test_the_layers_are_table_1_row_by_row() -> None:
    found = []
    for layer in count.layers(meta(), (224, 224)):
        channels, *side = (*layer.input, 1, 1)[:3]
        filters = {"Conv": (channels, layer.output[0]), "Conv dw": (channels,), "Avg Pool": ()}
        shape = (*layer.kernel, *filters[layer.type]) if layer.type in filters else (channels, *layer.output)
        found.append(
            f"{layer.type} s{layer.stride} {'x'.join(map(str, shape))} {'x'.join(map(str, (*side, channels)))}"
        )
    assert found == [" ".join(line.split()) for line in TABLE_1.strip().splitlines()]


def test_every_convolution_is_followed_by_normalisation_and_relu6() -> None:
    """Figure 3, right, with the ReLU6 of the authors' code."""
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU6)
    order = [type(module) for module in meta().modules() if isinstance(module, kinds)]
    assert order == list(kinds) * 27


# Table 2: shares of multiply-adds and parameters, percent. The paper prints 1.19 for Conv 3x3; its four shares then sum
# to 99.29 rather than to 100, and 27 * 32 * 112^2 of 568.74 million are 1.91.
@pytest.mark.parametrize(
    ("kind", "multiply_adds", "parameters"),
    [
        (("Conv", (1, 1)), "94.86", "74.59"),
        (("Conv dw", (3, 3)), "3.06", "1.06"),
        (("Conv", (3, 3)), "1.91", "0.02"),
        (("FC", ()), "0.18", "24.33"),
    ],
)
def test_the_shares_of_each_type_of_layer_are_table_2(
    kind: tuple[str, tuple[int, ...]], multiply_adds: str, parameters: str
) -> None:
    layers = count.layers(meta(), (224, 224))
    chosen = [layer for layer in layers if (layer.type, layer.kernel) == kind]
    spent = sum(layer.multiply_adds for layer in chosen) / sum(layer.multiply_adds for layer in layers)
    held = sum(layer.weights for layer in chosen) / sum(layer.weights for layer in layers)
    assert (f"{100 * spent:.2f}", f"{100 * held:.2f}") == (multiply_adds, parameters)


# Tables 6 and 7: millions of multiply-adds, rounded in the one (569 of 568.74) and cut in the other (290 of 290.68), and
# of parameters.
@pytest.mark.parametrize(
    ("alpha", "side", "multiply_adds", "parameters"),
    [
        (1.0, 224, 569, 4.2),
        (0.75, 224, 325, 2.6),
        (0.5, 224, 149, 1.3),
        (0.25, 224, 41, 0.5),
        (1.0, 192, 418, 4.2),
        (1.0, 160, 290, 4.2),
        (1.0, 128, 186, 4.2),
    ],
)
def test_thinner_networks_and_smaller_pictures_cost_what_tables_6_and_7_print(
    alpha: float, side: int, multiply_adds: int, parameters: float
) -> None:
    module = meta(alpha)
    assert count.multiply_adds(module, (side, side)) / 1e6 == pytest.approx(multiply_adds, abs=1)
    assert count.numbers(module).weights / 1e6 == pytest.approx(parameters, abs=0.05)


@pytest.mark.parametrize("alpha", [1.0, 0.75, 0.5, 0.35, 0.25, 0.1, 1e-9])
def test_alpha_scales_the_channels_of_every_layer_down_to_8(alpha: float) -> None:
    pairs = zip(meta(alpha).modules(), meta().modules(), strict=True)
    widths = [
        (a.out_channels, b.out_channels) for a, b in pairs if isinstance(a, nn.Conv2d) and isinstance(b, nn.Conv2d)
    ]
    assert len(widths) == 27
    # Exact: the alphas are of two decimals. The authors' code cuts what is behind the point.
    assert [a for a, _ in widths] == [max(8, round(alpha * 100) * b // 100) for _, b in widths]


def test_se_mobilenet_has_the_4_7_million_parameters_of_its_table_3() -> None:
    plain, attentive = (meta(reduction=reduction) for reduction in (0, 16))
    found = count.numbers(attentive).parameters
    assert f"{found / 1e6:.1f}" == "4.7"
    squares = 64**2 + 2 * 128**2 + 2 * 256**2 + 6 * 512**2 + 2 * 1024**2
    assert found - count.numbers(plain).parameters == 2 * squares // 16
    # 572 million multiply-adds in that table, against 569 without.
    spent = count.multiply_adds(attentive, (224, 224)) - count.multiply_adds(plain, (224, 224))
    assert spent == 2 * squares // 16
