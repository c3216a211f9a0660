"""relu(h_j) of all variables, in one go over the memory they take.

With a hundred variables the hidden states of a batch are far larger than a core's cache. Each is made, scaled and cut
off while it lies there; so are the gradients on the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor


class _Activations(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, first: Tensor, terms: Tensor, scale: Tensor | None, groups: Sequence[Sequence[int]]
    ) -> tuple[Tensor, ...]:
        made = tuple(first.new_empty(len(members), *first.shape) for members in groups)
        state = first.clone() if scale is None else first * scale
        # relu(h) · scale = relu(h · scale), so that it is enough to scale what h is a sum of.
        for term, active in zip([None, *terms.unbind()], _in_order(made, groups), strict=True):
            if term is not None:
                state = state.add_(term) if scale is None else state.addcmul_(term, scale)
            torch.clamp_min(state, 0, out=active)
        ctx.save_for_backward(*made, *([] if scale is None else [scale]))
        ctx.groups = groups
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        groups = ctx.groups
        made, scale = ctx.saved_tensors[: len(groups)], ctx.saved_tensors[len(groups) :]
        actives, backs = _in_order(made, groups), _in_order(gradients, groups)
        terms = actives[0].new_empty(len(actives) - 1, *actives[0].shape)
        state = torch.zeros_like(actives[0])
        for active, back, term in zip(actives[:0:-1], backs[:0:-1], terms.unbind()[::-1], strict=True):
            state += torch.ops.aten.threshold_backward(back, active, 0)
            if scale:
                torch.mul(state, scale[0], out=term)
            else:
                term.copy_(state)
        state += torch.ops.aten.threshold_backward(backs[0], actives[0], 0)
        return state * scale[0] if scale else state, terms, None, None


def activations(
    first: Tensor, terms: Tensor, scale: Tensor | None, groups: Sequence[Sequence[int]]
) -> tuple[Tensor, ...]:
    """relu(h_j) · scale with h_j = first + Σ_{k<j} terms_k, of every variable j.

    Args:
        first: float [n, hidden].
        terms: float [variables - 1, n, hidden].
        scale: float [n, hidden], not negative, or none; it gets no gradient.
        groups: of variables, each of which is in one of them.

    Returns:
        For each group float [variables of the group, n, hidden].
    """
    return cast(tuple[Tensor, ...], _Activations.apply(first, terms, scale, groups))  # type: ignore[no-untyped-call]


def _in_order(stacked: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> list[Tensor]:
    """The members of all groups' tensors [members, n, hidden], variable by variable."""
    found = {
        j: one
        for many, members in zip(stacked, groups, strict=True)
        for j, one in zip(members, many.unbind(), strict=True)
    }
    return [found[j] for j in range(len(found))]
