"""The moving average of weights."""

import pytest
import torch
from torch import nn

from onelook.training.average import Average


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def change(net: nn.Module, random: torch.Generator) -> None:
    """Other weights and statistics, as a step of training leaves them."""
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_(generator=random)
        else:
            tensor += 1


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.9999])
def test_it_agrees_with_the_naive_loop(decay: float) -> None:
    net, random = network(), torch.Generator().manual_seed(1)
    naive = {key: tensor.double() for key, tensor in net.state_dict().items()}
    average = Average(net, decay)
    for n in range(1, 30):
        change(net, random)
        average.update(net)
        d = min(decay, (1 + n) / (10 + n))
        for key, tensor in net.state_dict().items():
            naive[key] = d * naive[key] + (1 - d) * tensor if tensor.is_floating_point() else tensor.double()
        for key, tensor in average.network.state_dict().items():
            torch.testing.assert_close(tensor.double(), naive[key], rtol=0, atol=1e-5)
    assert average.changes == 29
    assert average.network.state_dict()["1.num_batches_tracked"] == 29


def test_without_decay_it_is_the_network_bit_for_bit() -> None:
    net, random = network(), torch.Generator().manual_seed(1)
    average = Average(net, 0)
    for _ in range(3):
        change(net, random)
        average.update(net)
        for key, tensor in average.network.state_dict().items():
            assert torch.equal(tensor, net.state_dict()[key])


def test_it_is_a_network_of_its_own_that_evaluates() -> None:
    net = network().train()
    average = Average(net, 0.9)
    assert net.training
    assert not any(module.training for module in average.network.modules())
    assert not any(weight.requires_grad for weight in average.network.parameters())
    assert all(weight.requires_grad for weight in net.parameters())
    before = average.network.state_dict()["0.weight"].clone()
    with torch.no_grad():
        net[0].weight.add_(1)
    assert torch.equal(average.network.state_dict()["0.weight"], before)
