"""Drafts: parts while they are being fitted, their values as integers on which everything is decided."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.dependencies import Candidate, Dependency
from vae_core.codec.forms import Form, Leaves, LevelForm, Values, sorted_levels
from vae_core.codec.leaves import NumericLeaves, value_limits
from vae_core.codec.levels import Levels
from vae_core.codec.nesting import Nest
from vae_core.codec.storage import Array, Bools
from vae_core.config import CodecConfig
from vae_core.schema import Kind, Schema

POOLED_ROWS = 0.05  # share of rows whose level is pooled, past which a part determines nothing
_LOOSE_ROWS = 0.005  # share of rows that a numeric determinant may move to its nearest atom
_MEASURED = (Kind.INTEGER, Kind.REAL, Kind.DECIMAL)


@dataclass(frozen=True)
class Withheld:
    """What is never given of a part, for it would point at a few rows.

    Attributes:
        name: of the part: its column, or `column.part`.
        levels: how many levels are too rare.
        level_rows: rows that have one of them.
        extreme_rows: rows whose number lies beyond the extremes.
    """

    name: str
    levels: int
    level_rows: int
    extreme_rows: int


@dataclass(eq=False)
class Draft:
    """A part while it is being fitted: `ids` are the indices of each row's value in `uniques`, the last one missing."""

    column: int
    name: str
    ids: Array
    uniques: Values
    counts: Array
    nulls: int
    alone: bool
    gaussian: bool
    measured: bool  # whether values that are near each other mean nearly the same
    leaves: Leaves
    mass: Array
    exact: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # leaf id of each id, as a determinant
    dependency: Dependency | None = None
    spans: Array | None = None  # of weeks of the year
    nest: Nest | None = None

    @property
    def constant(self) -> bool:
        """Whether one value only is ever given."""
        return not self.leaves.positioned and int(self.leaves.allowed.sum()) == 1

    def leaf_of_id(self) -> Array:
        """Leaf of each unique value, and of missing."""
        return np.append(self.leaves.encode(self.uniques), self.leaves.size)

    def candidate(self, carrier: bool) -> Candidate:
        """The part as both ends of a dependency; sets `exact`.

        Args:
            carrier: whether the part says where its column is missing, which a constant one tells if anything.
        """
        exact = self.leaf_of_id()
        if isinstance(self.leaves, Levels):
            exact[:-1][exact[:-1] >= len(self.leaves.values)] = -1
            limit = POOLED_ROWS
            beyond = np.zeros(len(self.uniques), dtype=bool)
        else:
            same = self.leaves.is_atom(exact[:-1])
            given = self.leaves.decode(exact[:-1])
            same &= (given == self.uniques) | (np.isnan(given) & np.isnan(np.asarray(self.uniques)))
            exact[:-1][~same] = -1
            limit = _LOOSE_ROWS
            low, high = self.leaves.limits
            beyond = (self.uniques < low) | (self.uniques > high)  # such are never given
        atoms = np.unique(exact[exact >= 0])
        exact[exact >= 0] = np.searchsorted(atoms, exact[exact >= 0])  # bins, which are to go, are not counted
        loose = self.counts[(exact[:-1] < 0) & ~beyond].sum()
        told = not self.constant or (carrier and self.nulls > 0)
        source = told and not self.gaussian and loose <= POOLED_ROWS * len(self.ids)
        dependent = not self.gaussian and (self.alone or not self.nulls)
        size = len(self.uniques) + (self.nulls > 0)
        self.exact = exact
        leaves = exact[self.ids] if source else None
        numbers = self._numbers() if self.measured else None
        names = isinstance(self.leaves, Levels)
        return Candidate(
            self.ids, size, leaves, len(atoms), dependent, numbers, names, loose=loose > limit * len(self.ids)
        )

    def withheld(self, config: CodecConfig) -> Withheld:
        """What is never given."""
        if isinstance(self.leaves, Levels):
            rare = self.counts < config.min_frequency if self.leaves.pooled else np.zeros(0, dtype=bool)
            return Withheld(self.name, int(rare.sum()), int(self.counts[: len(rare)][rare].sum()), 0)
        uniques = np.asarray(self.uniques)
        known = ~np.isnan(uniques)
        low, high = value_limits(uniques[known], self.counts[known], config.extremes)
        return Withheld(self.name, 0, 0, int(self.counts[(uniques < low) | (uniques > high)].sum()))

    def _numbers(self) -> Array | None:
        numbers = np.asarray(self.uniques).astype(np.float64)
        return np.append(numbers, np.inf) if np.isfinite(numbers).all() else None


