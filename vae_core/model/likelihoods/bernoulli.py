"""The Bernoulli likelihood of two-valued variables."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vae_core.model.layout import Variable
from vae_core.model.likelihoods.base import Likelihood


class Bernoulli(Likelihood):
    """p(x_j = 1) = sigmoid(w_j·a + b_j); b_j starts at the log odds of the training rows."""

    def __init__(self, hidden: int, variables: list[Variable]) -> None:
        super().__init__(hidden, variables)
        counts = np.stack([variable.counts[0] for variable in variables]) + 0.5
        self.weight = nn.Parameter(torch.randn(len(variables), hidden) * 0.1 * hidden**-0.5)
        self.bias = nn.Parameter(torch.from_numpy(np.log(counts[:, 1] / counts[:, 0]).astype(np.float32)))

    def logits(self, active: Tensor) -> Tensor:
        """Log odds of the code 1, float32 [members, n]."""
        return torch.bmm(active, self.weight[..., None]).squeeze(2) + self.bias[:, None]

    def nll(self, active: Tensor, codes: Tensor, parents: Tensor, values: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(
            self.logits(active), codes.to(active.dtype), reduction="none"
        )
