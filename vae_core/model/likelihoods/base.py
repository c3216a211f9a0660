"""What a likelihood must offer: the heads of all variables that have it, evaluated together."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from vae_core.model.layout import Variable


class Likelihood(nn.Module):
    """Heads of `variables`, from hidden states to -log p."""

    def __init__(self, hidden: int, variables: list[Variable]) -> None:
        super().__init__()

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
