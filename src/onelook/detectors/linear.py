"""What R-CNN learns on top of fixed features: linear support vector machines, and ridge regressions."""

import torch
from torch import Tensor

MAX_STEPS = 100  # of Newton's method; about ten are enough for features of thousands of regions
FALL = 1e-4  # share of its slope by which the loss is to fall: Armijo's rule
LEAST_STEP = 1e-6  # share of a step that is still tried
ENOUGH = 1e-12  # relative fall of the loss that is none


def svms(
    features: Tensor, signs: Tensor, cost: float, positive: float = 1.0, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Linear support vector machines (Cortes and Vapnik, 1995) of C classes, each for itself, on the squared hinge loss.

    Of each class it minimises |w|² / 2 + cost * the sum of v max(0, 1 - y (w x + b))², v being `positive` where y is 1.

    Args:
        features: x, float [N, D].
        signs: y, [N, C]: 1, -1, or 0 for what this class leaves out.
        cost: of the errors, above 0.
        positive: how much more those of the positive ones count.
        start: w and b that are near the solution, zeros by default; a class that leaves out everything keeps its b.

    Returns:
        w [C, D] and b [C], in the type of the features.
    """
    classes, dimensions = signs.shape[1], features.shape[1]
    start = start or (features.new_zeros(classes, dimensions), features.new_zeros(classes))
    w, b = (part.to(torch.float64, copy=True) for part in start)
    x = features.double()
    for c, y in enumerate(signs.double().unbind(1)):
        own = y != 0
        weights = cost * torch.where(y > 0, positive, 1.0)
        w[c], b[c] = _svm(x[own], y[own], weights[own], w[c], b[c])
    return w.to(features.dtype), b.to(features.dtype)


def _svm(x: Tensor, y: Tensor, weights: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """One machine, by the finite Newton method (Keerthi and DeCoste, 2005).

    As long as the same examples err, the loss is that of a ridge regression of their y. So that of those that err now is
    solved, and gone towards as far as the loss falls, until it does not fall any more.
    """

    def errors(w: Tensor, b: Tensor) -> Tensor:
        return (1 - y * (x @ w + b)).relu()

    def loss(w: Tensor, b: Tensor) -> Tensor:
        return w.square().sum() / 2 + (weights * errors(w, b).square()).sum()

    for _ in range(MAX_STEPS):
        error, now = errors(w, b), loss(w, b)
        err, aim, bias = error > 0, torch.zeros_like(w), b
        if err.any():
            (aim,), (bias,) = ridge(x[err], y[err, None], 0.5, weights[err])
        pull = 2 * weights * error * y
        slope = (w - pull @ x) @ (aim - w) - pull.sum() * (bias - b)
        if -slope <= ENOUGH * now:
            break
        step = 1.0
        while step > LEAST_STEP and loss(w + step * (aim - w), b + step * (bias - b)) > now + FALL * step * slope:
            step /= 2
        w, b = w + step * (aim - w), b + step * (bias - b)
    return w, b


def ridge(features: Tensor, truth: Tensor, penalty: float, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Regularised least squares (Girshick et al., 2014, equation 5): the sum of |t - w x - b|² + penalty |w|².

    Args:
        features: x, float [N, D]; N at least 1.
        truth: t, [N, K].
        penalty: lambda, above 0.
        weights: how much each row counts in the sum [N], above 0; 1 by default.

    Returns:
        w [K, D] and b [K], in the type of the features.
    """
    x, t = features.double(), truth.double()
    v = x.new_ones(len(x)) if weights is None else weights.double()
    middle, mean = v @ x / v.sum(), v @ t / v.sum()
    x, t = (v.sqrt()[:, None] * part for part in (x - middle, t - mean))
    count, dimensions = x.shape
    # X'(X X' + lambda)^-1 T and (X'X + lambda)^-1 X'T are the same; the smaller system is solved.
    if count < dimensions:
        w = x.T @ torch.linalg.solve(x @ x.T + penalty * torch.eye(count).to(x), t)
    else:
        w = torch.linalg.solve(x.T @ x + penalty * torch.eye(dimensions).to(x), x.T @ t)
    return w.T.to(features.dtype), (mean - middle @ w).to(features.dtype)
