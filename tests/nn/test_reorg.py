"""The passthrough against the loop of Darknet's C code."""

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from onelook.nn.reorg import Reorg

Array = NDArray[np.float64]


def image(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)


def run(layer: torch.nn.Module, x: Array) -> Array:
    with torch.no_grad():
        return layer.double()(torch.from_numpy(x)).numpy()


def test_reorg_gives_darknets_order() -> None:
    c, h, w, s = 8, 4, 6, 2
    x = image(1, c, h, w)
    flat, out = x.ravel(), np.empty(c * h * w)
    for k, j, i in product(range(c), range(h), range(w)):
        small, offset = k % (c // s**2), k // (c // s**2)
        column, row = i * s + offset % s, j * s + offset // s
        out[i + w * (j + h * k)] = flat[column + w * s * (row + h * s * small)]
    expected = out.reshape(1, c * s * s, h // s, w // s)
    np.testing.assert_array_equal(run(Reorg(s), x), expected)


def test_reorg3d_is_a_space_to_depth_and_reverse_undoes_it() -> None:
    x = image(1, 3, 4, 6)
    found = run(Reorg(2, plain=True), x)
    for dy, dx, c, j, i in product(range(2), range(2), range(3), range(2), range(3)):
        assert found[0, (dy * 2 + dx) * 3 + c, j, i] == x[0, c, 2 * j + dy, 2 * i + dx]
    np.testing.assert_array_equal(run(Reorg(2, reverse=True), found), x)
