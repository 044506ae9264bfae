"""Counting against sums over all parameters, torch's own counter of operations, and small networks worked out by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from onelook.backbones import ARCHITECTURES, create
from onelook.nn import count
from onelook.nn.conv import ConvBlock, fold_batch_norm
from onelook.nn.count import Layer, Numbers
from onelook.nn.pool import GlobalAvgPool

SMALL = nn.Sequential(
    ConvBlock((3, 8), (3, 5), 2, padding=1),
    nn.MaxPool2d((2, 3), (2, 1)),
    nn.Conv2d(8, 8, 3, groups=8, padding="same", bias=False),
    nn.Conv2d(8, 6, 1, groups=2),
    nn.AvgPool2d(2),
    GlobalAvgPool(),
    nn.Linear(6, 5),
    nn.Linear(5, 4, bias=False),
)


def test_the_layers_of_a_small_network_are_those_worked_out_by_hand() -> None:
    assert count.layers(SMALL, (16, 20)) == [
        # 3 * 8 * 3 * 5 weights, at 8 * 9 places
        Layer("0", "Conv", 2, (3, 5), (3, 16, 20), (8, 8, 9), weights=360, scale_shift=16, multiply_adds=25920),
        Layer("1", "Max Pool", 2, (2, 3), (8, 8, 9), (8, 4, 7)),
        Layer("2", "Conv dw", 1, (3, 3), (8, 4, 7), (8, 4, 7), weights=72, multiply_adds=2016),
        Layer("3", "Conv", 1, (1, 1), (8, 4, 7), (6, 4, 7), weights=24, biases=6, multiply_adds=672),
        Layer("4", "Avg Pool", 2, (2, 2), (6, 4, 7), (6, 2, 3)),
        Layer("5", "Avg Pool", 1, (2, 3), (6, 2, 3), (6,)),
        Layer("6", "FC", 1, (), (6,), (5,), weights=30, biases=5, multiply_adds=30),
        Layer("7", "FC", 1, (), (5,), (4,), weights=20, multiply_adds=20),
    ]
    assert count.multiply_adds(SMALL, (16, 20)) == 25920 + 2016 + 672 + 30 + 20
    found = count.numbers(SMALL)
    assert found == Numbers(360 + 72 + 24 + 30 + 20, 6 + 5, 2 * 8, 2 * 8)
    assert (found.parameters, found.folded) == (506 + 11 + 16, 506 + 11 + 8)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(2, 2, 3)
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x))


def test_a_layer_counts_once_for_each_time_a_picture_goes_through_it_but_its_numbers_once() -> None:
    assert [layer.name for layer in count.layers(Twice(), (4, 4), channels=2)] == ["conv", "conv"]
    assert count.multiply_adds(Twice(), (4, 4), channels=2) == 2 * 4 * 16
    assert count.numbers(Twice()).parameters == 36 + 2 + 4 + 2


@pytest.mark.parametrize("training", [False, True])
def test_counting_changes_nothing_in_the_network_even_where_it_fails(training: bool) -> None:
    module = ConvBlock((3, 4), 3).train(training)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    count.layers(module, (8, 8))
    with pytest.raises(RuntimeError):
        count.layers(module, (8, 8), channels=5)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert module.training == training
    with torch.no_grad():
        assert module(torch.ones(2, 3, 8, 8)).device.type == "cpu"
    assert not any(layer._forward_hooks for layer in module.modules())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_numbers_and_multiply_adds_of_every_architecture_agree_with_torchs_own_count(name: str) -> None:
    with torch.device("meta"):
        module = create(name, reduction=16).eval()
        side = module.size // 32 * 32
        counter = FlopCounterMode(display=False)
        with counter:
            module(torch.empty(1, 3, side, side))
    layers, found = count.layers(module, (side, side)), count.numbers(module)
    assert 2 * sum(layer.multiply_adds for layer in layers) == counter.get_total_flops()
    assert sum(layer.parameters for layer in layers) == found.parameters
    assert found.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert found.statistics == sum(x.numel() for name, x in module.named_buffers() if name.rpartition(".running_")[1])
    assert found.folded == sum(parameter.numel() for parameter in fold_batch_norm(module).parameters())
