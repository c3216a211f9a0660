"""Ancestral sampling in torch: one variable after the other, each given those before it."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_core.model.decoder import Decoder
from vae_core.model.likelihoods import Bernoulli, Categorical, Gaussian, Located
from vae_core.model.likelihoods.categorical import IMPOSSIBLE


class Ancestral:
    """Rows being drawn from p(x|z) of a folded decoder, by the inverse CDF: the reference for decoder.onnx.

    Attributes:
        codes: int64 [n] of each variable drawn so far.
        leaves: int64 [n], their leaf ids.
        logits: of each variable drawn so far (mean and log s for a Gaussian one).
        values: float32 [n] of each Gaussian variable drawn so far, standardised.
        units: float32 [n, hidden + inner], what the weights of the next variable's head read.
    """

    def __init__(self, decoder: Decoder, z: Tensor) -> None:
        self.decoder = decoder
        self.codes: list[Tensor] = []
        self.leaves: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.values: list[Tensor] = []
        self._sum = decoder.trunk(z)
        self._predicted = None if decoder.predictions is None else decoder.predictions.shift.repeat(len(z), 1)
        self._advance()

    @property
    def j(self) -> int:
        """Index of the next variable."""
        return len(self.codes)

    def parent_rows(self) -> Tensor:
        """int64 [n]: what the next variable's parent has drawn; 0 without one."""
        variable = self.decoder.layout.variables[self.j]
        if variable.parent is None:
            return torch.zeros(len(self._sum), dtype=torch.long, device=self._sum.device)
        return (self.codes if variable.tied else self.leaves)[variable.parent]

    def scores(self) -> Tensor:
        """The next variable's logits but for its biases, float32 [n, size]; of one over codes."""
        variable = self.decoder.layout.variables[self.j]
        head, member = self.decoder.head(self.j)
        assert isinstance(head, Categorical)
        free = self.units @ head.weight[member, :, : variable.size]
        if not isinstance(head, Located):
            return free
        assert self._predicted is not None
        scores = head.scores_of(member)
        place = scores if len(scores) == 1 else scores[self.parent_rows()]
        peaks = self.units @ head.peaks[member] + head.peaks_shift[member]
        return head.mixture(free, peaks, self._predicted[:, variable.prediction], place)

    def draw(self, u: Tensor, eps: Tensor) -> None:
        """Draw the next variable.

        Args:
            u: float32 [n] in [0, 1).
            eps: float32 [n, gaussian variables], standard normal.
        """
        layout, j = self.decoder.layout, self.j
        variable = layout.variables[j]
        head, member = self.decoder.head(j)
        if isinstance(head, Categorical):
            bias = head.bias[head.rows_of(member), : variable.size]
            bias = bias.masked_fill(~torch.from_numpy(variable.allowed).to(bias.device), IMPOSSIBLE)
            logits = self.scores() + bias[self.parent_rows()]
            cumulative = torch.softmax(logits, dim=1).cumsum(dim=1)
            code = (cumulative <= u[:, None] * cumulative[:, -1:]).sum(dim=1)
        elif isinstance(head, Bernoulli):
            logits = -(self.units @ head.weight[member] + head.bias[head.rows_of(member)][self.parent_rows()])[:, None]
            code = (torch.sigmoid(logits[:, 0]) <= u).long()
        else:
            assert isinstance(head, Gaussian) and variable.edges is not None
            logits = self.units @ head.weight[member] + head.bias[member]
            value = logits[:, 0] + logits[:, 1].clamp(-7.0, 7.0).exp() * eps[:, layout.gaussians.index(j)]
            self.values.append(value)
            code = (torch.from_numpy(variable.edges).to(value) <= value[:, None]).sum(dim=1)
            code = torch.where(self.parent_rows() == 1, variable.size - 1, code)
        self.codes.append(code)
        self.logits.append(logits)
        leaf = code
        if variable.refines is not None:
            leaf = code + self.codes[variable.refines] * variable.size
        elif variable.crosses is not None:
            leaf = code + self.leaves[variable.crosses] * variable.size
        self.leaves.append(leaf)
        if self._predicted is not None and self.decoder.predictions is not None and j in self.decoder.predictions.terms:
            row = self.decoder.predictions.row(j, self.codes, variable.size)
            self._predicted = self._predicted + self.decoder.predictions.table()[row]
        row = leaf if variable.within is None else leaf + self.codes[variable.within] * variable.size
        self._sum = self._sum + self.decoder.embedding[row + int(layout.offsets[j])]
        self._advance()

    def _advance(self) -> None:
        if self.j < len(self.decoder.shift):
            head, member = self.decoder.head(self.j)
            self.units = head.units(member, torch.relu(self._sum + self.decoder.shift[self.j]))


@torch.no_grad()
def sample(decoder: Decoder, z: Tensor, u: Tensor, eps: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Draw whole rows.

    Args:
        decoder: in evaluation mode.
        z: float32 [n, latent].
        u: float32 [n, variables] in [0, 1).
        eps: float32 [n, gaussian variables], standard normal.

    Returns:
        codes int64 [n, variables], and each variable's logits.
    """
    draws = Ancestral(decoder, z)
    for j in range(len(decoder.layout.variables)):
        draws.draw(u[:, j], eps)
    return torch.stack(draws.codes, dim=1), draws.logits
