"""The decoder p(x|z): autoregressive across sub-columns, with a small head for each.

    h₀ = trunk(z);   h_s = h₀ + c_s + Σ_{k before step s} E_k[x_k];   p(x_j | x_{<j}, z) = head_j(relu(h_s))

The sum is shared by all heads, as in NADE (Larochelle & Murray 2011), so one row costs one pass. A step draws one
sub-column, or a coarse code and its fine code.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from vae_core.model.layout import Layout, Variable
from vae_core.model.likelihoods import LIKELIHOODS, Likelihood


class Decoder(nn.Module):
    """p(x|z) = Π_j p(x_j | x_{<j}, z)."""

    def __init__(self, layout: Layout, latent_dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layout = layout
        self.hidden = hidden
        self.offsets: Tensor
        self.before: Tensor
        self.register_buffer("offsets", torch.from_numpy(layout.offsets)[:, None], persistent=False)
        # before[s, 0] = 1 is the trunk's part of step s, before[s, 1 + k] = 1 where variable k is drawn in an earlier step.
        step_of = torch.tensor(layout.steps)
        earlier = torch.arange(int(step_of[-1]) + 1)[:, None] > step_of[None, :-1]
        self.register_buffer("before", nn.functional.pad(earlier.float(), (1, 0), value=1.0), persistent=False)
        self.trunk = nn.Sequential(nn.Linear(latent_dim, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, hidden))
        self.embedding = nn.Embedding(sum(layout.sizes), hidden)
        nn.init.normal_(self.embedding.weight, std=len(layout.sizes) ** -0.5)
        self.shift = nn.Parameter(torch.zeros(len(self.before), hidden))
        self.dropout = nn.Dropout(dropout)
        self.groups: dict[str, list[int]] = {}
        for j, variable in enumerate(layout.variables):
            self.groups.setdefault(_group(variable), []).append(j)
        self.heads = nn.ModuleDict(
            {
                group: LIKELIHOODS[layout.variables[members[0]].likelihood](
                    hidden, [layout.variables[j] for j in members]
                )
                for group, members in self.groups.items()
            }
        )

    def head(self, j: int) -> tuple[Likelihood, int]:
        """The heads that variable `j` is part of, and its place among them."""
        group = _group(self.layout.variables[j])
        return cast(Likelihood, self.heads[group]), self.groups[group].index(j)

    def hidden_states(self, z: Tensor, codes: Tensor) -> Tensor:
        """h of every step, given the true codes before it.

        Args:
            z: float32 [n, latent].
            codes: int64 [variables, n].

        Returns:
            float32 [steps, n, hidden].
        """
        embedded = self.embedding(codes[:-1] + self.offsets[:-1])
        terms = torch.cat([self.trunk(z)[None], embedded]).flatten(1)
        # Sums as a product with a matrix of zeros and ones: it runs on all cores, forward and backward.
        return torch.mm(self.before, terms).view(-1, len(z), self.hidden) + self.shift[:, None]

    def nll(self, z: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """-log p(x_j | x_{<j}, z) of every variable, in nats.

        Args:
            z: float32 [n, latent].
            codes: int64 [variables, n].
            values: float32 [gaussian variables, n], standardised.

        Returns:
            float32 [variables, n].
        """
        # One dropout mask a row for all its variables (Gal & Ghahramani 2016): a unit is there for all or for none.
        kept = self.dropout(torch.ones(len(z), self.hidden, device=z.device))
        active = torch.relu_(self.hidden_states(z, codes)) * kept
        nothing = torch.zeros_like(codes[0])
        steps = self.layout.steps
        parts: list[Tensor | None] = [None] * len(codes)
        for group, members in self.groups.items():
            of_group = active.index_select(0, torch.tensor([steps[j] for j in members], device=active.device))
            parents = [self.layout.variables[j].parent for j in members]
            given = torch.stack([nothing if parent is None else codes[parent] for parent in parents])
            head = cast(Likelihood, self.heads[group])
            nll = head.nll(of_group, codes[torch.tensor(members, device=codes.device)], given, values)
            for j, part in zip(members, nll, strict=True):
                parts[j] = part
        return torch.stack([part for part in parts if part is not None])


def _group(variable: Variable) -> str:
    """Heads that run as one product: those of one likelihood and, when categorical, of similar width."""
    if variable.likelihood != "categorical":
        return variable.likelihood
    return f"categorical_{1 << (variable.size - 1).bit_length()}"
