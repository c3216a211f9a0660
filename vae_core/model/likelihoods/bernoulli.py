"""The Bernoulli likelihood of two-valued variables."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vae_core.model.layout import Variable
from vae_core.model.likelihoods.base import Likelihood


class Bernoulli(Likelihood):
    """p(x_j = 1) = sigmoid(w_j·a + b_j[parent]); b_j starts at the log odds of the training rows."""

    def __init__(self, hidden: int, inner: int, variables: list[Variable]) -> None:
        super().__init__(hidden, inner, variables)
        frequencies = [variable.log_frequencies() for variable in variables]
        odds = np.concatenate([f[:, 1] - f[:, 0] for f in frequencies])
        self.rows = [len(f) for f in frequencies]
        self.weight = nn.Parameter(torch.randn(len(variables), hidden + inner) * 0.1 * hidden**-0.5)
        self.bias = nn.Parameter(torch.from_numpy(odds))
        self.starts: Tensor
        starts = torch.tensor([0, *self.rows[:-1]]).cumsum(dim=0)
        self.register_buffer("starts", starts[:, None], persistent=False)

    def rows_of(self, member: int) -> slice:
        """The entries of `bias` that belong to a variable: one a code of its parent."""
        start = int(self.starts[member, 0])
        return slice(start, start + self.rows[member])

    def logits(self, active: Tensor, parents: Tensor) -> Tensor:
        """Log odds of the code 1, float32 [members, n]."""
        return self.product(active, self.weight[..., None])[0].squeeze(2) + self.bias[parents + self.starts]

    def nll(self, active: Tensor, codes: Tensor, parents: Tensor, values: Tensor, predicted: Tensor) -> Tensor:
        """-log p, as `Likelihood.nll`."""
        logits = self.logits(active, parents)
        return nn.functional.binary_cross_entropy_with_logits(logits, codes.to(active.dtype), reduction="none")
