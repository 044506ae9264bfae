"""Squeeze-and-excitation against equations 2 to 4 of its paper in plain numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from onelook.nn.attention import SqueezeExcitation, attended, attention


@pytest.mark.parametrize(
    ("channels", "reduction", "hidden"), [(32, 16, 2), (6, 2, 3), (5, 1, 5), (7, 2, 3), (3, 16, 1)]
)
def test_squeeze_and_excitation_is_equations_2_to_4(channels: int, reduction: int, hidden: int) -> None:
    random = np.random.default_rng(channels)
    u = random.normal(size=(2, channels, 3, 5))
    w1, w2 = random.normal(size=(hidden, channels)) * 4, random.normal(size=(channels, hidden)) * 4
    module = SqueezeExcitation(channels, reduction).double()
    first, second = module.parameters()
    assert (first.shape, second.shape) == (w1.shape, w2.shape)
    with torch.no_grad():
        first.copy_(torch.from_numpy(w1))
        second.copy_(torch.from_numpy(w2))
        found = module(torch.from_numpy(u)).numpy()
    for b in range(2):
        z = np.array([u[b, c].sum() / (3 * 5) for c in range(channels)])  # eq. 2
        s = 1 / (1 + np.exp(-(w2 @ np.maximum(w1 @ z, 0))))  # eq. 3
        for c in range(channels):
            np.testing.assert_allclose(found[b, c], s[c] * u[b, c], rtol=1e-12)  # eq. 4


def test_a_reduction_of_0_leaves_a_block_alone() -> None:
    block, x = nn.Conv2d(4, 4, 1), torch.ones(1, 4, 2, 2)
    assert attended(block, 4, 0) is block
    assert attention(4, 0)(x) is x
    assert not list(attention(4, 0).parameters())


def test_an_attended_block_is_weighed_by_what_it_gives() -> None:
    block, x = nn.Conv2d(4, 4, 1), torch.arange(16.0).reshape(1, 4, 2, 2)
    whole = attended(block, 4, 2)
    (weigh,) = (module for module in whole.modules() if isinstance(module, SqueezeExcitation))
    torch.testing.assert_close(whole(x), weigh(block(x)))
    assert not torch.equal(whole(x), block(x))
