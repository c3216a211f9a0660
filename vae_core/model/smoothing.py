"""Neighbouring codes of an ordered variable share what is learned about either.

The weights of ordered codes enter the model through a low-pass filter: of their discrete cosine transform, the k-th
component is damped by 1 / (1 + (k / CUTOFF)²), so that weights that change slowly from code to code are learned fast,
and those that tell neighbours apart slowly. After training the filtered weights are written into the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.fft import dct
from torch import Tensor, nn

CUTOFF = 6.0
FINE_CUTOFF = 1.0  # of codes that say where in a bin a number lies: little more than a slope


class OrdinalSmoothing(nn.Module):
    """A filter for each variable, the identity on codes without an order.

    Args:
        variables: (codes, how many of the first are ordered, cutoff) of each.
    """

    def __init__(self, variables: Sequence[tuple[int, int, float]]) -> None:
        super().__init__()
        self.folded = False
        self.sizes = [size for size, _, _ in variables]
        width = max(self.sizes)
        self.matrices: Tensor
        self.register_buffer("matrices", torch.stack([_filter(width, *v[1:]) for v in variables]), persistent=False)

    def rows(self, j: int, weights: Tensor) -> Tensor:
        """Filter weights [..., codes, units] of variable j over its codes."""
        return weights if self.folded else torch.matmul(self.matrices[j, : self.sizes[j], : self.sizes[j]], weights)

    def columns(self, weights: Tensor) -> Tensor:
        """Filter weights [variables, units, codes] over their codes."""
        return weights if self.folded else torch.bmm(weights, self.matrices.transpose(1, 2))


def _filter(size: int, ordered: int, cutoff: float) -> Tensor:
    """Symmetric, float32 [size, size]."""
    matrix = torch.eye(size)
    if ordered > 1:
        frequency = torch.arange(ordered)
        cosines = torch.from_numpy(dct(torch.eye(ordered, dtype=torch.float64).numpy(), axis=0, norm="ortho"))
        damped = cosines.T @ torch.diag(1 / (1 + (frequency / cutoff) ** 2)).double() @ cosines
        matrix[:ordered, :ordered] = damped.float()
    return matrix
