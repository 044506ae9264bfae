"""Darknet's weights, for one of three small networks that have layers of every kind with weights."""

from fuzz.files import refusals, written
from onelook.darknet import Darknet, load_weights
from onelook.darknet.cfg import read_cfg

_NET = b"[net]\nwidth=4\nheight=4\nchannels=1\n"
_CONV = b"[convolutional]\nfilters=2\nsize=1\nbatch_normalize=%d\n"
_CFGS = [
    read_cfg(written(f"{i}.cfg", _NET + layers))
    for i, layers in enumerate(
        [
            _CONV % 1 + _CONV % 0 + b"[shortcut]\nfrom=-2\nweights_type=per_channel\n",
            b"[connected]\noutput=2\nbatch_normalize=1\n[connected]\noutput=3\n",
            b"[local]\nfilters=1\nsize=2\n[batchnorm]\n",
        ]
    )
]
_FILLED = [Darknet(cfg) for cfg in _CFGS]


def one_input(data: bytes) -> None:
    """The first byte says which network, whether it has weights already, and whether the file may be a part of them."""
    choice = data[0] if data else 0
    partial, new = bool(choice & 4), choice & 56 == 56
    network = Darknet(_CFGS[choice % 3], "meta") if new and not partial else _FILLED[choice % 3]
    with refusals():
        load_weights(network, written("x.weights", data[1:]), partial)
