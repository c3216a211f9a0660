"""Neighbouring codes of an ordered variable share what is learned about either.

A weight w_k of code k enters the model as Σ_d a_d·w_{k+d} over its neighbours, so each row of data moves a neighbourhood
of weights. After training the sums are written into the weights; the exported model knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

REACH = 4  # neighbours on each side
SPREAD = 2.0  # standard deviation of the Gaussian over neighbours, in codes
OWN = 0.3  # share of a code's own weight beside the neighbourhood's


class OrdinalSmoothing(nn.Module):
    """A short convolution along the codes of each variable.

    Args:
        blocks: (codes, how many of the first are ordered) of each variable.
        separate: the variables lie along the first axis, [variables, ..., codes], rather than one after the other.
    """

    def __init__(self, blocks: Sequence[tuple[int, int]], separate: bool = False) -> None:
        super().__init__()
        offsets = torch.arange(-REACH, REACH + 1)
        kernel = torch.exp(-0.5 * (offsets / SPREAD) ** 2)
        own = (offsets == 0).float()
        taps = []
        for size, ordered in blocks:
            code = torch.arange(size)[:, None]
            within = (code < ordered) & (code + offsets >= 0) & (code + offsets < ordered)
            near = torch.where(within, kernel, 0.0)
            near = near / near.sum(dim=1, keepdim=True).clamp_min(1e-9)
            taps.append(torch.where(code < ordered, OWN * own + (1 - OWN) * near, own).T)
        self.taps: Tensor | None
        self.register_buffer(
            "taps", torch.stack(taps, dim=1)[:, :, None] if separate else torch.cat(taps, dim=1), persistent=False
        )

    def forward(self, weights: Tensor) -> Tensor:
        """Smooth weights [..., codes] along the last axis."""
        if self.taps is None:
            return weights
        return sum(
            (torch.roll(weights, REACH - i, dims=-1) * tap for i, tap in enumerate(self.taps)),
            start=torch.zeros((), device=weights.device),
        )

    def fold(self, weights: nn.Parameter) -> None:
        """Write the smoothed weights in place of the plain ones, and do nothing from now on."""
        weights.data = self(weights.data)
        self.taps = None
