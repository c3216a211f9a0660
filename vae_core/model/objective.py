"""The terms of the objective: the reparameterized sample, the closed-form KL, the pull on the aggregate posterior."""

from __future__ import annotations

import torch
from torch import Tensor


def reparameterize(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw z = μ + σ·ε with ε ~ N(0, I), so that gradients reach μ and σ (Kingma & Welling 2014, eq. 4).

    Args:
        mu: float [n, latent].
        log_var: float [n, latent], log σ².
        generator: source of ε, on the tensors' device.

    Returns:
        float [n, latent].
    """
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + torch.exp(0.5 * log_var) * noise


def gaussian_kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)) in nats, dimension by dimension (Kingma & Welling 2014, appendix B).

    Args:
        mu: float [n, latent].
        log_var: float [n, latent], log σ².

    Returns:
        float [n, latent], not negative.
    """
    return 0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)


def floored_kl(kl: Tensor, free_nats: float) -> Tensor:
    """The KL with a floor ("free bits", Kingma et al. 2016, eq. 15), which keeps the latent in use.

    Each dimension's mean KL below `free_nats / latent` costs as much as if it stood there: giving up the
    dimension gains nothing.

    Args:
        kl: float [n, latent].
        free_nats: floor on the KL, in nats a row, shared evenly among the dimensions.

    Returns:
        Scalar, nats a row.
    """
    return kl.mean(dim=0).clamp_min(free_nats / kl.shape[1]).sum()


def aggregate_kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL to N(0, I) of a Gaussian with the moments of the batch's aggregate posterior q(z) = E[q(z|x)].

    A KL under its floor is not penalised, so the posterior could drift away from the prior that generation
    samples from; this keeps its first two moments there (the "marginal KL" of Hoffman & Johnson 2016).

    Args:
        mu: float [n, latent].
        log_var: float [n, latent], log σ².

    Returns:
        Scalar, nats.
    """
    mean = mu.mean(dim=0)
    variance = log_var.exp().mean(dim=0) + mu.var(dim=0, unbiased=False)
    return gaussian_kl(mean, variance.log()).sum()
