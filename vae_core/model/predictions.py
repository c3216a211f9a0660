"""The predictions of `vae_core.model.regression` as a part of the decoder: sums over the codes drawn so far."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vae_core.model.regression import Regression, Term


class Predictions(nn.Module):
    """shift + Σ_k features_k[x_k] · coefficients_k over the variables k before each number that is predicted.

    Attributes:
        terms: by variable, for those that some prediction reads.
        rows: where the rows of each begin in `table`.
    """

    def __init__(self, regression: Regression) -> None:
        super().__init__()
        self.terms: dict[int, Term] = {
            k: term
            for k, term in enumerate(regression.terms)
            if term is not None and any(k < target for target in regression.targets)
        }
        sizes = [len(term.features) for term in self.terms.values()]
        self.rows = dict(zip(self.terms, [0, *np.cumsum(sizes)[:-1].tolist()], strict=True))
        self.shift = nn.Parameter(torch.from_numpy(regression.intercept))
        self.coefficients: nn.Parameter | None = nn.Parameter(torch.from_numpy(regression.coefficients))
        self.folded: nn.Parameter | None = None
        for k, term in self.terms.items():
            self.register_buffer(f"features_{k}", torch.from_numpy(term.features), persistent=False)
            reads = torch.tensor([float(k < target) for target in regression.targets])
            self.register_buffer(f"reads_{k}", reads, persistent=False)

    def table(self) -> Tensor:
        """What each code adds to each prediction, float32 [rows of all terms, predictions]."""
        if self.folded is not None:
            return self.folded
        assert self.coefficients is not None
        coefficients = self.coefficients
        return torch.cat(
            [
                getattr(self, f"features_{k}") @ (coefficients[term.coefficients] * getattr(self, f"reads_{k}"))
                for k, term in self.terms.items()
            ]
        )

    def fold(self) -> None:
        """Write the table out; done once, after training."""
        self.folded = nn.Parameter(self.table().detach())
        self.coefficients = None

    def row(self, k: int, codes: Tensor | list[Tensor], size: int) -> Tensor:
        """The row of variable `k`, which has `size` codes, in `table`, int64 [n]; `codes` are int64 [variables, n]."""
        within = self.terms[k].within
        row: Tensor = codes[k] + self.rows[k]
        return row if within is None else row + codes[within] * size

    def forward(self, codes: Tensor, sizes: list[int]) -> Tensor:
        """Predict each row's normal scores.

        Args:
            codes: int64 [variables, n]; of a prediction's own variable and those after it none is read.
            sizes: of the variables.

        Returns:
            float32 [predictions, n].
        """
        rows = torch.stack([self.row(k, codes, sizes[k]) for k in self.terms], dim=1)
        return (nn.functional.embedding_bag(rows, self.table(), mode="sum") + self.shift).T
