"""What the heads of the YOLOs are made of, as Darknet has it or depthwise-separable, and how they begin."""

import math

import torch
from torch import Tensor, nn

from onelook.backbones import Backbone
from onelook.backbones.darknet import leaky
from onelook.nn.conv import ConvBlock
from onelook.nn.separable import DepthwiseSeparable, pointwise

PRIOR = 0.01  # pi of "Initialization" in Lin et al., 2017 (arXiv:1708.02002), section 4.1


def mixing(channels: tuple[int, int], separable: bool) -> ConvBlock:
    """A 1 x 1 convolution: [B, channels[0], H, W] -> [B, channels[1], H, W]."""
    return pointwise(channels) if separable else leaky(channels, 1)


def spatial(channels: tuple[int, int], separable: bool) -> nn.Module:
    """A 3 x 3 convolution, or a depthwise-separable one: [B, channels[0], H, W] -> [B, channels[1], H, W]."""
    return DepthwiseSeparable(channels) if separable else leaky(channels, 3)


def output(width: int, anchors: int, classes: int, separable: bool) -> nn.Sequential:
    """The last two convolutions of a scale: [B, width, H, W] -> [B, anchors * (5 + classes), H, W].

    Each objectness begins at PRIOR, since nearly all predictions are of nothing: beginning at 0.5, the first hundreds of
    steps would go into learning just that.
    """
    last = nn.Conv2d(2 * width, anchors * (5 + classes), 1)
    with torch.no_grad():
        assert last.bias is not None
        last.bias.view(anchors, -1)[:, 4] = -math.log((1 - PRIOR) / PRIOR)
    return nn.Sequential(spatial((width, 2 * width), separable), last)


def normalise(image: Tensor, backbone: Backbone) -> Tensor:
    """A picture [B, 3, H, W] in 0..1 as the backbone takes it."""
    mean, std = (
        torch.tensor(x, device=image.device, dtype=image.dtype)[:, None, None] for x in (backbone.mean, backbone.std)
    )
    return (image * 255 - mean) / std
