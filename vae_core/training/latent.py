"""How much the latent is used: a decoder with an autoregressive head can do without it (posterior collapse)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_core.model import VAE

ACTIVE_VARIANCE = 0.01


@torch.no_grad()
def latent_use(model: VAE, codes: Tensor, values: Tensor) -> dict[str, Any]:
    """Measure the use of the latent on held-out rows.

    Args:
        model: in evaluation mode.
        codes: integer [n, variables].
        values: float32 [n, gaussian variables].

    Returns:
        `kl` (nats a row), `kl_per_dimension`, `active_units` (dimensions whose posterior mean varies by more than 0.01
        over the rows; Burda et al. 2016), `aggregate_kl` (nats between the moments of q(z) and N(0, I)),
        `reconstruction` (nats a row) and `explained` (nats by which the reconstruction worsens when z comes from the
        prior instead of the posterior).
    """
    from vae_core.model import aggregate_kl

    generator = torch.Generator().manual_seed(1)
    elbo = model(codes.long(), values, generator)
    prior = torch.randn(elbo.mu.shape, generator=generator)
    without = (
        model.decoder.nll(prior, codes.long().T.contiguous(), model.leaves(codes.long()).T.contiguous(), values.T)
        .sum(dim=0)
        .mean()
    )
    reconstruction = elbo.reconstruction.sum(dim=0).mean()
    return {
        "kl": float(elbo.kl.sum(dim=1).mean()),
        "kl_per_dimension": [round(v, 4) for v in elbo.kl.mean(dim=0).tolist()],
        "active_units": int((elbo.mu.var(dim=0, correction=0) > ACTIVE_VARIANCE).sum()),
        "latent_dim": model.latent_dim,
        "aggregate_kl": float(aggregate_kl(elbo.mu, elbo.log_var)),
        "reconstruction": float(reconstruction),
        "explained": float(without - reconstruction),
    }
