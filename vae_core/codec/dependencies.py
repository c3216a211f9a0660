"""Functional dependencies between parts: what one part says about another on every row is not learned but looked up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_core.codec.storage import Array

MAX_VALUES = 65_536  # values of a part that is looked up, at most
_SUPPORT = 5  # rows a value of the determinant, on average
_KEY = 128  # values of a name, beyond which what determines it is a key
_MINORITY_SUPPORT = 3  # the same among the rows that do not have the dependent's commonest value
_SAMPLE = 5_000


@dataclass(frozen=True, eq=False)
class Candidate:
    """A part as both ends of a dependency may see it.

    Attributes:
        values: id of each row's exact value, missing being one, int32 [n].
        size: number of ids.
        leaves: id of each row's leaf as a determinant: -1 where the leaf is never generated or not one exact value,
            int32 [n]; `None` when the part can't be a determinant.
        leaf_count: number of leaf ids.
        dependent: whether the part may be looked up.
        numbers: value of each id, the last one, infinite, for missing: float64; `None` where nearness means nothing.
        names: whether the values are names, not numbers or times.
        loose: whether so many rows are at no exact value that the part is a determinant only if it is a key.
    """

    values: Array
    size: int
    leaves: Array | None
    leaf_count: int
    dependent: bool
    numbers: Array | None = None
    names: bool = False
    loose: bool = False


@dataclass(frozen=True, eq=False)
class Dependency:
    """A part's value id (-1 where nothing is known) for each leaf id of its determinant, or of each of its two."""

    determinants: tuple[int, ...]
    table: Array


Told = dict[int, dict[int, Array]]  # by part, then by each part that says its value on every row: that of each leaf


def tell(candidates: list[Candidate]) -> Told:
    """What each part is a function of.

    A key determines names of many values, as a post code does a town; a price has no need of that.
    """
    told: Told = {}
    rows = len(candidates[0].values) if candidates else 0
    step = max(1, rows // _SAMPLE)
    samples = [np.ascontiguousarray(candidate.values[::step]) for candidate in candidates]
    for a, source in enumerate(candidates):
        if source.leaves is None or not 2 <= source.leaf_count < rows / _SUPPORT:
            continue
        sample = np.ascontiguousarray(source.leaves[::step])
        tables: dict[int, Array] = {}
        for b, target in enumerate(candidates):
            if a == b or not target.dependent or not 2 <= target.size <= MAX_VALUES:
                continue
            if _table(sample, samples[b], source.leaf_count) is None:
                continue
            table = _table(source.leaves, target.values, source.leaf_count)
            if table is not None and _is_evident(source.leaves, target.values, table):
                tables[b] = table
        if source.loose and not any(candidates[b].names and candidates[b].size > _KEY for b in tables):
            continue
        for b, table in tables.items():
            told.setdefault(b, {})[a] = table
    return told


def find(candidates: list[Candidate], told: Told) -> dict[int, Dependency]:
    """The parts that are functions of another one, each with its determinant, which is never a dependent itself.

    Of two parts that determine each other the first is the determinant. Of several determinants the one with the fewest
    leaves is taken.
    """
    found: dict[int, Dependency] = {}
    for b, tables in told.items():
        roots = [a for a in tables if not _determined(a, told)]
        if roots and _determined(b, told):
            best = min(roots, key=lambda a: (candidates[a].leaf_count, a))
            found[b] = Dependency((best,), tables[best])
    return found


def _determined(part: int, told: Told) -> bool:
    """Whether another part determines this one, and is not determined by it in turn unless it comes first."""
    return any(part not in told.get(a, {}) or a < part for a in told.get(part, {}))


def _table(leaves: Array, values: Array, leaf_count: int) -> Array | None:
    """The value id for each leaf id, if no leaf has two."""
    known = leaves >= 0
    table = np.full(leaf_count + 1, -1, dtype=np.int64)
    table[leaves] = values  # leaf -1 is the last entry, which is not looked at
    return table[:-1] if bool(((table[leaves] == values) | ~known).all()) else None


def _is_evident(leaves: Array, values: Array, table: Array) -> bool:
    """Whether the dependent varies over the rows that were checked, with enough rows a leaf not to be chance."""
    counts = np.bincount(leaves[leaves >= 0], minlength=len(table))
    seen = counts > 0
    rows_of_value = np.bincount(table[seen], weights=counts[seen])
    minority = seen & (table != int(np.argmax(rows_of_value)))
    return bool(minority.any()) and int(counts[minority].sum()) >= _MINORITY_SUPPORT * int(minority.sum())
