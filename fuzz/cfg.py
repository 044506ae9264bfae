"""Darknet's network descriptions, and the trees that these may name: the network is made, without its weights."""

from fuzz.files import refusals, written
from onelook.darknet import Darknet

written("x.tree", b"n1 -1\nn2 -1\nn3 0\n")


def one_input(data: bytes) -> None:
    """A cfg; behind a zero byte, which no cfg has, the tree file `t.tree`."""
    cfg, _, tree = data.partition(b"\0")
    written("t.tree", tree)
    with refusals():
        Darknet(written("x.cfg", cfg), "meta")
