"""What R-CNN learns on top of fixed features: linear support vector machines, and ridge regressions."""

import torch
from torch import Tensor

MAX_STEPS = 1000  # of L-BFGS; a few hundred are enough for features of thousands of regions


def svms(features: Tensor, signs: Tensor, cost: float, positive: float = 1.0) -> tuple[Tensor, Tensor]:
    """Linear support vector machines (Cortes and Vapnik, 1995) of C classes, each for itself, on the squared hinge loss.

    Of each class it minimises |w|² / 2 + cost * the sum of v max(0, 1 - y (w x + b))², v being `positive` where y is 1.
    It is smooth and strictly convex in w, so that L-BFGS finds the one solution.

    Args:
        features: x, float [N, D].
        signs: y, [N, C]: 1, -1, or 0 for what this class leaves out.
        cost: of the errors, above 0.
        positive: how much more those of the positive ones count.

    Returns:
        w [C, D] and b [C], in the type of the features.
    """
    middle = features.double().mean(dim=0)
    x, y = features.double() - middle, signs.double()  # b takes in any shift, and from here the descent is shorter
    counted = cost * torch.where(y > 0, positive, y.abs())
    w = x.new_zeros(y.shape[1], x.shape[1], requires_grad=True)
    b = x.new_zeros(y.shape[1], requires_grad=True)
    descent = torch.optim.LBFGS(
        (w, b),
        max_iter=MAX_STEPS,
        history_size=20,
        tolerance_grad=1e-8,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        descent.zero_grad()
        slack = (1 - y * (x @ w.T + b)).relu()
        loss = w.square().sum() / 2 + (counted * slack.square()).sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        descent.step(closure)
    w, b = w.detach(), b.detach()
    return w.to(features.dtype), (b - w @ middle).to(features.dtype)


def ridge(features: Tensor, truth: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Regularised least squares (Girshick et al., 2014, equation 5): the sum of |t - w x - b|² + penalty |w|².

    Args:
        features: x, float [N, D]; N at least 1.
        truth: t, [N, K].
        penalty: lambda, above 0.

    Returns:
        w [K, D] and b [K], in the type of the features.
    """
    middle, mean = features.double().mean(dim=0), truth.double().mean(dim=0)
    x, t = features.double() - middle, truth.double() - mean
    count, dimensions = x.shape
    # X'(X X' + lambda)^-1 T and (X'X + lambda)^-1 X'T are the same; the smaller system is solved.
    if count < dimensions:
        w = x.T @ torch.linalg.solve(x @ x.T + penalty * torch.eye(count).to(x), t)
    else:
        w = torch.linalg.solve(x.T @ x + penalty * torch.eye(dimensions).to(x), x.T @ t)
    return w.T.to(features.dtype), (mean - middle @ w).to(features.dtype)
