"""A classifier that came from Darknet: as it is, or as one of onelook's backbones with its weights."""

import torch
from torch import Tensor, nn

from onelook.backbones import Backbone, create
from onelook.backbones.darknet import Residual
from onelook.checkpoint import Checkpoint, Colour
from onelook.darknet.layers import Crop, Shortcut
from onelook.darknet.network import Darknet
from onelook.errors import DarknetError
from onelook.nn.conv import ConvBlock
from onelook.nn.count import multiply_adds

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
    size, mean, std = _input(network)
    for name in BACKBONES:
        options = {"classes": network.classes} | ({"picture": size[0]} if name == "vgg16" else {})
        with torch.device("meta"):
            same = size[0] == size[1] and _is(network, create(name, **options), size)
        if same:
            break
    else:
        raise DarknetError(
            f"{network.cfg.path}: describes none of the backbones that onelook knows by name: {', '.join(BACKBONES)}"
        )
    backbone = create(name, **options)
    for source, target in zip(_weighted(network), _weighted(backbone), strict=True):
        target.load_state_dict(
            {key: x.view(target.state_dict()[key].shape) for key, x in source.state_dict().items()}, strict=True
        )
    return Checkpoint(backbone.eval(), name, options, None, size, mean, std, crop=1.0)


def _input(network: Darknet) -> tuple[tuple[int, int], Colour, Colour]:
    """Height and width of what the network's first convolution sees, and mean and deviation of its pixels."""
    first = network.layers[0]
    if isinstance(first, Crop):
        return first.size, *(((127.5,) * 3, (127.5,) * 3) if first.adjust else ((0.0,) * 3, (255.0,) * 3))
    return network.size, (0.0,) * 3, (255.0,) * 3


def _is(network: Darknet, backbone: Backbone, size: tuple[int, int]) -> bool:
    """Whether a Darknet network computes what a backbone does: the same weights, used as often, joined as often."""
    found, wanted = _weighted(network), _weighted(backbone)
    joins = sum(isinstance(layer, Shortcut) for layer in network.layers)
    residuals = sum(isinstance(module, Residual) for module in backbone.modules())
    return (
        len(found) == len(wanted)
        and all(_shape(x) == _shape(y) for x, y in zip(found, wanted, strict=True))
        and joins == residuals
        and multiply_adds(backbone, size) == network.multiply_adds
    )


def _weighted(module: nn.Module) -> list[nn.Module]:
    """What has weights, in order: the blocks of convolutions, and what stands alone."""
    if isinstance(module, ConvBlock) and (module.norm is not None or not isinstance(module.activation, nn.Identity)):
        return [module]
    if isinstance(module, nn.Conv2d | nn.Linear):
        return [module]
    return [found for child in module.children() for found in _weighted(child)]


def _shape(module: nn.Module) -> tuple[object, ...]:
    """What two modules must share for one's weights to fit the other."""
    if isinstance(module, ConvBlock):
        conv = module.conv
        slope = getattr(module.activation, "negative_slope", None)
        return *conv.weight.shape, conv.stride, conv.groups, module.norm is None, type(module.activation), slope
    assert isinstance(module, nn.Conv2d | nn.Linear)
    return (*module.weight.shape, 1, 1)[:4]