def draft_parts(
    index: int, form: Form, array: pa.Array, rest: Array | None, schema: Schema, config: CodecConfig
) -> list[Draft]:
    """The drafts of a column's parts; of `rest` instead of its values, where a relation makes the column."""
    name = schema.columns[index].name
    wants_gaussian = schema.columns[index].likelihood == "gaussian"
    missing = storage.missing_mask(array)
    drafts = []
    for suffix, values in zip(form.parts, form.split(array) if rest is None else [rest], strict=True):
        gaussian = wants_gaussian and not isinstance(values, pa.Array) and len(form.parts) == 1
        ids, uniques, counts = factorise(values, missing)
        leaves: Leaves
        if isinstance(values, pa.Array):
            leaves, mass = Levels.fit(uniques, counts, config.min_frequency)
        else:
            leaves, mass = NumericLeaves.fit(uniques, counts, config)
        label = f"{name}.{suffix}" if suffix else name
        alone = len(form.parts) == 1
        measured = schema.columns[index].kind in _MEASURED and not isinstance(values, pa.Array)
        drafts.append(
            Draft(index, label, ids, uniques, counts, array.null_count, alone, gaussian, measured, leaves, mass)
        )
    return drafts


def as_levels(
    draft: Draft, array: pa.Array, schema: Schema, config: CodecConfig, rare: float = POOLED_ROWS
) -> Draft | None:
    """Integers as levels, if at most this share of the rows has one that is too rare."""
    (named,) = draft_parts(draft.column, LevelForm(array.type), array, None, schema, config)
    assert isinstance(named.leaves, Levels)
    kept = named.leaf_of_id() < len(named.leaves.values)
    if named.counts[~kept[:-1]].sum() > rare * len(named.ids):
        return None
    kept[-1] = True  # missing
    named.exact = np.where(kept, draft.exact, -1)
    return named


def factorise(values: Values, missing: Bools | None) -> tuple[Array, Values, Array]:
    """Ids int32 [n] (missing gets the number of uniques), sorted distinct values (NaN last) and the rows of each."""
    uniques: Values
    present = values
    if missing is not None:
        present = values.filter(pa.array(~missing)) if isinstance(values, pa.Array) else values[~missing]
    if isinstance(present, pa.Array):
        encoded = present if pa.types.is_dictionary(present.type) else present.dictionary_encode()
        found = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        rows = np.bincount(found, minlength=len(encoded.dictionary))
        order = sorted_levels(encoded.dictionary).to_numpy(zero_copy_only=False)
        order = order[rows[order] > 0]
        rank = np.zeros(len(rows), dtype=np.int32)
        rank[order] = np.arange(len(order))
        found, uniques, counts = rank[found], encoded.dictionary.take(pa.array(order)), rows[order]
    else:
        import pandas as pd  # only here: generation, which never fits, starts 0.3 s sooner without it

        found, uniques = pd.factorize(present, sort=True, use_na_sentinel=False)
        counts = np.bincount(found, minlength=len(uniques))
    if missing is None:
        return found.astype(np.int32), uniques, counts
    ids = np.full(len(missing), len(counts), dtype=np.int32)
    ids[~missing] = found
    return ids, uniques, counts
