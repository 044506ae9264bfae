"""The loss of a WordTree against a walk up the path with plain floats (YOLO9000, section 4)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from networks import PARENTS
from onelook.nn.wordtree import WordTree


def naive(logits: list[float], label: int, parents: tuple[int, ...]) -> float:
    """-log of the product of Pr(node | parent) from the class to its root."""
    loss, node = 0.0, label
    while node >= 0:
        siblings = [i for i, parent in enumerate(parents) if parent == parents[node]]
        highest = max(logits[i] for i in siblings)
        total = sum(math.exp(logits[i] - highest) for i in siblings)
        loss -= logits[node] - highest - math.log(total)
        node = parents[node]
    return loss


@given(
    logits=st.lists(st.lists(st.floats(-1000, 1000), min_size=9, max_size=9), min_size=1, max_size=4),
    start=st.integers(0, 8),
)
def test_the_cross_entropy_sums_over_the_path_to_the_root(logits: list[list[float]], start: int) -> None:
    classes = [(start + 2 * i) % 9 for i in range(len(logits))]
    found = WordTree(PARENTS).cross_entropy(torch.tensor(logits, dtype=torch.float64), torch.tensor(classes))
    expected = [naive(row, label, PARENTS) for row, label in zip(logits, classes, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_it_is_the_logarithm_of_the_absolute_probability() -> None:
    torch.manual_seed(0)
    tree, classes = WordTree(PARENTS), torch.arange(9)
    logits = torch.randn(9, 9, dtype=torch.float64)
    probability = tree.absolute(tree.conditional(logits))[classes, classes]
    torch.testing.assert_close(tree.cross_entropy(logits, classes), -probability.log())


def test_a_tree_without_levels_is_the_softmax() -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 2])
    expected = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
    torch.testing.assert_close(WordTree((-1,) * 4).cross_entropy(logits, classes), expected)


def test_its_gradient_is_that_of_finite_differences_and_none_off_the_path() -> None:
    torch.manual_seed(0)
    tree, classes = WordTree(PARENTS), torch.tensor([0, 5, 8, 3])
    logits = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tree.cross_entropy(x, classes), logits)
    tree.cross_entropy(logits, classes).sum().backward()
    assert logits.grad is not None
    assert [row.nonzero().flatten().tolist() for row in logits.grad] == [
        [0, 1],
        [0, 1, 2, 3, 4, 5, 6],
        [0, 1, 7, 8],
        [0, 1, 2, 3],
    ]


@pytest.mark.parametrize("scale", [100.0, 1e4, 1e30])
def test_it_is_finite_with_a_finite_gradient_for_large_logits(scale: float) -> None:
    torch.manual_seed(0)
    logits: Tensor = (torch.randn(9, 9) * scale).requires_grad_()
    loss = WordTree(PARENTS).cross_entropy(logits, torch.arange(9))
    loss.sum().backward()
    assert logits.grad is not None
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_no_boxes_give_no_losses() -> None:
    assert WordTree(PARENTS).cross_entropy(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64)).shape == (0,)
