"""What the model is told of the codec: one variable a sub-column, in the order in which the decoder draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.parts import Part

SMOOTHING = 10.0  # pseudo-rows
MAX_LEAVES = 2048  # pairs of a coarse and a fine code that get an embedding each


@dataclass(frozen=True)
class Variable:
    """One sub-column as a random variable of the decoder.

    Attributes:
        name: of the sub-column.
        size: number of codes.
        likelihood: key of `vae_core.model.likelihoods.LIKELIHOODS`.
        parent: index of an earlier variable whose leaf selects the row of `counts`, or None.
        refines: index of the variable whose code this one refines (a fine code's coarse one), or None.
        counts: float64 [rows, size], occurrences in the training rows; rows = 1 without a parent.
        possible: bool [rows, size], codes that may occur or be generated.
        allowed: bool [rows, size], codes that may be generated.
        column: of the source.
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
    column: str = ""
    refines: int | None = None

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
        refines = refined(codec)
        leaves = leaf_ids(codes, refines, [sub.size for sub in codec.sub_columns])
        rows_of = leaf_counts(codec)
        for j, (sub, parent) in enumerate(zip(codec.sub_columns, parents, strict=True)):
            rows = 1 if parent is None else rows_of[parent]
            row = np.zeros(len(codes), np.int64) if parent is None else leaves[:, parent].astype(np.int64)
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
                    # A pooled level is never generated, but any row may have it.
                    possible=allowed | (counts > 0) | (sub.allowed is None or sub.allowed.ndim == 1),
                    allowed=allowed,
                    edges=sub.edges if sub.gaussian else None,
                    ordered=int(sub.ordered),
                    column=sub.column,
                    refines=refines[j],
                )
            )
        return cls(tuple(variables))

    @property
    def default_hidden(self) -> int:
        """Width of the decoder when the configuration gives none: 16 units an ordered column, within [64, 160].

        Levels are told apart by tables; what numbers say about each other takes hidden units (docs/decisions.md).
        """
        ordered = {variable.column for variable in self.variables if variable.ordered > 2}
        return int(np.clip(16 * len(ordered) // 32 * 32, 64, 160))

    @property
    def sizes(self) -> list[int]:
        """Number of codes of each variable."""
        return [variable.size for variable in self.variables]

    @property
    def leaves(self) -> list[int]:
        """Number of leaf ids of each variable: its codes, or for a fine one the pairs of a coarse and a fine code."""
        return [v.size if v.refines is None else v.size * self.variables[v.refines].size for v in self.variables]

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64 [variables]: where each variable's leaf ids begin when all of them are numbered through."""
        return np.concatenate([[0], np.cumsum(self.leaves)[:-1]]).astype(np.int64)

    @property
    def code_offsets(self) -> npt.NDArray[np.int64]:
        """int64 [variables]: where each variable's codes begin when all codes are numbered through."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def refinement(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(index, factor), int64 [variables] each: a row's leaf ids are codes + factor * codes[index]."""
        index = [0 if v.refines is None else v.refines for v in self.variables]
        factor = [0 if v.refines is None else v.size for v in self.variables]
        return np.array(index, np.int64), np.array(factor, np.int64)

    @property
    def gaussians(self) -> list[int]:
        """Indices of the variables with a Gaussian likelihood, in order."""
        return [j for j, variable in enumerate(self.variables) if variable.likelihood == "gaussian"]


def refined(codec: Codec) -> list[int | None]:
    """For each sub-column of `codec` the one that it refines: of a fine code the coarse one.

    That is for levels and atoms, whose pairs mean something each, if there are not too many. The fine code of a bin
    only says where in the coarse one a number lies: it is embedded by itself, and learned from more rows.
    """
    refines: list[int | None] = [None] * len(codec.sub_columns)
    for part in codec.parts:
        if isinstance(part, Part) and len(part.subs) == 2:
            coarse, fine = part.subs
            few = codec.sub_columns[coarse].size * codec.sub_columns[fine].size <= MAX_LEAVES
            leaves = part.leaves
            bins = isinstance(leaves, NumericLeaves) and leaves.is_atom(np.arange(leaves.size)).mean() < 0.5
            if few and not bins:
                refines[fine] = coarse
    return refines


def leaf_counts(codec: Codec) -> list[int]:
    """Number of leaf ids of each sub-column (see `Layout.leaves`)."""
    subs = codec.sub_columns
    return [
        int(sub.size if coarse is None else sub.size * subs[coarse].size)
        for sub, coarse in zip(subs, refined(codec), strict=True)
    ]


def leaf_ids(
    codes: npt.NDArray[np.integer], refines: Sequence[int | None], sizes: Sequence[int]
) -> npt.NDArray[np.int64]:
    """int64 [n, sub_columns]: codes, where a fine code becomes the number of its (coarse, fine) pair."""
    leaves = codes.astype(np.int64)
    for j, coarse in enumerate(refines):
        if coarse is not None:
            leaves[:, j] += leaves[:, coarse] * sizes[j]
    return leaves
