"""What the model is told of the codec: one variable a sub-column, in the order in which the decoder draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec

SMOOTHING = 10.0  # pseudo-rows


@dataclass(frozen=True)
class Variable:
    """One sub-column as a random variable of the decoder.

    Attributes:
        name: of the sub-column.
        size: number of codes.
        likelihood: key of `vae_core.model.likelihoods.LIKELIHOODS`.
        parent: index of an earlier variable whose code selects the row of `counts`, or None.
        counts: float64 [rows, size], occurrences in the training rows; rows = 1 without a parent.
        possible: bool [rows, size], codes that occur or may be generated.
        allowed: bool [rows, size], codes that may be generated.
        ordered: how many codes, from the first, stand in the order of their values.
        edges: float32 [size - 1] or [size - 2], Gaussian only: where the codes meet, in standardised units.
    """

    name: str
    size: int
    likelihood: str
    parent: int | None
    counts: npt.NDArray[np.float64]
    possible: npt.NDArray[np.bool_]
    allowed: npt.NDArray[np.bool_]
    edges: npt.NDArray[np.float32] | None = None
    ordered: int = 0

    def log_frequencies(self) -> npt.NDArray[np.float32]:
        """float32 [rows, size]: log frequencies given the parent's code, smoothed towards those over all rows."""
        everywhere = np.where(self.possible, self.counts.sum(axis=0) + 0.5, 1e-9)
        everywhere /= everywhere.sum(axis=1, keepdims=True)
        smoothed = self.counts + SMOOTHING * everywhere
        frequencies: npt.NDArray[np.float64] = smoothed / smoothed.sum(axis=1, keepdims=True)
        return np.log(frequencies).astype(np.float32)


@dataclass(frozen=True)
class Layout:
    """All variables of a model."""

    variables: tuple[Variable, ...]

    @classmethod
    def from_codec(cls, codec: Codec, codes: npt.NDArray[np.int32], parents: Sequence[int | None]) -> Layout:
        """Describe `codec`'s sub-columns.

        Args:
            codec: gives names, sizes, and the codes that may be generated.
            codes: int32 [n, sub_columns], training rows, whose frequencies the heads start from.
            parents: each variable's parent (see `dependence_tree`); a codec's own parents are among them.
        """
        variables = []
        for j, (sub, parent) in enumerate(zip(codec.sub_columns, parents, strict=True)):
            rows = 1 if parent is None else int(codec.sub_columns[parent].size)
            row = np.zeros(len(codes), np.int64) if parent is None else codes[:, parent].astype(np.int64)
            counts = np.bincount(row * sub.size + codes[:, j], minlength=rows * sub.size).reshape(rows, sub.size)
            allowed = np.ones((rows, sub.size), bool)
            if sub.allowed is not None:
                allowed &= np.asarray(sub.allowed, bool).reshape(-1, sub.size)
            # A coarse code without fine codes of its own: give it its first one, so that every row can be normalised.
            allowed[~allowed.any(axis=1), 0] = True
            if sub.gaussian:
                likelihood = "gaussian"
            elif sub.size == 2 and not sub.position and allowed.all():
                likelihood = "bernoulli"
            else:
                likelihood = "categorical"
            variables.append(
                Variable(
                    name=sub.name,
                    size=int(sub.size),
                    likelihood=likelihood,
                    parent=parent,
                    counts=counts.astype(np.float64),
                    possible=allowed | (counts > 0),
                    allowed=allowed,
                    edges=sub.edges if sub.gaussian else None,
                    ordered=int(sub.ordered),
                )
            )
        return cls(tuple(variables))

    @property
    def sizes(self) -> list[int]:
        """Number of codes of each variable."""
        return [variable.size for variable in self.variables]

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64 [variables]: where each variable's codes begin when all codes are numbered through."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def gaussians(self) -> list[int]:
        """Indices of the variables with a Gaussian likelihood, in order."""
        return [j for j, variable in enumerate(self.variables) if variable.likelihood == "gaussian"]
