"""The WordTree of YOLO9000 (Redmon and Farhadi, 2017, arXiv:1612.08242, section 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

THRESHOLD = 0.5  # Darknet's -hier


class WordTree:
    """Classes that are kinds of one another: a softmax over the children of every node, a product along the path.

    Args:
        parents: for every class the number of its parent, a smaller one, or -1 for a root; the children of one parent
            stand together, as in Darknet's tree files.
    """

    def __init__(self, parents: Sequence[int]):
        group: list[int] = []
        depth: list[int] = []
        for i, parent in enumerate(parents):
            if not -1 <= parent < i:
                raise ValueError(f"class {i} has the parent {parent}; expected one that stands before it, or -1")
            group.append(group[-1] + (parent != parents[i - 1]) if i else 0)
            depth.append(depth[parent] + 1 if parent >= 0 else 0)
        self.groups = group[-1] + 1
        self.steps = max(depth).bit_length()
        # One class more than there are: the parent of the roots, of probability 1 and its own parent.
        self.up = torch.tensor([p if p >= 0 else len(parents) for p in parents] + [len(parents)])
        self.group = torch.tensor(group)
        self.depth = torch.tensor(depth)

    def conditional(self, logits: Tensor) -> Tensor:
        """Pr(class | parent): class logits [..., C] -> a softmax over each group of siblings [..., C]."""
        group = self.group.to(logits.device).expand(logits.shape)
        blank = logits.new_full((*logits.shape[:-1], self.groups), float("-inf"))
        highest = blank.scatter_reduce(-1, group, logits, "amax")
        exponential = (logits - highest.gather(-1, group)).exp()
        total = torch.zeros_like(blank).scatter_reduce(-1, group, exponential, "sum")
        return exponential / total.gather(-1, group)

    def absolute(self, conditional: Tensor) -> Tensor:
        """Pr(class), the product of the conditional ones on the path to the root (section 4): [..., C] -> [..., C]."""
        product = torch.cat((conditional, torch.ones_like(conditional[..., :1])), dim=-1)
        up = self.up.to(conditional.device)
        for _ in range(self.steps):  # pointer jumping: after step n a class has its nearest 2^n ancestors multiplied in
            product, up = product * product[..., up], up[up]
        return product[..., :-1]

    def cross_entropy(self, logits: Tensor, classes: Tensor) -> Tensor:
        """-log Pr(class), the sum of the cross-entropies on the path to the root: logits [M, C], classes [M] -> [M]."""
        group = self.group.to(logits.device).expand(logits.shape)
        blank = logits.new_full((len(logits), self.groups), float("-inf"))
        highest = blank.scatter_reduce(-1, group, logits.detach(), "amax")
        shifted = logits - highest.gather(-1, group)
        total = torch.zeros_like(blank).scatter_add(-1, group, shifted.exp())
        up, loss, node = self.up.to(logits.device), logits.new_zeros(len(logits)), classes
        logarithm = F.pad(shifted - total.log().gather(-1, group), (0, 1))  # of Pr(class | parent), 0 above the roots
        for _ in range(int(self.depth.max()) + 1):
            loss = loss - logarithm.gather(-1, node[:, None])[:, 0]
            node = up[node]
        return loss

    def predict(self, logits: Tensor) -> Tensor:
        """The class of each box, 1 for that class and 0 for the others: logits [..., C] -> [..., C].

        From the root the likeliest child is taken, and again, while the path stays above THRESHOLD. Darknet measures
        the path by the product of the absolute probabilities on it, where the paper has the last of them alone; files
        come from Darknet, so its rule is taken.
        """
        conditional = self.conditional(logits)
        group = self.group.to(logits.device).expand(logits.shape)
        blank = logits.new_zeros((*logits.shape[:-1], self.groups))
        best = blank.scatter_reduce(-1, group, conditional, "amax").gather(-1, group)
        on_path = self.absolute((conditional == best).to(logits.dtype))
        path = self.absolute(self.absolute(conditional))
        depth = self.depth.to(logits.device)
        reached = on_path * ((path > THRESHOLD) | (depth == 0)).to(logits.dtype)
        chosen = (reached * (depth + 1)).argmax(-1, keepdim=True)
        return torch.zeros_like(logits).scatter(-1, chosen, 1.0)
