"""A classifier that came from Darknet: as it is, or as one of onelook's backbones with its weights."""

from typing import Any

import torch
from torch import Tensor, nn

from onelook.backbones import Backbone, create
from onelook.checkpoint import Checkpoint, Colour
from onelook.darknet.layers import Crop
from onelook.darknet.network import Darknet
from onelook.errors import DarknetError, NetworkError
from onelook.nn.conv import ConvBlock
from onelook.nn.init import he_normal

BACKBONES = ("darknet19", "darknet53", "vgg16")


class Probabilities(nn.Module):
    """A Darknet classifier that gives one row a picture: [B, 3, H, W] in 0..1 -> probabilities [B, C]."""

    def __init__(self, network: Darknet):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return self.network(image)[-1].flatten(1)


def checkpoint(network: Darknet) -> Checkpoint:
    """One of onelook's backbones with the weights of a Darknet classifier.

    Args:
        network: of a cfg that describes Darknet-19, Darknet-53 or VGG-16, with its weights.

    Raises:
        DarknetError: it describes another network.
    """
    name, options = _candidate(network)
    if name:
        backbone = create(name, **options)
        side = network.size if network.fixed_size else (64, 64)  # a small picture tells as much
        with torch.random.fork_rng(devices=[]):
            same = _computes_the_same(Darknet(network.cfg, size=side), backbone)
        if same:
            _copy(network, backbone)
            size, mean, std = _input(network)
            crop = size[0] / network.size[0]
            return Checkpoint(backbone.eval(), name, options, None, size, mean, std, crop)
    raise DarknetError(
        f"{network.cfg.path}: describes none of the backbones that onelook knows by name: {', '.join(BACKBONES)}"
    )


def _candidate(network: Darknet) -> tuple[str, dict[str, Any]]:
    """The backbone with weights of the same shapes, and its options; no name where there is none."""
    size, *_ = _input(network)
    for name in BACKBONES:
        options: dict[str, Any] = {"classes": network.classes}
        if name == "vgg16":
            options["picture"] = size[0]
        try:
            with torch.device("meta"):
                backbone = create(name, **options)
            backbone.check_size(size)
        except NetworkError:
            continue
        same_count = network.parameters_count == sum(x.numel() for x in backbone.parameters())
        if same_count and [_shape(x) for x in _weighted(network)] == [_shape(x) for x in _weighted(backbone)]:
            return name, options
    return "", {}


@torch.no_grad()
def _computes_the_same(network: Darknet, backbone: Backbone) -> bool:
    """Whether both give the same probabilities with the same weights, which are drawn here.

    Batch normalisation takes the statistics of the pictures, so that no map grows or dies away and every layer tells.
    """
    torch.manual_seed(0)
    he_normal(network)
    _copy(network, backbone)
    for module in (network, backbone):
        for layer in module.eval().modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.train()
    pictures = torch.rand(2, network.channels, *network.size)
    first = network.layers[0]
    seen = first(pictures) if isinstance(first, Crop) else pictures
    return torch.allclose(Probabilities(network)(pictures), backbone(seen).softmax(1), rtol=1e-3, atol=1e-6)


def _copy(network: Darknet, backbone: Backbone) -> None:
    """Give a backbone the weights of a network that has as many of the same shapes."""
    for source, target in zip(_weighted(network), _weighted(backbone), strict=True):
        shapes = {key: x.shape for key, x in target.state_dict().items()}
        target.load_state_dict({key: x.view(shapes[key]) for key, x in source.state_dict().items()})


def _input(network: Darknet) -> tuple[tuple[int, int], Colour, Colour]:
    """Height and width of what the network's first convolution sees, and mean and deviation of its pixels."""
    first = network.layers[0]
    if isinstance(first, Crop):
        return first.size, *(((127.5,) * 3, (127.5,) * 3) if first.adjust else ((0.0,) * 3, (255.0,) * 3))
    return network.size, (0.0,) * 3, (255.0,) * 3


def _weighted(module: nn.Module) -> list[nn.Module]:
    """What has weights, in order: convolutions with their batch normalisation, and what stands alone."""
    if isinstance(module, ConvBlock) and module.norm is not None:
        return [module]
    if isinstance(module, nn.Conv2d | nn.Linear):
        return [module]
    return [found for child in module.children() for found in _weighted(child)]


def _shape(module: nn.Module) -> tuple[bool, tuple[int, ...]]:
    """Whether there is batch normalisation, and the kernel's [N, M, k_y, k_x], also of a fully connected layer."""
    layer = module.conv if isinstance(module, ConvBlock) else module
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return isinstance(module, ConvBlock), (*layer.weight.shape, 1, 1)[:4]
