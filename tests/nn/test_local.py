"""The locally connected layer against plain loops."""

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onelook.nn.local import Local

Array = NDArray[np.float64]


def image(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)


def run(layer: torch.nn.Module, x: Array) -> Array:
    with torch.no_grad():
        return layer.double()(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 1, 0)])
def test_local_is_a_convolution_with_a_kernel_of_its_own_at_every_place(kernel: int, stride: int, padding: int) -> None:
    x = image(2, 3, 5, 6)
    out = tuple((side + 2 * padding - kernel) // stride + 1 for side in (5, 6))
    layer = Local((3, 4), (out[0], out[1]), kernel, stride, padding, "linear")
    with torch.no_grad():
        layer.bias.normal_()
    found = run(layer, x)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for b, n, i, j in product(range(2), range(4), range(out[0]), range(out[1])):
        patch = padded[b, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        expected = patch.ravel() @ weight[i * out[1] + j, n] + bias[n, i, j]
        assert found[b, n, i, j] == pytest.approx(expected, rel=1e-12)
