"""Calibration of the marginals: what the prior generates is compared with the source's rows, variable by variable.

The aggregate posterior never quite equals the prior, so rows decoded from N(0, I) have slightly shifted marginals.
In the decoder's own order, each variable's biases are moved until its mean predicted distribution over generated rows
is the one of the source's rows (iterative proportional fitting on the logits), before the next variable is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.model import VAE, Variable
from vae_core.model.likelihoods import Bernoulli, Categorical, Located
from vae_core.model.likelihoods.categorical import IMPOSSIBLE
from vae_core.model.sampling import Ancestral

MOST_ROWS, LEAST_ROWS = 50_000, 5_000  # generated, and in between
TIMES = 20  # as many as the source has: its own chance errors are far larger then
ITERATIONS, LOCATED_ITERATIONS = 5, 15  # a bias moves little where a sharp peak says which code it is
PRIOR_COUNT = 2.0  # pseudo-rows a code: rare codes move little

Counts = npt.NDArray[np.float64]


@torch.no_grad()
def calibrate(model: VAE, wanted: Sequence[Counts], seed: int) -> None:
    """Move the biases of the categorical and Bernoulli heads, in place, on the model's own device.

    Args:
        model: trained.
        wanted: of each variable, how many rows have each code, float64 [rows, size]: see `frequencies`.
        seed: of the generated rows.
    """
    layout = model.layout
    decoder = model.decoder
    device = decoder.shift.device
    generator = torch.Generator().manual_seed(seed)
    rows = rows_for(wanted)
    z = torch.randn(rows, model.latent_dim, generator=generator).to(device)
    u = torch.rand(rows, len(layout.variables), generator=generator).to(device)
    eps = torch.randn(rows, len(layout.gaussians), generator=generator).to(device)
    draws = Ancestral(decoder, z)
    for j, variable in enumerate(layout.variables):
        head, member = decoder.head(j)
        if isinstance(head, Bernoulli):
            block = head.rows_of(member)
            scores = torch.nn.functional.pad(draws.units @ head.weight[member, :, None], (1, 0))
            bias = torch.nn.functional.pad(head.bias[block, None], (1, 0))
            fitted = _fitted(scores, bias, draws.parent_rows(), variable, wanted[j], ITERATIONS)
            head.bias[block] = fitted[:, 1] - fitted[:, 0]
        elif isinstance(head, Categorical):
            block = head.rows_of(member)
            bias = head.bias[block, : variable.size]
            iterations = LOCATED_ITERATIONS if isinstance(head, Located) else ITERATIONS
            fitted = _fitted(draws.scores(), bias, draws.parent_rows(), variable, wanted[j], iterations)
            head.bias[block, : variable.size] = fitted
        draws.draw(u[:, j], eps)


def rows_for(wanted: Sequence[Counts]) -> int:
    """How many rows are generated to compare with those."""
    return int(min(MOST_ROWS, max(LEAST_ROWS, TIMES * wanted[0].sum())))


def _fitted(scores: Tensor, bias: Tensor, row: Tensor, variable: Variable, wanted: Counts, iterations: int) -> Tensor:
    """The bias [rows, size] under which the mean of softmax(scores + bias[row]) has the shares of the counts."""
    allowed = torch.from_numpy(variable.allowed).to(scores.device)
    counts = torch.from_numpy(np.where(variable.allowed, wanted, 0.0)).to(scores)
    share = counts / counts.sum().clamp_min(1.0)
    share_of_row = share.sum(dim=1, keepdim=True)
    bias = bias.clone()
    for _ in range(iterations):
        probability = torch.softmax((scores + bias[row]).masked_fill(~allowed[row], IMPOSSIBLE), dim=1)
        found = torch.zeros_like(bias).index_add_(0, row, probability)
        # The generated rows under the same parent's code set the scale, so each row of the bias is matched by itself.
        scale = found.sum(dim=1, keepdim=True) / share_of_row.clamp_min(1e-12)
        ratio = (share * scale + PRIOR_COUNT) / (found + PRIOR_COUNT)
        bias += torch.where(allowed & (share_of_row > 0), ratio.log(), 0.0)
    return bias
