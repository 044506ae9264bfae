"""Compared with torch's own gradient, in float32 exactly and in bfloat16 as near as that has digits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from onelook.nn.conv import ConvBlock
from onelook.nn.strided import is_strided_depthwise, strided_depthwise


@given(st.integers(0, 12), st.integers(0, 12), st.sampled_from((1, 3, 5)), st.integers(1, 3), st.integers(1, 4))
def test_the_gradient_is_that_of_the_convolution(
    more_rows: int, more_columns: int, kernel: int, stride: int, channels: int
) -> None:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, kernel + more_rows, kernel + more_columns, generator=made, dtype=torch.float64)
    weight = torch.randn(channels, 1, kernel, kernel, generator=made, dtype=torch.float64)
    x.requires_grad_()
    weight.requires_grad_()
    expected = F.conv2d(x, weight, None, stride, groups=channels)
    gradient = torch.randn(expected.shape, generator=made, dtype=torch.float64)
    found = strided_depthwise(x, weight, stride)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (x, weight), gradient),
        torch.autograd.grad(expected, (x, weight), gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_block_in_bfloat16_learns_as_one_in_float32() -> None:
    torch.manual_seed(0)
    block = ConvBlock((8, 8), 3, 2, "same", groups=8, activation="relu6")
    x = torch.randn(4, 8, 20, 22)
    gradients = []
    for enabled in (False, True):
        block.zero_grad()
        given_x = x.to(torch.bfloat16 if enabled else torch.float32, copy=True).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = block(given_x)
        (y.float() ** 2).sum().backward()
        weight = block.conv.weight.grad
        assert given_x.grad is not None
        assert weight is not None
        assert weight.dtype is torch.float32
        gradients.append((given_x.grad.float(), weight))
    for exact, near in zip(*gradients, strict=True):
        assert (exact - near).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        ({}, True),
        ({"kernel_size": 5}, True),
        ({"stride": 1}, False),
        ({"stride": (1, 2)}, False),
        ({"kernel_size": 2}, False),
        ({"bias": True}, False),
        ({"padding": 1}, False),
        ({"dilation": 2}, False),
        ({"groups": 4}, False),
        ({"out_channels": 16}, False),
    ],
)
def test_which_convolutions_it_is_for(changed: dict[str, int], fits: bool) -> None:
    how = {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "stride": 2, "groups": 8, "bias": False} | changed
    assert is_strided_depthwise(nn.Conv2d(**how)) == fits  # type: ignore[arg-type]
