"""Spatially separable convolutions: their equation, and factorisation against numpy's singular values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812

from onelook.nn.spatial import SpatiallySeparable, factorize, factorize_kernel

Array = NDArray[np.float64]


def convolution(
    channels: tuple[int, int], kernel: tuple[int, int] = (3, 3), groups: int = 1, bias: bool = True, **options: object
) -> nn.Conv2d:
    """In float64 with random weights."""
    torch.manual_seed(0)
    return nn.Conv2d(*channels, kernel, groups=groups, bias=bias, dtype=torch.float64, **options)  # type: ignore[arg-type]


def kernels_of(module: SpatiallySeparable) -> Array:
    """The kernels [N, M / groups, k_y, k_x] that the two convolutions amount to, element by element."""
    groups = module.column.groups
    column = module.column.weight.detach().double().numpy()[:, :, :, 0]  # [groups rank, M / groups, k_y]
    row = module.row.weight.detach().double().numpy()[:, :, 0]  # [N, rank, k_x]
    rank = row.shape[1]
    out = np.zeros((row.shape[0], column.shape[1], column.shape[2], row.shape[2]))
    for n, m in np.ndindex(out.shape[:2]):
        first = n // (row.shape[0] // groups) * rank
        for r in range(rank):
            out[n, m] += np.outer(column[first + r, m], row[n, r])
    return out


def as_matrices(conv: nn.Conv2d) -> Array:
    """The kernels of each group as a matrix [M k_y, N k_x]; a plain loop."""
    weight, groups = conv.weight.detach().double().numpy(), conv.groups
    n, m, k_y, k_x = weight.shape[0] // groups, *weight.shape[1:]
    out = np.zeros((groups, m * k_y, n * k_x))
    for g, i, j, y, x in np.ndindex(groups, m, n, k_y, k_x):
        out[g, i * k_y + y, j * k_x + x] = weight[g * n + j, i, y, x]
    return out


def test_the_kernel_of_the_textbook_is_345_times_123() -> None:
    column, row = factorize_kernel(torch.tensor([[3, 6, 9], [4, 8, 12], [5, 10, 15]]))
    assert column.tolist() == [3, 4, 5]
    assert row.tolist() == [1, 2, 3]


digit = st.integers(-9, 9)
vectors = st.lists(digit, min_size=1, max_size=5).filter(any)


@settings(max_examples=100)
@given(column=vectors, tail=st.lists(digit, max_size=4))
def test_a_column_of_integers_times_a_row_that_begins_with_1_comes_back_exactly(
    column: list[int], tail: list[int]
) -> None:
    row = [1, *tail]
    found = factorize_kernel(torch.outer(torch.tensor(column), torch.tensor(row)))
    assert [x.tolist() for x in found] == [column, row]


@settings(max_examples=100)
@given(
    column=vectors,
    row=vectors,
    scale=st.sampled_from([1e-12, 0.3, 1e12]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_factors_of_any_outer_product_multiply_back_to_it(
    column: list[int], row: list[int], scale: float, dtype: torch.dtype
) -> None:
    kernel = torch.from_numpy(np.outer(column, row) * scale).to(dtype)
    found = factorize_kernel(kernel)
    assert [(x.dtype, len(x)) for x in found] == [(dtype, len(column)), (dtype, len(row))]
    torch.testing.assert_close(torch.outer(*found), kernel, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (torch.tensor([[1, 0], [0, 1]]), "of rank 2, not 1"),
        (torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), "of rank 2, not 1"),
        (torch.eye(3), "of rank 3, not 1"),
        (torch.zeros(3, 3), "of rank 0, not 1"),
        (torch.zeros(0, 3), r"found one of shape \[0, 3\]"),
        (torch.ones(3), r"found one of shape \[3\]"),
        (torch.ones(1, 3, 3), r"found one of shape \[1, 3, 3\]"),
    ],
)
def test_what_is_no_outer_product_is_refused_by_its_rank_or_shape(kernel: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factorize_kernel(kernel)


def test_the_separable_filter_of_one_channel_is_the_convolution_with_the_outer_product() -> None:
    module = SpatiallySeparable((1, 1), 3, 1, bias=False).double()
    column, row = torch.tensor([3.0, 4, 5]).double(), torch.tensor([1.0, 2, 3]).double()
    with torch.no_grad():
        module.column.weight.copy_(column.view(1, 1, 3, 1))
        module.row.weight.copy_(row.view(1, 1, 1, 3))
        x = torch.randn(1, 1, 6, 7, dtype=torch.float64)
        torch.testing.assert_close(module(x), F.conv2d(x, torch.outer(column, row)[None, None]))


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40)
@given(
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=pairs,
    channels=pairs,
    groups=st.integers(1, 2),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_factorisation_of_full_rank_gives_the_outputs_of_the_convolution(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    channels: tuple[int, int],
    groups: int,
    bias: bool,
    dtype: torch.dtype,
) -> None:
    m, n = channels
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    conv = convolution((groups * m, groups * n), kernel, groups, bias, **options).to(dtype)
    module, error = factorize(conv, min(m * kernel[0], n * kernel[1]))
    x = torch.randn(2, groups * m, 9, 8, dtype=dtype)
    torch.testing.assert_close(module(x), conv(x), rtol=1e-5, atol=1e-5)
    assert error == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("channels", "kernel", "groups"),
    [((4, 3), (3, 3), 1), ((4, 6), (2, 3), 2), ((3, 3), (5, 3), 3), ((2, 5), (1, 4), 1)],
)
def test_the_error_is_that_of_the_module_and_the_least_there_is(
    channels: tuple[int, int], kernel: tuple[int, int], groups: int
) -> None:
    conv = convolution(channels, kernel, groups)
    weight, random = conv.weight.detach().numpy(), np.random.default_rng(0)
    matrices = as_matrices(conv)
    singular = [np.linalg.svd(matrix, compute_uv=False) for matrix in matrices]
    errors = []
    for rank in range(1, min(matrices.shape[1:]) + 1):
        module, error = factorize(conv, rank)
        assert (module.column.out_channels, module.row.in_channels) == (groups * rank, groups * rank)
        assert error == pytest.approx(np.linalg.norm(weight - kernels_of(module)) / np.linalg.norm(weight), abs=1e-12)
        # Eckart and Young: what the cut singular values hold.
        lost = sum(float((values[rank:] ** 2).sum()) for values in singular)
        assert error == pytest.approx((lost / (weight**2).sum()) ** 0.5, abs=1e-12)
        for _ in range(10):  # any other columns, each with the rows that suit them best
            u = random.normal(size=(groups, matrices.shape[1], rank))
            rest = [m - c @ np.linalg.lstsq(c, m, rcond=None)[0] for c, m in zip(u, matrices, strict=True)]
            assert error <= np.linalg.norm(rest) / np.linalg.norm(weight) + 1e-12
        errors.append(error)
    assert errors == sorted(errors, reverse=True)
    assert len(set(errors)) == len(errors)


@pytest.mark.parametrize("rank", [-1, 0, 7, 100])
def test_a_rank_out_of_range_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"rank must be from 1 to 6 for this convolution; found {rank}"):
        factorize(nn.Conv2d(2, 3, 3), rank)


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_a_padding_that_is_not_by_a_number_of_zeros_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="needs a convolution padded by a number of zeros"):
        factorize(convolution((2, 2), **options), 1)  # type: ignore[arg-type]


def test_a_convolution_of_zeros_is_factorised_without_error() -> None:
    conv = nn.Conv2d(2, 3, 3)
    nn.init.zeros_(conv.weight)
    module, error = factorize(conv, 1)
    assert error == 0
    assert not kernels_of(module).any()


def test_factorising_leaves_the_convolution_as_it_was() -> None:
    conv = nn.Conv2d(2, 3, 3, dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in conv.state_dict().items()}
    module, _ = factorize(conv, 2)
    torch.testing.assert_close(conv.state_dict(), before, rtol=0, atol=0)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in module.parameters())
