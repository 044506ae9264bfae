"""Darknet's files: the network of a `.cfg`, and the numbers of a `.weights`."""

from pathlib import Path

from onelook.darknet.cfg import Cfg, Option, Section, read_cfg
from onelook.darknet.network import Darknet, Row
from onelook.darknet.weights import Header, load_weights, read_header, save_weights

__all__ = [
    "Cfg",
    "Darknet",
    "Header",
    "Option",
    "Row",
    "Section",
    "load",
    "load_weights",
    "read_cfg",
    "read_header",
    "save_weights",
]


def load(cfg: str | Path, weights: str | Path) -> Darknet:
    """The network of a `.cfg` with the numbers of a `.weights`, in evaluation mode.

    Nothing is allocated before the two are known to fit.

    Raises:
        DarknetError: as `Darknet` and `load_weights`.
    """
    network = Darknet(cfg, device="meta")
    load_weights(network, weights)
    return network.eval()
