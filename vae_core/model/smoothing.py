"""Neighbouring codes of an ordered variable share what is learned about either.

A weight w_k of code k enters the model as Σ_i S_ki·w_i over its neighbours i, so each row of data moves a neighbourhood
of weights. After training the sums are written into the weights; the exported model knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SPREAD = 2.0  # standard deviation of the Gaussian over neighbours, in codes
OWN = 0.5  # share of a code's own weight beside the neighbourhood's


class OrdinalSmoothing(nn.Module):
    """A matrix S of each variable, the identity on codes without an order.

    Args:
        variables: (codes, how many of the first are ordered) of each.
    """

    def __init__(self, variables: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.folded = False
        self.ordered = [ordered > 1 for _, ordered in variables]
        width = max(size for size, _ in variables)
        matrices = torch.stack([_matrix(width, ordered) for _, ordered in variables])
        self.sizes = [size for size, _ in variables]
        self.matrices: Tensor
        self.register_buffer("matrices", matrices, persistent=False)

    def rows(self, j: int, weights: Tensor) -> Tensor:
        """Smooth weights [..., codes, units] of variable j over its codes."""
        if self.folded or not self.ordered[j]:
            return weights
        return torch.matmul(self.matrices[j, : self.sizes[j], : self.sizes[j]], weights)

    def columns(self, weights: Tensor) -> Tensor:
        """Smooth weights [variables, units, codes] over their codes."""
        return weights if self.folded else torch.bmm(weights, self.matrices.transpose(1, 2))


def _matrix(size: int, ordered: int) -> Tensor:
    """S [size, size]: rows sum to 1."""
    code = torch.arange(size)
    near = torch.exp(-0.5 * ((code[:, None] - code[None]) / SPREAD) ** 2)
    within = (code[:, None] < ordered) & (code[None] < ordered)
    near = torch.where(within, near, 0.0)
    near = near / near.sum(dim=1, keepdim=True).clamp_min(1e-9)
    identity = torch.eye(size)
    return torch.where(code[:, None] < ordered, OWN * identity + (1 - OWN) * near, identity)
