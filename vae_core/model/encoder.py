"""The encoder q(z|x): codes to the mean and log-variance of a diagonal Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae_core.model.layout import Layout


class Encoder(nn.Module):
    """q(z|x) = N(μ(x), diag σ²(x)).

    One embedding a code, summed over the sub-columns (a linear layer on the one-hot row), then two hidden layers.
    """

    def __init__(self, layout: Layout, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.offsets: Tensor
        self.register_buffer("offsets", torch.from_numpy(layout.code_offsets), persistent=False)
        self.embedding = nn.Parameter(torch.randn(sum(layout.sizes), hidden) * len(layout.sizes) ** -0.5)
        self.hidden = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, 2 * latent_dim)
        nn.init.zeros_(self.output.bias)

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Encode rows.

        Args:
            codes: int64 [n, variables].

        Returns:
            μ and log σ², each float32 [n, latent].
        """
        h = torch.relu(nn.functional.embedding_bag(codes + self.offsets, self.embedding, mode="sum"))
        h = torch.relu(self.hidden(h))
        mu, log_var = self.output(h).chunk(2, dim=1)
        # σ within [e⁻⁵, e²]: outside, one step of a young encoder can overflow the KL.
        return mu, log_var.clamp(-10.0, 4.0)
