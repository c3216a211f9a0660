"""What a likelihood must offer: the heads of all variables that have it, evaluated together."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from vae_core.model.layout import Variable


class Likelihood(nn.Module):
    """Heads of `variables`, from hidden states to -log p.

    Each has `inner` hidden units of its own, relu(U_j·a + c_j), for what takes more than one layer; its `weight`, of
    `hidden + inner` rows, reads them beside the activations a = relu(h_j).
    """

    def __init__(self, hidden: int, inner: int, variables: list[Variable]) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.randn(len(variables), hidden, inner) * hidden**-0.5)
        self.inner_shift = nn.Parameter(torch.zeros(len(variables), inner))

    def product(self, active: Tensor, *weights: Tensor) -> list[Tensor]:
        """What linear maps make of the activations and of the heads' own hidden units.

        Args:
            active: float32 [members, n, hidden].
            weights: float32 [members, hidden + inner, size] each.

        Returns:
            float32 [members, n, size] for each of `weights`.
        """
        hidden = active.shape[2]
        products = [torch.bmm(active, weight[:, :hidden]) for weight in weights]
        if not self.inner.shape[2]:
            return products
        inner = torch.baddbmm(self.inner_shift[:, None], active, self.inner).relu()
        return [torch.baddbmm(p, inner, w[:, hidden:]) for p, w in zip(products, weights, strict=True)]

    def units(self, member: int, active: Tensor) -> Tensor:
        """What one variable's weights read, float32 [n, hidden + inner], of its activations [n, hidden]."""
        inner = torch.addmm(self.inner_shift[member], active, self.inner[member]).relu()
        return torch.cat([active, inner], dim=1)

    @abstractmethod
    def nll(self, active: Tensor, codes: Tensor, parents: Tensor, values: Tensor, predicted: Tensor) -> Tensor:
        """-log p(x_j | h_j) in nats.

        Args:
            active: float32 [members, n, hidden], relu(h_j).
            codes: int64 [members, n].
            parents: int64 [members, n], code of each variable's parent; 0 without one.
            values: float32 [gaussian variables, n], standardised.
            predicted: float32 [predictions, n], normal scores (see `vae_core.model.regression`).

        Returns:
            float32 [members, n].
        """
