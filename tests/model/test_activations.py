"""Activations made one after the other are those of the formula, and so are their gradients."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.model.activations import activations


@settings(deadline=None)
@given(st.integers(1, 5).flatmap(lambda n: st.permutations(range(n))), st.integers(1, 5), st.booleans(), st.integers(0))
def test_activations_and_gradients_are_those_of_the_formula(
    order: list[int], cut: int, scaled: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed % 2**32)
    first, terms, weight = (
        torch.randn(*shape, 3, 4, generator=generator, dtype=torch.float64)
        for shape in ((), (len(order) - 1,), (len(order),))
    )
    scale = torch.rand(3, 4, generator=generator, dtype=torch.float64).sub(0.3).clamp_min(0) if scaled else None
    groups = [group for group in (order[:cut], order[cut:]) if group]

    def by_formula(first: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
        states = torch.relu(torch.cat([first[None], first + terms.cumsum(dim=0)]))
        return torch.cat([states[group] for group in groups]) * (1 if scale is None else scale)

    results = []
    for method in (by_formula, lambda *given: torch.cat(activations(*given, scale, groups))):
        leaves = [tensor.clone().requires_grad_() for tensor in (first, terms)]
        made = method(*leaves)
        results.append([made, *torch.autograd.grad((made * weight).sum(), leaves)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
