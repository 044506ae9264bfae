"""VGG-16 against column D of its paper's Table 1 and Darknet's own description of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from onelook.backbones import VGG16
from onelook.darknet import Darknet
from onelook.errors import NetworkError
from onelook.nn import count

COLUMN_D = """
conv3-64 conv3-64 maxpool
conv3-128 conv3-128 maxpool
conv3-256 conv3-256 conv3-256 maxpool
conv3-512 conv3-512 conv3-512 maxpool
conv3-512 conv3-512 conv3-512 maxpool
FC-4096 FC-4096 FC-1000
"""


def test_the_layers_are_column_d_of_table_1() -> None:
    with torch.device("meta"):
        model = VGG16()
    found, side = [], 224
    for layer in count.layers(model, (224, 224)):
        if layer.type == "Conv":
            assert (layer.kernel, layer.stride, layer.output[1]) == ((3, 3), 1, side)
            found.append(f"conv3-{layer.output[0]}")
        elif layer.type == "Max Pool":
            side //= 2
            assert (layer.kernel, layer.stride, layer.output[1]) == ((2, 2), 2, side)
            found.append("maxpool")
        else:
            found.append(f"{layer.type}-{layer.output[0]}")
    assert found == COLUMN_D.split()
    assert count.numbers(model).parameters // 10**6 == 138  # Table 2
    # All hidden layers have a ReLU; the first two connected layers dropout of a half (section 3.1).
    assert sum(isinstance(module, nn.ReLU) for module in model.modules()) == 13 + 2
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]


def test_it_is_what_darknets_cfg_describes(shared: Callable[[str], Path]) -> None:
    with torch.device("meta"):
        ours, theirs = VGG16(), Darknet(shared("cfg/vgg-16.cfg"), device="meta")
    rows = [
        (row.section.integer("filters" if row.section.name == "convolutional" else "output"), row.multiply_adds)
        for row in theirs.rows
        if row.section.name in ("convolutional", "connected")
    ]
    layers = [layer for layer in count.layers(ours, (224, 224)) if layer.weights]  # the cfg crops 224 of 256
    assert [(layer.output[0], layer.multiply_adds) for layer in layers] == rows
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert sum(p.numel() for p in ours.parameters()) == sum(row.parameters for row in theirs.rows) == 138_357_544


@pytest.mark.parametrize("size", [(256, 256), (224, 192), (100, 100)])
def test_a_size_that_the_classifier_was_not_made_for_is_refused(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        model, body = VGG16(), VGG16(classes=0)
    model.check_size((224, 224))
    with pytest.raises(NetworkError, match=rf"found {size[0]} x {size[1]}$"):
        model.check_size(size)
    if size != (100, 100):
        body.check_size(size)


@pytest.mark.parametrize("picture", [100, 0, -32, 10**9])
def test_a_picture_of_broken_strides_is_refused(picture: int) -> None:
    with torch.device("meta"), pytest.raises(NetworkError, match=f"multiple of 32.*found {picture} x {picture}"):
        VGG16(picture=picture)


def test_another_side_of_picture_makes_the_first_connected_layer_fit() -> None:
    with torch.device("meta"):
        model = VGG16(classes=7, picture=96)
        assert model(torch.empty(2, 3, 96, 96)).shape == (2, 7)
        assert count.numbers(VGG16(0)).parameters == 14_714_688  # Keras's, without its top
