"""How fast weights change, and which of them decay."""

import math

import pytest
from torch import nn
from torch.optim import SGD, AdamW

from onelook import detectors
from onelook.training.optimizer import learning_rate, make_optimizer
from rectangles import settings


def test_the_learning_rate_rises_in_a_straight_line_and_falls_along_half_a_cosine() -> None:
    how, steps = settings(epochs=20, warmup=2, learning_rate=0.5, final=0.1), 7
    curve = [learning_rate(step, steps, how) for step in range(steps * 20)]
    rise = curve[:14]
    assert rise[0] > 0
    for i, rate in enumerate(rise):
        assert rate == pytest.approx(0.5 * (i + 1) / 15)  # one more step of the same line reaches the highest
    for i, rate in enumerate(curve[14:]):
        assert rate == pytest.approx(0.05 + 0.45 * (1 + math.cos(math.pi * i / 126)) / 2)
    assert max(curve) == curve[14] == 0.5
    assert curve[15:] == sorted(curve[15:], reverse=True)
    assert curve[-1] == pytest.approx(0.05, rel=0.01)
    assert learning_rate(steps * 20, steps, how) == pytest.approx(0.05)


def test_of_a_short_run_a_tenth_is_warm_up() -> None:
    curve = [learning_rate(step, 10, settings(epochs=4, warmup=2, learning_rate=0.5)) for step in range(40)]
    assert curve.index(max(curve)) == 4


@pytest.mark.parametrize(("warmup", "epochs"), [(0, 3), (5, 3), (3, 3), (0.5, 1)])
def test_any_warm_up_gives_rates_between_nothing_and_the_highest(warmup: float, epochs: int) -> None:
    how = settings(epochs=epochs, warmup=warmup, learning_rate=0.5, final=0.0)
    curve = [learning_rate(step, 4, how) for step in range(4 * epochs)]
    assert all(0 < rate <= 0.5 for rate in curve)
    assert warmup or curve[0] == 0.5


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weights_of_layers_decay_and_vectors_do_not(name: str) -> None:
    network = detectors.create("yolo_v3", classes=2, backbone="mobilenet_v1", alpha=0.25, width=16)
    frozen = next(iter(network.backbone.parameters()))
    frozen.requires_grad_(False)
    how = settings(optimizer=name, weight_decay=0.3, momentum=0.7, learning_rate=0.5)
    optimizer = make_optimizer(network, how)
    decay = {id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert layers
    assert norms
    assert all(decay[id(layer.weight)] == 0.3 for layer in layers if layer.weight is not frozen)
    assert all(decay[id(layer.bias)] == 0 for layer in layers if layer.bias is not None)
    assert all(decay[id(norm.weight)] == decay[id(norm.bias)] == 0 for norm in norms)
    assert decay.keys() == {id(weight) for weight in network.parameters()} - {id(frozen)}
    assert all(group["lr"] == 0.5 for group in optimizer.param_groups)
    if isinstance(optimizer, SGD):
        assert all((group["momentum"], group["nesterov"]) == (0.7, True) for group in optimizer.param_groups)
    else:
        assert isinstance(optimizer, AdamW)
        assert all(group["betas"] == (0.7, 0.999) for group in optimizer.param_groups)


def test_sgd_does_without_momentum() -> None:
    optimizer = make_optimizer(nn.Linear(2, 2), settings(optimizer="sgd", momentum=0))
    assert all(not group["nesterov"] for group in optimizer.param_groups)


def test_a_trained_backbone_gets_a_share_of_the_learning_rate() -> None:
    network = detectors.create("yolo_v3", classes=2, backbone="mobilenet_v1", alpha=0.25, width=16)
    optimizer = make_optimizer(network, settings(backbone_rate=0.1))
    share = {id(weight): group["share"] for group in optimizer.param_groups for weight in group["params"]}
    body = {id(weight) for weight in network.backbone.body.parameters()}
    assert body
    assert all(share[weight] == (0.1 if weight in body else 1) for weight in share)
    assert share.keys() == {id(weight) for weight in network.parameters()}
