"""Spatially separable convolutions: k x 1, then 1 x k, in place of k x k."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from onelook.nn.conv import Pair


class SpatiallySeparable(nn.Module):
    """A column convolution (k x 1) to `rank` maps a group, then a row convolution (1 x k) (Jaderberg et al., 2014).

    "Speeding up Convolutional Neural Networks with Low Rank Expansions", arXiv:1405.3866, section 2, scheme 2. With
    one channel in and out and a rank of 1 it is the separable filter of the textbooks.

    Args:
        channels: M and N, of the input and of the output.
        kernel: sides of the kernel it stands for, pixels.
        rank: maps between the two convolutions, for each group.
        stride, padding, dilation, groups: as of the convolution it stands for.
        bias: added to the output.

    `forward`: [B, M, H, W] -> [B, N, H', W'], as `nn.Conv2d` of the same arguments.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: Pair,
        rank: int,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        (k_y, k_x), (s_y, s_x), (p_y, p_x), (d_y, d_x) = map(_pair, (kernel, stride, padding, dilation))
        middle = groups * rank
        self.column = nn.Conv2d(channels[0], middle, (k_y, 1), (s_y, 1), (p_y, 0), (d_y, 1), groups, bias=False)
        self.row = nn.Conv2d(middle, channels[1], (1, k_x), (1, s_x), (0, p_x), (1, d_x), groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.row(self.column(x))


class Factorization(NamedTuple):
    """What `factorize` made of a convolution."""

    module: SpatiallySeparable
    error: float
    """Of the kernels: ||W - W'|| / ||W|| in the Frobenius norm, 0 (exact) to 1."""


def factorize(conv: nn.Conv2d, rank: int) -> Factorization:
    """The spatially separable convolution of a rank that comes closest to a trained one, by singular values.

    The kernels [N, M, k_y, k_x] are read as a matrix [M k_y, N k_x]; any product of a column and a row convolution is
    such a matrix of at most that rank, so cutting its singular value decomposition gives the best there is (Tai et
    al., 2016, arXiv:1511.06067, Theorem 1). Groups are factorised one by one.

    Args:
        conv: padded by zeros, if at all.
        rank: maps in the middle, for each group; from 1 to min(M k_y, N k_x), at which nothing is lost.

    Raises:
        ValueError: a rank outside this range, a padding that is not by a number of zeros, weights that are not finite.
    """
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ValueError(
            f"needs a convolution padded by a number of zeros; found {conv.padding!r}, {conv.padding_mode}"
        )
    groups, (k_y, k_x) = conv.groups, conv.kernel_size
    m, n = conv.in_channels // groups, conv.out_channels // groups
    if not 1 <= rank <= min(m * k_y, n * k_x):
        raise ValueError(f"rank must be from 1 to {min(m * k_y, n * k_x)} for this convolution; found {rank}")
    weight = conv.weight.detach().double()
    if not weight.isfinite().all():
        raise ValueError("needs a convolution whose weights are finite numbers")
    matrix = weight.view(groups, n, m, k_y, k_x).permute(0, 2, 3, 1, 4).reshape(groups, m * k_y, n * k_x)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:, :rank].sqrt()
    column = (u[:, :, :rank] * root[:, None]).transpose(1, 2)  # [groups, rank, m k_y]
    row = (root[:, :, None] * v[:, :rank]).view(groups, rank, n, k_x).transpose(1, 2)  # [groups, n, rank, k_x]
    module = SpatiallySeparable(
        (conv.in_channels, conv.out_channels),
        (k_y, k_x),
        rank,
        _pair(conv.stride),
        _pair(conv.padding),
        _pair(conv.dilation),
        groups,
        conv.bias is not None,
    ).to(conv.weight)
    with torch.no_grad():
        module.column.weight.copy_(column.reshape(module.column.weight.shape))
        module.row.weight.copy_(row.reshape(module.row.weight.shape))
        if conv.bias is not None and module.row.bias is not None:
            module.row.bias.copy_(conv.bias)
    lost = s[:, rank:].square().sum() / s.square().sum().clamp(min=torch.finfo(s.dtype).tiny)
    return Factorization(module, float(lost.sqrt()))


def factorize_kernel(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """The column and the row whose outer product a kernel of rank 1 is.

    Args:
        kernel: [k_y, k_x].

    Returns:
        column [k_y] and row [k_x]; integers stay integers where the kernel is a column of integers times a row that
        begins with 1: [[3, 6, 9], [4, 8, 12], [5, 10, 15]] is [3, 4, 5] times [1, 2, 3].

    Raises:
        ValueError: the kernel is no matrix, holds what is no finite real number, or is of another rank.
    """
    if kernel.ndim != 2 or not kernel.numel():
        raise ValueError(f"needs a kernel [k_y, k_x]; found one of shape {list(kernel.shape)}")
    if kernel.is_complex() or not kernel.isfinite().all():
        raise ValueError("needs a kernel of finite real numbers")
    dtype = kernel.dtype if kernel.is_floating_point() else torch.float64
    kernel = kernel.double()
    # The pivot is the first number that is not small, rather than the largest, so that textbook kernels come out round.
    y, x = (kernel.abs() >= kernel.abs().max() / 1000).nonzero()[0].tolist()
    column, row = kernel[:, x], kernel[y] / kernel[y, x]
    if not torch.allclose(torch.outer(column, row), kernel, rtol=0, atol=1e-4 * float(kernel.abs().max())):
        rank = int(torch.linalg.matrix_rank(kernel, rtol=1e-4))
        raise ValueError(f"the kernel is of rank {rank}, not 1; see onelook.nn.spatial.factorize for the closest one")
    return column.to(dtype), row.to(dtype)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    y, x = (value, value) if isinstance(value, int) else value
    return y, x
