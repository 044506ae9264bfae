"""What all architectures promise: shapes, weights as drawn, training, one-line errors."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from onelook.backbones import ARCHITECTURES, STRIDES, Backbone, ResNet, create
from onelook.errors import NetworkError
from onelook.nn.attention import SqueezeExcitation

CLASSES = 5

# Channels at the strides 8, 16 and 32, by the papers' tables; the shape of the output without a classifier, at 64 x 96.
MAPS: dict[str, tuple[tuple[int, int, int], tuple[int, ...]]] = {
    "mobilenet_v1": ((256, 512, 1024), (1024,)),
    "mobilenet_v2": ((32, 96, 1280), (1280,)),
    "vgg16": ((512, 512, 512), (512, 2, 3)),
    "xception": ((256, 728, 2048), (2048,)),
    "resnet50": ((512, 1024, 2048), (2048,)),
    "resnet101": ((512, 1024, 2048), (2048,)),
    "se_resnet50": ((512, 1024, 2048), (2048,)),
    "extraction": ((512, 1024, 1024), (1024,)),
    "darknet19": ((256, 512, 1024), (1024,)),
    "darknet53": ((256, 512, 1024), (1024,)),
}

# Variance of a weight, of the fan-in and fan-out of its layer: what the docstrings say. Darknet draws as He et al. do.
TRUNCATED = 0.09**2 * (1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
VARIANCES: dict[str, Callable[[int, int], float]] = {
    **dict.fromkeys(("mobilenet_v1", "mobilenet_v2"), lambda *_: TRUNCATED),
    **dict.fromkeys(("vgg16", "xception"), lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    **dict.fromkeys(
        ("resnet50", "resnet101", "se_resnet50", "extraction", "darknet19", "darknet53"),
        lambda fan_in, fan_out: 2 / fan_in,
    ),
}


def meta(name: str, **options: Any) -> Backbone:
    with torch.device("meta"):
        return create(name, **options)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every tiny operation take minutes on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def network(request: pytest.FixtureRequest) -> tuple[str, Backbone]:
    """A name and a small one of its kind with real weights, made once for all tests of it."""
    torch.manual_seed(0)
    options = {"picture": 64} if request.param == "vgg16" else {}
    return request.param, create(request.param, classes=CLASSES, **options)


def test_there_is_a_test_for_every_architecture() -> None:
    assert set(ARCHITECTURES) == set(MAPS) == set(VARIANCES)


@torch.no_grad()
@pytest.mark.parametrize(("classes", "reduction"), [(CLASSES, 0), (0, 16)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_features_and_outputs_have_the_promised_shapes(name: str, classes: int, reduction: int) -> None:
    channels, headless = MAPS[name]
    model = meta(name, classes=classes, reduction=reduction).eval()
    height, width = (224, 224) if name == "vgg16" and classes else (64, 96)
    model.check_size((height, width))
    assert any(isinstance(layer, SqueezeExcitation) for layer in model.modules()) == bool(reduction)
    maps = model.features(torch.empty(2, 3, height, width, device="meta"))
    assert STRIDES == (8, 16, 32)
    assert model.channels == channels
    expected = [(2, c, height // stride, width // stride) for c, stride in zip(channels, (8, 16, 32), strict=True)]
    assert [tuple(x.shape) for x in maps] == expected
    assert tuple(model.head(maps[-1]).shape) == ((2, CLASSES) if classes else (2, *headless))


def test_a_state_dict_is_the_same_each_time_and_its_body_does_not_depend_on_the_classes(
    network: tuple[str, Backbone],
) -> None:
    name, model = network
    options = {"picture": 64} if name == "vgg16" else {}
    first, second, headless = (
        {key: (x.shape, x.dtype) for key, x in one.state_dict().items()}
        for one in (model, meta(name, classes=CLASSES, **options), meta(name, classes=0))
    )
    assert list(first.items()) == list(second.items())
    assert headless == {key: x for key, x in first.items() if not key.startswith("head.")}


def test_the_weights_are_drawn_as_the_docstring_says(network: tuple[str, Backbone]) -> None:
    name, model = network
    layers = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            places = math.prod(weight.shape[2:])
            # Depthwise ones with the fan-out of all channels, as Keras has it for a kernel [k_y, k_x, C, 1].
            variance = VARIANCES[name](weight.shape[1] * places, weight.shape[0] * places)
            n = weight.numel()
            assert float(weight.square().mean()) == pytest.approx(variance, rel=6 * math.sqrt(2 / n))
            assert float(weight.mean()) == pytest.approx(0, abs=6 * math.sqrt(variance / n))
            assert module.bias is None or not module.bias.any()
            layers += 1
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert not module.bias.any()
            assert module.running_mean is not None
            assert not module.running_mean.any()
    assert layers == sum(parameter.ndim > 1 for parameter in model.parameters())


def test_the_head_reads_the_last_of_the_features(network: tuple[str, Backbone]) -> None:
    model = network[1].eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = model.features(image)
        torch.testing.assert_close(model.head(maps[-1]), model(image))
        # A tap at a stride is the last map of that size: the rest of the body from there on begins by halving it.
        for i, x in enumerate(maps[:-1]):
            assert x.shape[2] == 2 * maps[i + 1].shape[2]
    assert all(x.isfinite().all() and x.std() > 0 for x in maps)


def test_a_training_step_changes_every_weight(network: tuple[str, Backbone]) -> None:
    torch.manual_seed(1)
    model = copy.deepcopy(network[1]).train()
    loss = F.cross_entropy(model(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1]))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, x in gradients.items() if x is None or not x.any() or not x.isfinite().all()] == []
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    old = dict(network[1].named_parameters())
    assert [name for name, parameter in model.named_parameters() if torch.equal(parameter, old[name])] == []


REFUSED: list[tuple[str, Callable[[], object], str]] = [
    *(
        (
            f"{name} alpha {alpha}",
            lambda name=name, alpha=alpha: meta(name, alpha=alpha),
            r"alpha.* above 0 and at most",
        )
        for name in ("mobilenet_v1", "mobilenet_v2")
        for alpha in (0, -1, 2.5, -0.5, math.nan, math.inf, -math.inf)
    ),
    ("mobilenet_v1 alpha 2", lambda: meta("mobilenet_v1", alpha=2), "at most 1; found 2$"),
    *(
        (f"{name} classes {classes}", lambda name=name, classes=classes: meta(name, classes=classes), "classes must be")
        for name in ARCHITECTURES
        for classes in (-1, 10**9)
    ),
    ("depth", lambda: ResNet(34), "depth .* one of 50, 101; found 34$"),
    ("name", lambda: create("mobilenet_v3"), "named 'mobilenet_v3'; closest: mobilenet_v2, mobilenet_v1$"),
    (
        "far name",
        lambda: create("alexnet\n" * 100),
        r"no architecture named 'alexnet\\n.*; known: mobilenet_v1, .*darknet53",
    ),
    ("option", lambda: create("vgg16", alpha=0.5), "vgg16 takes no 'alpha'; it takes classes, picture, reduction$"),
    ("fixed option", lambda: create("resnet50", depth=101), "resnet50 takes no 'depth'; it takes classes, reduction$"),
    *(
        (
            f"size {size}",
            lambda size=size: meta("darknet19").check_size(size),
            r"multiple of 32, from 32 to 8192; found",
        )
        for size in ((100,), (100, 96), (96, 100), (0, 32), (-32, 32), (8224, 32))
    ),
]


@pytest.mark.parametrize(("make", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_arguments_are_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(NetworkError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("alpha", [0.01, 0.35, 0.7])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_any_width_gives_the_channels_it_promises(name: str, alpha: float) -> None:
    model = meta(name, alpha=alpha, classes=3)
    image: Tensor = torch.empty(1, 3, 32, 64, device="meta")
    assert tuple(x.shape[1] for x in model.features(image)) == model.channels
    assert model(image).shape == (1, 3)
