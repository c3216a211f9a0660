"""The Gaussian likelihood of real variables, where the user asks for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vae_core.model.layout import Variable
from vae_core.model.likelihoods.base import Likelihood


class Gaussian(Likelihood):
    """N(x_j; m, s²) of the standardised value, with (m, log s) = W_j·a + b_j.

    The variable's parent, where it has one, is its missing flag: a missing value has no density and costs nothing.
    """

    def __init__(self, hidden: int, inner: int, variables: list[Variable]) -> None:
        super().__init__(hidden, inner, variables)
        self.weight = nn.Parameter(torch.randn(len(variables), hidden + inner, 2) * 0.1 * hidden**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(variables), 2))

    def moments(self, active: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each float32 [members, n]."""
        mean, log_std = (self.product(active, self.weight)[0] + self.bias[:, None]).unbind(dim=2)
        return mean, log_std.clamp(-7.0, 7.0)

    def nll(self, active: Tensor, codes: Tensor, parents: Tensor, values: Tensor, predicted: Tensor) -> Tensor:
        """-log p, as `Likelihood.nll`."""
        mean, log_std = self.moments(active)
        nll = 0.5 * ((values - mean) * torch.exp(-log_std)).square() + log_std + 0.5 * math.log(2 * math.pi)
        return torch.where(parents == 0, nll, 0.0)
