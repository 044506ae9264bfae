"""A backbone for detectors that look at other maps than those of the strides 8, 16 and 32."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from onelook.backbones.backbone import Backbone
from onelook.errors import NetworkError

_SIDE = 256  # pixels of a picture to try it with


def tap(backbone: Backbone, strides: Sequence[int]) -> Backbone:
    """The backbone itself, whose `features` gives the last maps at these strides, and which ends behind the last of them.

    Args:
        backbone: changed in place: its `channels` and `features` are of those maps; it has no classifier any more.
        strides: the finest first, powers of 2.

    Raises:
        NetworkError: it has no maps of H / stride x W / stride.
    """
    last: dict[int, tuple[int, int]] = {}  # side of a map -> number of the last row that gives such, its channels
    x = torch.empty(2, 3, _SIDE, _SIDE, device="meta")
    for i, module in enumerate(copy.deepcopy(backbone.body).to("meta")):
        x = module(x)
        last[x.shape[2]] = i, x.shape[1]
    for stride in strides:
        if _SIDE // stride not in last:
            raise NetworkError(f"{type(backbone).__name__} has no map of stride {stride}, which this detector needs")
    backbone._taps = tuple(last[_SIDE // stride][0] for stride in strides)
    backbone.channels = tuple(last[_SIDE // stride][1] for stride in strides)
    backbone.body = nn.Sequential(*list(backbone.body)[: backbone._taps[-1] + 1])
    backbone.head = nn.Identity()
    return backbone
