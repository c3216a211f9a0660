"""Encoder, prior and decoder together, and the evidence lower bound (ELBO)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vae_core.config import TrainingConfig
from vae_core.model.decoder import Decoder
from vae_core.model.encoder import Encoder
from vae_core.model.layout import Layout
from vae_core.model.likelihoods import Categorical
from vae_core.model.objective import aggregate_kl, floored_kl, gaussian_kl, reparameterize


@dataclass(frozen=True)
class Elbo:
    """The parts of the ELBO of a batch, in nats. ELBO = -(reconstruction + kl) a row.

    Attributes:
        reconstruction: float [variables, n], -log p(x_j | x_{<j}, z) with one z ~ q(z|x) a row.
        kl: float [n, latent], KL(q(z|x) ‖ p(z)) dimension by dimension.
        mu: float [n, latent].
        log_var: float [n, latent].
    """

    reconstruction: Tensor
    kl: Tensor
    mu: Tensor
    log_var: Tensor

    @property
    def negative(self) -> Tensor:
        """-ELBO, averaged over the rows; scalar, nats a row."""
        return self.reconstruction.sum(dim=0).mean() + self.kl.sum(dim=1).mean()

    def loss(self, beta: float, free_nats: float) -> Tensor:
        """What training minimises: reconstruction + β·(floored KL) + the pull of q(z) towards p(z)."""
        return (
            self.reconstruction.sum(dim=0).mean()
            + beta * floored_kl(self.kl, free_nats)
            + aggregate_kl(self.mu, self.log_var)
        )


class VAE(nn.Module):
    """A variational autoencoder over coded rows (Kingma & Welling 2014).

    Args:
        layout: the variables.
        config: sizes and dropout.
        folded: for trained weights, in which `fold` has been done.
    """

    def __init__(self, layout: Layout, config: TrainingConfig, folded: bool = False) -> None:
        super().__init__()
        self.layout = layout
        self.latent_dim = config.latent_dim
        self.refines: Tensor
        self.factor: Tensor
        for name, index in zip(("refines", "factor"), layout.refinement, strict=True):
            self.register_buffer(name, torch.from_numpy(index), persistent=False)
        hidden = config.hidden or layout.default_hidden
        self.encoder = Encoder(layout, config.latent_dim, 2 * hidden)
        dropout = layout.default_dropout(hidden) if config.dropout is None else config.dropout
        inner = config.inner
        if inner is None:
            inner = 0 if config.privacy is not None else layout.default_inner
        self.decoder = Decoder(layout, config.latent_dim, hidden, inner, dropout)
        if folded:
            self.fold()

    def fold(self) -> None:
        """Write what neighbouring codes share into the weights; done once, after training."""
        self.decoder.fold()
        for head in self.decoder.heads.values():
            if isinstance(head, Categorical):
                head.weight.data = head.smoothing.columns(head.weight).data
                head.smoothing.folded = True

    def forward(self, codes: Tensor, values: Tensor, generator: torch.Generator | None = None) -> Elbo:
        """Evaluate the ELBO's parts with one posterior sample a row.

        Args:
            codes: int64 [n, variables].
            values: float32 [n, gaussian variables], standardised.
            generator: source of the posterior noise and, in training, of the dropout.
        """
        leaves = self.leaves(codes)
        mu, log_var = self.encoder(codes)
        z = reparameterize(mu, log_var, generator)
        nll = self.decoder.nll(z, codes.T.contiguous(), leaves.T.contiguous(), values.T, generator)
        return Elbo(nll, gaussian_kl(mu, log_var), mu, log_var)

    def leaves(self, codes: Tensor) -> Tensor:
        """Leaf ids (see `vae_core.model.refinement`) of coded rows [n, variables], int64 [n, variables]."""
        leaves = codes + self.factor * codes[:, self.refines]
        for j, variable in enumerate(self.layout.variables):
            if variable.crosses is not None:
                leaves[:, j] += leaves[:, variable.crosses] * variable.size
        return leaves
