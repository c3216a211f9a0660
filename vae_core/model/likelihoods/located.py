"""The likelihood of ordered codes of which a regression tells where among them a row lies."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from vae_core.model.layout import Variable
from vae_core.model.likelihoods.categorical import Categorical
from vae_core.model.regression import FAR

FARTHEST = 4.0  # normal score of the middle of a peak, at most
FLATTEST, SHARPEST = -3.0, 12.0  # logarithm of a peak's precision
HIGHEST, LEAST = 60.0, 1e-30  # logit of a part, at most; mass of a code, at least: float32 holds both
PARAMETERS = 3  # of a peak: what is added to the prediction, logarithm of the precision, logarithm of the weight
WIDTHS = (2.0, 1.0, 0.5)  # of the peaks at first, in spreads of what the prediction leaves open


class Located(Categorical):
    """p(x_j = c) ∝ exp(b_j[parent, c]) · (exp(W_j·a) + Σ_i w_i·√(1 + q_i)·exp(q_i·(m_i²/(1 + q_i) - (s_c - m_i)²)/2)).

    A mixture of the categorical likelihood and of Gaussian peaks over the codes' normal scores s. To codes of which
    s ~ N(0, 1) a peak has a mass of w. Its middle m is the regression's prediction and what hidden units add to it;
    they say its precision q and its weight, too (a mixture density network, Bishop 1994). Several peaks make edges: a
    sum that is never less than its greatest part, say.
    """

    def __init__(self, hidden: int, inner: int, variables: list[Variable]) -> None:
        super().__init__(hidden, inner, variables)
        tables = [variable.scores for variable in variables if variable.scores is not None]
        scores = np.full((sum(map(len, tables)), self.width), FAR, np.float32)
        starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])[:-1]])
        for table, start in zip(tables, starts, strict=True):
            scores[start : start + len(table), : table.shape[1]] = table
        self.scores: Tensor  # of the training rows; kept with the weights
        self.score_starts: Tensor
        self.nested: Tensor
        self.register_buffer("scores", torch.from_numpy(scores))
        self.register_buffer("score_starts", torch.from_numpy(starts)[:, None], persistent=False)
        self.register_buffer("nested", torch.tensor([[len(table) > 1] for table in tables]), persistent=False)
        self.predictions = [variable.prediction for variable in variables]
        self.peaks = nn.Parameter(torch.zeros(len(variables), hidden + inner, len(WIDTHS) * PARAMETERS))
        spreads = torch.tensor([variable.spread for variable in variables])[:, None] * torch.tensor(WIDTHS)
        start = [torch.zeros_like(spreads), -2 * spreads.log(), torch.full_like(spreads, -math.log(len(WIDTHS)))]
        self.peaks_shift = nn.Parameter(torch.cat(start, dim=1))

    def scores_of(self, member: int) -> Tensor:
        """Normal scores of a variable's codes, float32 [1 or parent's codes, size]."""
        start = int(self.score_starts[member, 0])
        rows = self.rows[member] if self.nested[member, 0] else 1
        return self.scores[start : start + rows, : self.sizes[member]]

    @staticmethod
    def mixture(free: Tensor, peaks: Tensor, predicted: Tensor, scores: Tensor) -> Tensor:
        """Logits, but for the bias, of the mixture.

        Args:
            free: W_j·a, float32 [..., codes].
            peaks: what hidden units say of them, float32 [..., PARAMETERS * peaks].
            predicted: float32 [...].
            scores: float32 [..., codes].

        Returns:
            float32 [..., codes].
        """
        added, log_precision, log_weight = peaks.chunk(PARAMETERS, dim=-1)
        middle = (predicted[..., None] + added).clamp(-FARTHEST, FARTHEST)
        precision = log_precision.clamp(FLATTEST, SHARPEST).exp()
        height = 0.5 * (torch.log1p(precision) + precision * middle.square() / (1 + precision))
        height = height + log_weight.clamp_max(HIGHEST)
        mass = free.clamp_max(HIGHEST).exp()
        for m, q, top in zip(*(part[..., None].unbind(-2) for part in (middle, precision, height)), strict=True):
            mass = mass + torch.addcmul(top, -0.5 * q, (scores - m).square()).exp()
        return mass.clamp_min(LEAST).log()

    def logits(self, active: Tensor, parents: Tensor, predicted: Tensor) -> Tensor:
        """As those of `Categorical`; `predicted` is float32 [predictions, n]."""
        scores = nn.functional.embedding(parents * self.nested + self.score_starts, self.scores)
        free, moved = self.product(active, self.smoothing.columns(self.weight), self.peaks)
        peaks = moved + self.peaks_shift[:, None]
        bias = nn.functional.embedding(parents + self.starts, self.bias + self.mask)
        return bias + self.mixture(free, peaks, predicted[self.predictions], scores)
