"""The decoder p(x|z): autoregressive across sub-columns, with a small head for each.

    h₀ = W·z + b;   h_j = h₀ + c_j + Σ_{k<j} E_k[x_k];   p(x_j | x_{<j}, z) = head_j(relu(h_j))

The sum is shared by all heads, as in NADE (Larochelle & Murray 2011), so one row costs one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vae_core.model.activations import activations
from vae_core.model.layout import Layout, Variable
from vae_core.model.likelihoods import LIKELIHOODS, Likelihood
from vae_core.model.places import PLACES
from vae_core.model.predictions import Predictions
from vae_core.model.smoothing import CUTOFF, Smoothing

TRUSTED = 100.0  # rows of a bin of whose own embedding half counts


class Decoder(nn.Module):
    """p(x|z) = Π_j p(x_j | x_{<j}, z)."""

    def __init__(self, layout: Layout, latent_dim: int, hidden: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layout = layout
        self.hidden = hidden
        self.offsets: Tensor
        self.owner: Tensor
        self.place: Tensor
        self.trust: Tensor
        self.nested: Tensor
        self.factor: Tensor
        self.register_buffer("offsets", torch.from_numpy(layout.offsets)[:, None], persistent=False)
        for name, index in zip(("nested", "factor"), layout.nesting, strict=True):
            self.register_buffer(name, torch.from_numpy(index)[:, None], persistent=False)
        owner = np.repeat(np.arange(len(layout.sizes)), layout.embedded)
        self.register_buffer("owner", torch.from_numpy(owner), persistent=False)
        self.trunk = nn.Linear(latent_dim, hidden)
        # The fine code of a bin has no embedding of its own: it only is a place.
        self.own = [
            0 if v.within is not None else v.size if v.crosses is not None else leaves
            for v, leaves in zip(layout.variables, layout.leaves, strict=True)
        ]
        self.embedding = nn.Parameter(torch.randn(sum(self.own), hidden) * len(layout.sizes) ** -0.5)
        # What a combination says beyond its codes: nothing, of one that was never seen.
        self.crossed = [
            0 if v.crosses is None else leaves for v, leaves in zip(layout.variables, layout.leaves, strict=True)
        ]
        self.combinations: nn.Parameter | None = None
        if any(self.crossed):
            self.combinations = nn.Parameter(torch.zeros(sum(self.crossed), hidden))
        trust = [_trust(v, own) for v, own in zip(layout.variables, self.own, strict=True)]
        self.register_buffer("trust", torch.from_numpy(np.concatenate(trust)).float()[:, None], persistent=False)
        self.smoothing = Smoothing(layout.variables, [CUTOFF] * len(layout.variables))
        # One curve an ordered column: a fine code goes on where its coarse one has put the row.
        curves = [j if v.within is None else v.within for j, v in enumerate(layout.variables) if v.places is not None]
        self.curve_of = {j: i for i, j in enumerate(dict.fromkeys(curves))}
        self.curves: nn.Parameter | None = nn.Parameter(
            torch.randn(len(self.curve_of), PLACES, hidden) * (10 * len(layout.sizes)) ** -0.5
        )
        for j, variable in enumerate(layout.variables):
            if variable.places is not None:
                self.register_buffer(f"places_{j}", torch.from_numpy(variable.places), persistent=False)
        self.shift = nn.Parameter(torch.zeros(len(layout.sizes), hidden))
        self.predictions = None if layout.regression is None else Predictions(layout.regression)
        self.dropout = dropout
        self.groups: dict[str, list[int]] = {}
        for j, variable in enumerate(layout.variables):
            self.groups.setdefault(_group(variable), []).append(j)
        order = torch.tensor([j for members in self.groups.values() for j in members])
        self.register_buffer("place", torch.argsort(order), persistent=False)
        self.heads = nn.ModuleDict(
            {
                group: LIKELIHOODS[layout.variables[members[0]].likelihood](
                    hidden, inner, [layout.variables[j] for j in members]
                )
                for group, members in self.groups.items()
            }
        )

    def head(self, j: int) -> tuple[Likelihood, int]:
        """The heads that variable `j` is part of, and its place among them."""
        group = _group(self.layout.variables[j])
        return cast(Likelihood, self.heads[group]), self.groups[group].index(j)

    def embeddings(self) -> Tensor:
        """What each variable's codes add to the hidden state, float32 [rows of all embeddings, hidden]."""
        if self.curves is None:
            return self.embedding
        curves = self.curves.unbind()
        tables = []
        every = torch.split(self.trust * self.embedding, self.own)
        nothing = self.embedding.new_empty(0, self.hidden)
        beyond = torch.split(nothing if self.combinations is None else self.combinations, self.crossed)
        for j, (variable, own, crossed) in enumerate(zip(self.layout.variables, every, beyond, strict=True)):
            if variable.within is None:
                # The fine codes of a coarse one are neighbours.
                table = self.smoothing.rows(j, own.view(-1, variable.size, self.hidden)).flatten(0, 1)
                if variable.places is not None:
                    table = torch.addmm(table, getattr(self, f"places_{j}"), curves[self.curve_of[j]])
                if len(crossed):
                    combined = self.smoothing.rows(j, crossed.view(-1, variable.size, self.hidden))
                    table = (combined + table).flatten(0, 1)
            else:
                table = getattr(self, f"places_{j}") @ curves[self.curve_of[variable.within]]
            tables.append(table)
        return torch.cat(tables)

    def fold(self) -> None:
        """Write the embeddings out; done once, after training."""
        if self.curves is not None:
            self.embedding.data = self.embeddings().data
            self.curves = self.combinations = None
            if self.predictions is not None:
                self.predictions.fold()

    def active(self, z: Tensor, codes: Tensor, leaves: Tensor, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """relu(h_j) of every variable, given the true codes before it.

        Args:
            z: float32 [n, latent].
            codes: int64 [variables, n].
            leaves: int64 [variables, n], leaf ids.
            scale: float32 [n, hidden], what the results are multiplied by; not negative.

        Returns:
            float32 [members, n, hidden] for each of `groups`.
        """
        # Each variable's shift travels with what is added before it, which costs one addition a code, not one a row.
        steps = torch.cat([self.shift.diff(dim=0), self.shift[:1]])
        table = self.embeddings() + steps[self.owner]
        embedded = nn.functional.embedding(self.rows(codes, leaves)[:-1], table)
        return activations(self.trunk(z) + self.shift[0], embedded, scale, list(self.groups.values()))

    def rows(self, codes: Tensor, leaves: Tensor) -> Tensor:
        """Each code's row of `embeddings`, int64 [variables, n]; the arguments as in `active`."""
        return leaves + self.factor * codes[self.nested[:, 0]] + self.offsets

    def given(self, members: Sequence[int], codes: Tensor, leaves: Tensor) -> Tensor:
        """The row of each variable's biases that its parent selects, int64 [members, n]; arguments as in `active`."""
        variables, nothing = [self.layout.variables[j] for j in members], torch.zeros_like(codes[0])
        return torch.stack(
            [nothing if v.parent is None else (codes if v.tied else leaves)[v.parent] for v in variables]
        )

    def predicted(self, codes: Tensor) -> Tensor:
        """Normal scores of the numbers that are predicted, float32 [predictions, n], of codes int64 [variables, n]."""
        if self.predictions is None:
            return self.shift.new_empty(0, codes.shape[1])
        return cast(Tensor, self.predictions(codes, self.layout.sizes))

    def nll(
        self, z: Tensor, codes: Tensor, leaves: Tensor, values: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """-log p(x_j | x_{<j}, z) of every variable, in nats.

        Args:
            z: float32 [n, latent].
            codes: int64 [variables, n].
            leaves: int64 [variables, n], leaf ids of the same rows.
            values: float32 [gaussian variables, n], standardised.
            generator: source of the dropout, in training.

        Returns:
            float32 [variables, n].
        """
        scale = None
        if self.training and self.dropout > 0:
            # One mask a row for all its variables (Gal & Ghahramani 2016): a unit is there for all or for none.
            kept = torch.rand(len(z), self.hidden, generator=generator, device=z.device) >= self.dropout
            scale = kept / (1 - self.dropout)
        costs = []
        active, predicted = self.active(z, codes, leaves, scale), self.predicted(codes)
        for (group, members), of_group in zip(self.groups.items(), active, strict=True):
            given = self.given(members, codes, leaves)
            costs.append(cast(Likelihood, self.heads[group]).nll(of_group, codes[members], given, values, predicted))
        return torch.cat(costs)[self.place]


def _trust(variable: Variable, own: int) -> npt.NDArray[np.float64]:
    """How much of each leaf's own embedding counts, float64 [own]: the fewer rows a fine bin has, the less.

    Where a column is half frequent values and half bins, most bins have few rows, and what they tell of the row is that
    it is near the values beside them.
    """
    if variable.intervals is None:
        return np.ones(own)
    return np.where(variable.intervals, variable.counts.ravel() / (variable.counts.ravel() + TRUSTED), 1.0)


def _group(variable: Variable) -> str:
    """Heads that run as one product: those of one likelihood and, when over codes, of similar width."""
    if variable.likelihood not in ("categorical", "located"):
        return variable.likelihood
    return f"{variable.likelihood}_{1 << (variable.size - 1).bit_length()}"
