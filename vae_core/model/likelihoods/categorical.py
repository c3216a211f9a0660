"""The categorical likelihood over a variable's codes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vae_core.model.layout import Variable
from vae_core.model.likelihoods.base import Likelihood
from vae_core.model.smoothing import CUTOFF, FINE_CUTOFF, Smoothing

IMPOSSIBLE = -1e9  # a logit whose softmax is exactly 0 in float32


class Categorical(Likelihood):
    """softmax(W_j·[a, relu(U_j·a + c_j)] + b_j[parent]): the logits are offsets to the codes' own frequencies.

    `b` starts at the log frequencies given the parent's code (of a fine code, its coarse one), so that the heads only
    learn what depends on the rest of the row. All heads are padded to the widest and run as one batched product.
    """

    def __init__(self, hidden: int, inner: int, variables: list[Variable]) -> None:
        super().__init__(hidden, inner, variables)
        self.sizes = [variable.size for variable in variables]
        width = self.width = max(self.sizes)
        rows = self.rows = [len(variable.counts) for variable in variables]
        bias = np.zeros((sum(rows), width), np.float32)
        mask = np.full((sum(rows), width), IMPOSSIBLE, np.float32)
        starts = np.concatenate([[0], np.cumsum(rows)[:-1]])
        for variable, start in zip(variables, starts, strict=True):
            block = slice(start, start + len(variable.counts))
            bias[block, : variable.size] = variable.log_frequencies()
            mask[block, : variable.size] = np.where(variable.possible, 0.0, IMPOSSIBLE)
        self.weight = nn.Parameter(torch.randn(len(variables), hidden + inner, width) * 0.1 * hidden**-0.5)
        self.smoothing = Smoothing(variables, [CUTOFF if v.within is None else FINE_CUTOFF for v in variables])
        self.bias = nn.Parameter(torch.from_numpy(bias))
        self.starts: Tensor
        self.mask: Tensor
        self.register_buffer("starts", torch.from_numpy(starts)[:, None], persistent=False)
        self.register_buffer("mask", torch.from_numpy(mask), persistent=False)

    def rows_of(self, member: int) -> slice:
        """The rows of `bias` that belong to a variable: one a code of its parent."""
        start = int(self.starts[member, 0])
        return slice(start, start + self.rows[member])

    def logits(self, active: Tensor, parents: Tensor, predicted: Tensor) -> Tensor:
        """Unnormalised log probabilities, float32 [members, n, width]; padding and impossible codes at -1e9."""
        free = self.product(active, self.smoothing.columns(self.weight))[0]
        return free + nn.functional.embedding(parents + self.starts, self.bias + self.mask)

    def nll(self, active: Tensor, codes: Tensor, parents: Tensor, values: Tensor, predicted: Tensor) -> Tensor:
        """-log p, as `Likelihood.nll`."""
        logits = self.logits(active, parents, predicted).flatten(0, 1)
        return nn.functional.cross_entropy(logits, codes.flatten(), reduction="none").view_as(codes)
