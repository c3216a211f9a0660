"""What the model is told of the codec: one variable a sub-column, in the order in which the decoder draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.codec.leaves import NumericLeaves
from vae_core.model.frequencies import marginal, smoothing
from vae_core.model.places import places
from vae_core.model.refinement import leaf_counts, leaf_ids, refined
from vae_core.model.regression import Design, Regression
from vae_core.model.structure import Structure


@dataclass(frozen=True)
class Variable:
    """One sub-column as a random variable of the decoder.

    Attributes:
        name: of the sub-column.
        size: number of codes.
        likelihood: key of `vae_core.model.likelihoods.LIKELIHOODS`.
        parent: index of an earlier variable whose leaf selects the row of `counts`, or None.
        tied: whether it is the parent's code that does, as the codec has it: some codes need others.
        refines: index of the variable whose code this one refines (a fine code's coarse one), or None.
        crosses: index of an earlier variable, whose leaf and this one's code are a leaf together, or None.
        within: index of the coarse variable, for a fine code of bins: it says where in the coarse one a number lies.
        members: int32 [size, columns], of a joint code: the code of each of its columns.
        places: float32 [rows of its embedding, PLACES] (see `places`), for ordered codes.
        scores: float32 [1 or parent's codes, size], of a number that is predicted: the normal scores of its codes.
        prediction: index of the prediction that is about it, of such a number.
        spread: of what that leaves open, a standard deviation.
        intervals: bool [leaves], for a fine code that refines one: which leaves are bins rather than one value each.
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
    crosses: int | None = None
    tied: bool = False
    within: int | None = None
    members: npt.NDArray[np.int32] | None = None
    places: npt.NDArray[np.float32] | None = None
    intervals: npt.NDArray[np.bool_] | None = None
    scores: npt.NDArray[np.float32] | None = None
    prediction: int | None = None
    spread: float = 1.0

    def log_frequencies(self) -> npt.NDArray[np.float32]:
        """float32 [rows, size]: log frequencies given the parent's code, smoothed towards those over all rows.

        Of a number that is predicted they are those over all rows: the prediction says more than the parent, whose
        rows are there for calibration.
        """
        everywhere = marginal(self.counts.sum(axis=0), self.possible)
        if self.prediction is not None and not self.tied:
            return np.log(np.broadcast_to(everywhere, self.counts.shape)).astype(np.float32)
        smoothed = self.counts + smoothing(self.counts, everywhere) * everywhere
        frequencies: npt.NDArray[np.float64] = smoothed / smoothed.sum(axis=1, keepdims=True)
        return np.log(frequencies).astype(np.float32)


def frequencies(codec: Codec, codes: npt.NDArray[np.int32], structure: Structure) -> list[npt.NDArray[np.float64]]:
    """`Variable.counts`, [rows, size] of each variable, of rows with the codes int32 [n, sub_columns]."""
    sizes = [int(sub.size) for sub in codec.sub_columns]
    refines = refined(codec)
    leaves = leaf_ids(codes, sizes, refines, structure.crosses)
    rows_of = leaf_counts(sizes, refines, structure.crosses)
    found = []
    for j, (sub, parent) in enumerate(zip(codec.sub_columns, structure.parents, strict=True)):
        row, rows = np.zeros(len(codes), np.int64), 1
        if parent is not None and sub.parent is not None:
            row, rows = codes[:, parent].astype(np.int64), sizes[parent]
        elif parent is not None:
            row, rows = leaves[:, parent], rows_of[parent]
        counts = np.bincount(row * sub.size + codes[:, j], minlength=rows * sub.size)
        found.append(counts.reshape(rows, sub.size).astype(np.float64))
    return found


@dataclass(frozen=True)
class Layout:
    """All variables of a model, and what predicts some of them."""

    variables: tuple[Variable, ...]
    regression: Regression | None = None

    @classmethod
    def from_codec(cls, codec: Codec, codes: npt.NDArray[np.int32], structure: Structure) -> Layout:
        """Describe `codec`'s sub-columns.

        Args:
            codec: gives names, sizes, and the codes that may be generated.
            codes: int32 [n, sub_columns], training rows, whose frequencies the heads start from.
            structure: what was found of how the variables hang together.
        """
        variables = []
        refines, within, intervals = refined(codec), inside(codec), _intervals(codec)
        found = frequencies(codec, codes, structure)
        regression, predicted = None, {}
        if structure.told:
            regression = Regression.fit(Design(codec, codes), codes, structure.told)
            predicted = regression.predicted
        for j, (sub, parent) in enumerate(zip(codec.sub_columns, structure.parents, strict=True)):
            counts = found[j]
            allowed = np.ones(counts.shape, bool)
            if sub.allowed is not None:
                allowed &= np.asarray(sub.allowed, bool).reshape(-1, sub.size)
            # A coarse code without fine codes of its own: give it its first one, so that every row can be normalised.
            allowed[~allowed.any(axis=1), 0] = True
            if sub.gaussian:
                likelihood = "gaussian"
            elif sub.size == 2 and not sub.position and allowed.all():
                likelihood = "bernoulli"
            elif j in predicted:
                likelihood = "located"
            else:
                likelihood = "categorical"
            prediction, spread = predicted.get(j, (None, 1.0))
            variables.append(
                Variable(
                    name=sub.name,
                    size=int(sub.size),
                    likelihood=likelihood,
                    parent=parent,
                    counts=counts,
                    # A pooled level is never generated, but any row may have it.
                    possible=allowed | (counts > 0) | (sub.allowed is None or sub.allowed.ndim == 1),
                    allowed=allowed,
                    edges=sub.edges if sub.gaussian else None,
                    ordered=int(sub.ordered),
                    column=sub.column,
                    refines=refines[j],
                    crosses=structure.crosses[j],
                    tied=sub.parent is not None,
                    within=within[j],
                    members=sub.members,
                    intervals=intervals.get(j),
                    scores=None if prediction is None or regression is None else regression.scores[j],
                    prediction=prediction,
                    spread=spread,
                    places=_places_of(codec, codes, j, within[j]) if refines[j] is None and sub.ordered > 2 else None,
                )
            )
        return cls(tuple(variables), regression)

    @property
    def default_hidden(self) -> int:
        """Width of the decoder when the configuration gives none, a multiple of 16 within [64, 128].

        Levels are told apart by tables; what pairs of ordered columns say about each other takes hidden units
        (docs/decisions.md). Many variables make each unit dear.
        """
        wanted = min(2.5 * self._ordered_columns**2, 10_000 / len(self.variables))
        return int(np.clip(wanted // 16 * 16, 64, 128))

    @property
    def default_inner(self) -> int:
        """Units of each head's own layer when the configuration gives none: for a few ordered columns one is enough."""
        return 32 if 2.5 * self._ordered_columns**2 >= 64 else 0

    @property
    def _ordered_columns(self) -> int:
        return len({variable.column for variable in self.variables if variable.ordered > 2})

    def default_dropout(self, hidden: int) -> float:
        """Share of hidden units dropped when the configuration gives none: 0.1 for 64 units and 30,000 rows.

        It grows as the square root of units a row, within [0.05, 0.4].
        """
        rows = max(float(self.variables[0].counts.sum()), 1.0)
        return float(np.clip(0.1 * np.sqrt(hidden / 64 * 30_000 / rows), 0.05, 0.4))

    @property
    def sizes(self) -> list[int]:
        """Number of codes of each variable."""
        return [variable.size for variable in self.variables]

    @property
    def leaves(self) -> list[int]:
        """Number of leaf ids of each variable."""
        return leaf_counts(self.sizes, [v.refines for v in self.variables], [v.crosses for v in self.variables])

    @property
    def embedded(self) -> list[int]:
        """Number of rows of each variable's embedding: its leaves, or its codes inside each coarse one."""
        return [
            rows if v.within is None else v.size * self.variables[v.within].size
            for v, rows in zip(self.variables, self.leaves, strict=True)
        ]

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64 [variables]: where the rows of each variable's embedding begin when all are numbered through."""
        return np.concatenate([[0], np.cumsum(self.embedded)[:-1]]).astype(np.int64)

    @property
    def code_offsets(self) -> npt.NDArray[np.int64]:
        """int64 [variables]: where each variable's codes begin when all codes are numbered through."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def refinement(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(index, factor), int64 [variables] each: leaf ids are codes + factor * codes[index], but for crossed ones."""
        index = [0 if v.refines is None else v.refines for v in self.variables]
        factor = [0 if v.refines is None else v.size for v in self.variables]
        return np.array(index, np.int64), np.array(factor, np.int64)

    @property
    def nesting(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(index, factor), int64 [variables] each: a row's embedding rows are leaf ids + factor * codes[index]."""
        index = [0 if v.within is None else v.within for v in self.variables]
        factor = [0 if v.within is None else v.size for v in self.variables]
        return np.array(index, np.int64), np.array(factor, np.int64)

    @property
    def gaussians(self) -> list[int]:
        """Indices of the variables with a Gaussian likelihood, in order."""
        return [j for j, variable in enumerate(self.variables) if variable.likelihood == "gaussian"]


def _intervals(codec: Codec) -> dict[int, npt.NDArray[np.bool_]]:
    """For each sub-column that refines another, and each leaf (see `Layout.leaves`), whether it is a bin."""
    found, refines = {}, refined(codec)
    for part, coarse, fine in codec.split_parts:
        if refines[fine] is not None and isinstance(part.leaves, NumericLeaves) and part.layout is not None:
            pairs = np.indices((codec.sub_columns[coarse].size, codec.sub_columns[fine].size)).reshape(2, -1)
            leaf = part.layout.decode(list(pairs))
            known = np.minimum(leaf, part.leaves.size - 1)
            found[fine] = (leaf < part.leaves.size) & ~part.leaves.is_atom(known)
    return found


def inside(codec: Codec) -> list[int | None]:
    """For each sub-column of `codec` that is the fine code of bins, the coarse one."""
    refines = refined(codec)
    within: list[int | None] = [None] * len(codec.sub_columns)
    for _, coarse, fine in codec.split_parts:
        ordered = min(codec.sub_columns[coarse].ordered, codec.sub_columns[fine].ordered) > 2
        if refines[fine] is None and ordered:
            within[fine] = coarse
    return within


def _places_of(codec: Codec, codes: npt.NDArray[np.int32], j: int, coarse: int | None) -> npt.NDArray[np.float32]:
    """`places` of a sub-column's codes; of a fine code inside each coarse one, beside the place of that."""
    sub = codec.sub_columns[j]
    if coarse is None:
        return places(np.bincount(codes[:, j], minlength=sub.size), sub.ordered)
    outer = codec.sub_columns[coarse]
    of_coarse = places(np.bincount(codes[:, coarse], minlength=outer.size), outer.ordered)
    pairs = codes[:, coarse].astype(np.int64) * sub.size + codes[:, j]
    of_pair = places(np.bincount(pairs, minlength=outer.size * sub.size), outer.ordered * sub.size)
    return of_pair - np.repeat(of_coarse, sub.size, axis=0)
