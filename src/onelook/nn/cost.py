"""What a block costs by the formulas of the papers: parameters (weights of kernels alone) and multiply-adds.

The names are MobileNet's (Howard et al., 2017, section 3.1): D_K the side of the kernel, M and N the channels of input
and output, D_F the side of the square output map. `onelook.nn.count` counts the same on a module.
"""

from typing import NamedTuple


class Cost(NamedTuple):
    """Parameters, and multiply-adds of one picture."""

    parameters: int
    multiply_adds: int


def convolution(d_k: int, m: int, n: int, d_f: int) -> Cost:
    """D_K^2 M N weights, each used D_F^2 times (eq. 2)."""
    return _used(d_k**2 * m * n, d_f)


def depthwise(d_k: int, m: int, d_f: int) -> Cost:
    """D_K^2 M weights (eq. 4)."""
    return _used(d_k**2 * m, d_f)


def pointwise(m: int, n: int, d_f: int) -> Cost:
    """M N weights (second term of eq. 5)."""
    return _used(m * n, d_f)


def depthwise_separable(d_k: int, m: int, n: int, d_f: int) -> Cost:
    """D_K^2 M + M N (eq. 5): 1/N + 1/D_K^2 of the full convolution."""
    return _used(d_k**2 * m + m * n, d_f)


def linear_bottleneck(d_k: int, m: int, n: int, d_f: int) -> Cost:
    """As `depthwise_separable`: what it leaves out, an activation, has no weights."""
    return depthwise_separable(d_k, m, n, d_f)


def inverted_residual(t: int, d_in: int, d_out: int, d_f: int, stride: int = 1, d_k: int = 3) -> Cost:
    """d' d' t + k^2 d' t + d' t d'' (Sandler et al., 2018, section 3.3: h w d' t (d' + k^2 + d'') at stride 1).

    Args:
        t: expansion; with 1 there is no expansion layer.
        d_in, d_out: d' and d'', channels.
        d_f: side of the output; the expansion layer works on the input, `stride` times as wide and high.
        stride: of the depthwise convolution.
        d_k: k.
    """
    wide = t * d_in
    expansion = _used(d_in * wide if t != 1 else 0, d_f * stride)
    rest = _used(d_k**2 * wide + wide * d_out, d_f)
    return Cost(expansion.parameters + rest.parameters, expansion.multiply_adds + rest.multiply_adds)


def spatially_separable(d_k: int, m: int, n: int, rank: int, d_f: int) -> Cost:
    """D_K R (M + N) at stride 1 (Jaderberg et al., 2014, section 2, scheme 2)."""
    return _used(d_k * rank * (m + n), d_f)


def squeeze_excitation(c: int, r: int) -> Cost:
    """2 C^2 / r, each used once (Hu et al., 2018, section 4, eq. 5)."""
    weights = 2 * c * max(1, c // r)
    return Cost(weights, weights)


def _used(weights: int, d_f: int) -> Cost:
    return Cost(weights, weights * d_f**2)
