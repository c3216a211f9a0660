"""Codes that have something in common share what is learned about any of them.

The weights of ordered codes enter the model through a low-pass filter: of their discrete cosine transform, the k-th
component is damped by 1 / (1 + (k / CUTOFF)²), so that weights that change slowly from code to code are learned fast,
and those that tell neighbours apart slowly. Those of a joint code are taken apart into what goes with each of its
columns, as in an analysis of variance, and what goes with their combination; the latter is damped. After training the
filtered weights are written into the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dct
from torch import Tensor, nn

from vae_core.model.layout import Variable

CUTOFF = 6.0
FINE_CUTOFF = 1.0  # of codes that say where in a bin a number lies: little more than a slope
INTERACTION = 0.2  # what is left of the weights of combinations


class Smoothing(nn.Module):
    """A filter for each variable, the identity on codes that have nothing in common.

    Args:
        variables: whose codes' weights are filtered.
        cutoffs: of each, for ordered codes.
    """

    def __init__(self, variables: Sequence[Variable], cutoffs: Sequence[float]) -> None:
        super().__init__()
        self.folded = False
        self.sizes = [variable.size for variable in variables]
        matrices = torch.eye(max(self.sizes)).repeat(len(variables), 1, 1)
        for matrix, variable, cutoff in zip(matrices, variables, cutoffs, strict=True):
            if variable.members is not None:
                matrix[: variable.size, : variable.size] = joint_filter(variable.members)
            elif variable.ordered > 1:
                matrix[: variable.ordered, : variable.ordered] = ordinal_filter(variable.ordered, cutoff)
        self.matrices: Tensor
        self.register_buffer("matrices", matrices, persistent=False)

    def rows(self, j: int, weights: Tensor) -> Tensor:
        """Filter weights [..., codes, units] of variable j over its codes."""
        return weights if self.folded else torch.matmul(self.matrices[j, : self.sizes[j], : self.sizes[j]], weights)

    def columns(self, weights: Tensor) -> Tensor:
        """Filter weights [variables, units, codes] over their codes."""
        return weights if self.folded else torch.bmm(weights, self.matrices.transpose(1, 2))


def ordinal_filter(ordered: int, cutoff: float) -> Tensor:
    """Symmetric, float32 [ordered, ordered]."""
    frequency = np.arange(ordered)
    cosines = dct(np.eye(ordered), axis=0, norm="ortho")
    return torch.from_numpy(cosines.T @ np.diag(1 / (1 + (frequency / cutoff) ** 2)) @ cosines).float()


def joint_filter(members: npt.NDArray[np.int32]) -> Tensor:
    """Symmetric, float32 [combinations, combinations], for each column's code in every combination [., columns]."""
    effects = np.concatenate([np.eye(column.max() + 1)[column] for column in members.T], axis=1)
    main = effects @ np.linalg.pinv(effects)  # the projection on what goes with the columns by themselves
    return torch.from_numpy(main + INTERACTION * (np.eye(len(members)) - main)).float()
