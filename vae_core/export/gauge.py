"""What is taken off all logits of a variable, which changes no probability, so that their exponentials are numbers.

The graph doesn't normalise (see `vae_core.export.likelihoods`), and training doesn't mind how large logits are: where
another column nearly says a code, or its parent allows a single one, their level drifts by more than float32 has room
for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vae_core.model import VAE
from vae_core.model.likelihoods import Categorical, Located
from vae_core.model.sampling import Ancestral

_ROWS = 4096
_WIDE = 60.0  # range of log Σ exp(logits) above which a constant isn't enough; float32 has room for about twice that
_RIDGE = 1e-3  # of the units' mean square


@dataclass(frozen=True)
class Gauge:
    """What is taken off.

    Attributes:
        level: off all logits: the middle of the range of log Σ exp(logits).
        slope: float32 [hidden + inner], before that: times the units that the head reads.
        bounded: whether the logits may still be out of range where a parent allows a single code, which is then known.
    """

    level: float
    slope: npt.NDArray[np.float32] | None = None
    bounded: bool = False


@torch.no_grad()
def gauges(model: VAE) -> list[Gauge]:
    """Of each variable, for rows from the prior."""
    generator = torch.Generator().manual_seed(0)
    layout = model.layout
    z = torch.randn(_ROWS, model.latent_dim, generator=generator)
    u = torch.rand(_ROWS, len(layout.variables), generator=generator)
    eps = torch.randn(_ROWS, len(layout.gaussians), generator=generator)
    draws, found = Ancestral(model.decoder, z), []
    for j, variable in enumerate(layout.variables):
        units, parents = draws.units, draws.parent_rows()
        head, _ = model.decoder.head(j)
        draws.draw(u[:, j], eps)
        totals = torch.logsumexp(draws.logits[j], dim=1)
        if _range(totals) <= _WIDE or not isinstance(head, Categorical):
            found.append(Gauge(_middle(totals)))
            continue
        several = torch.from_numpy(variable.allowed.sum(axis=1) > 1)[parents]
        slope = None
        if _range(totals[several]) > _WIDE and not isinstance(head, Located):
            slope = _slope(units[several], totals[several])
            totals = totals - units @ slope
        level = _middle(totals[several])
        bounded = bool(((totals[~several] - level).abs() > _WIDE / 2).any())
        found.append(Gauge(level, None if slope is None else slope.numpy(), bounded))
    return found


def _slope(units: Tensor, totals: Tensor) -> Tensor:
    """What the units [n, k] say of `totals` [n], float32 [k], by ridge regression."""
    x, y = units.double(), totals.double()
    x, y = x - x.mean(dim=0), y - y.mean()
    gram = x.T @ x
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    slope: Tensor = torch.linalg.solve(gram, x.T @ y).float()
    return slope


def _range(totals: Tensor) -> float:
    return float(totals.max() - totals.min()) if len(totals) else 0.0


def _middle(totals: Tensor) -> float:
    return float(totals.min() + totals.max()) / 2 if len(totals) else 0.0
