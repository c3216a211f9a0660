"""Leaves of a numeric part: atoms (one exact value each) and bins (an interval each), in the order of their values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from vae_core.codec.bins import MIN_ROWS, Bins, cut
from vae_core.codec.grid import Grid
from vae_core.codec.storage import Array, Bools
from vae_core.config import CodecConfig

BELOW_ONE = 1.0 - 2.0**-24  # the largest float32 below 1


@dataclass(frozen=True, eq=False)
class NumericLeaves:
    """Atoms and bins of int64 or float values.

    Attributes:
        atoms: values of the atoms, sorted [a].
        bins: the intervals, or none of them.
        nan: whether NaN is a leaf, the last one.
    """

    atoms: Array
    bins: Bins
    nan: bool

    @classmethod
    def fit(
        cls, uniques: Array, counts: Array, config: CodecConfig, *, closed: bool = False, cuts: Array | None = None
    ) -> tuple[NumericLeaves, Array]:
        """Leaves for sorted distinct values [m] (NaN last, if any) with `counts` rows each, and the rows of each leaf.

        Args:
            uniques: int64, or floats in the column's own width.
            counts: rows of each.
            config: `max_leaves`, `min_frequency`, `atom_rows` and `extremes`: values beyond go to the nearest leaf.
            closed: make no bin, so that only exact values are ever given; the rest goes to the nearest atom.
            cuts: values, ascending, of which no bin holds any beside smaller ones.
        """
        nan_rows = int(counts[-1]) if np.isnan(uniques[-1]) else 0
        if nan_rows:
            uniques, counts = uniques[:-1], counts[:-1]
        low, high = value_limits(uniques, counts, config.extremes)
        inside = (uniques >= low) & (uniques <= high)
        uniques, counts = uniques[inside], counts[inside]
        rows = int(counts.sum())
        few = config.min_frequency
        minimum = max(few, MIN_ROWS)
        share = rows / config.max_leaves
        many = len(uniques) > config.max_leaves
        often = max(few, config.atom_rows)
        is_atom = counts >= (max(often, share) if many else often)
        if not many and counts[~is_atom].sum() < minimum:  # too few for a bin
            is_atom = counts >= few
        rest = ~is_atom
        if counts[rest].sum() < few or closed:
            if not is_atom.any() and len(uniques):  # nothing is frequent: the median stands for all
                is_atom[np.searchsorted(np.cumsum(counts), rows / 2)] = True
            rest[:] = False
        atoms = uniques[is_atom]
        ranges = _between(uniques[rest], counts[rest], cuts, atoms, share, minimum) if rest.any() else []
        grid = Grid.fit(uniques)
        bins, bin_mass = Bins.fit(uniques[rest], counts[rest], ranges, atoms, grid, often)
        leaves = cls(atoms, bins, bool(nan_rows))
        mass = np.zeros(leaves.size, dtype=np.int64)
        mass[leaves._atom_leaf] = counts[is_atom]
        mass[leaves._bin_leaf] = bin_mass
        if nan_rows:
            mass[-1] = nan_rows
        return leaves, mass

    @classmethod
    def of_values(cls, uniques: Array) -> NumericLeaves:
        """One atom for every one of the sorted distinct values (NaN last, if any)."""
        nan = bool(len(uniques)) and bool(np.isnan(uniques[-1]))
        atoms = uniques[:-1] if nan else uniques
        empty = uniques[:0]
        bins, _ = Bins.fit(empty, np.zeros(0, dtype=np.int64), [], atoms, Grid.fit(atoms), 1)
        return cls(atoms, bins, nan)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self.atoms) + len(self.bins) + self.nan

    @property
    def allowed(self) -> Bools:
        """Leaves that may be generated: all, bool [size]."""
        return np.ones(self.size, dtype=bool)

    @property
    def positioned(self) -> bool:
        """Whether decoding reads a position inside the leaf."""
        return len(self.bins) > 0

    @cached_property
    def _order(self) -> Array:
        """Leaf of each atom, then of each bin: by value, a bin counting as its lower end."""
        lower = np.concatenate([self.atoms, self.bins.lower])
        leaf = np.empty(len(lower), dtype=np.int64)
        leaf[np.argsort(lower, kind="stable")] = np.arange(len(lower))
        return leaf

    @property
    def _atom_leaf(self) -> Array:
        return self._order[: len(self.atoms)]

    @property
    def _bin_leaf(self) -> Array:
        return self._order[len(self.atoms) :]

    @cached_property
    def _values(self) -> Array:
        """Value of each leaf: the atom's, or the bin's lower end [size]."""
        lower = np.concatenate([self.atoms, self.bins.lower])
        values = np.empty(self.size, dtype=lower.dtype)
        values[self._order] = lower
        if self.nan:
            values[-1] = np.nan
        return values

    @cached_property
    def _highest(self) -> Array:
        """The largest value at each leaf: the atom's, or the bin's upper end [size]."""
        values = self._values.copy()
        values[self._bin_leaf] = self.bins.upper
        return values

    @cached_property
    def _bin_of_leaf(self) -> Array:
        """Bin of each leaf, -1 for an atom [size]."""
        which = np.full(self.size, -1, dtype=np.int64)
        which[self._bin_leaf] = np.arange(len(self.bins))
        return which

    @cached_property
    def limits(self) -> tuple[Any, Any]:
        """The smallest and the largest value that is given, NaN aside; a pair of zeros when there is none."""
        ends = np.concatenate([self.atoms, self.bins.lower, self.bins.upper])
        return (ends.min(), ends.max()) if len(ends) else (0, 0)

    def ends(self, leaf: Array) -> tuple[Array, Array]:
        """The smallest and the largest value at each leaf [n]."""
        return self._values[leaf], self._highest[leaf]

    def is_atom(self, leaf: Array) -> Bools:
        """Whether each leaf is one exact value."""
        return np.asarray(self._bin_of_leaf[leaf] < 0)

    def encode(self, values: Array) -> Array:
        """Leaves int64 [n] of values [n]; a value that no leaf holds gets the nearest one."""
        leaf = np.full(len(values), -1, dtype=np.int64)
        if len(self.atoms):
            at = np.minimum(np.searchsorted(self.atoms, values), len(self.atoms) - 1)
            exact = self.atoms[at] == values
            leaf[exact] = self._atom_leaf[at[exact]]
        left = np.flatnonzero(leaf < 0)
        if len(left) and len(self.bins):
            which, held = self.bins.find(values[left])
            leaf[left[held]] = self._bin_leaf[which[held]]
            left = left[~held]
        if len(left):
            leaf[left] = self._nearest(values[left])
        return leaf

    def _nearest(self, values: Array) -> Array:
        """The leaf nearest to each of `values`, which no leaf holds; NaN gets the NaN leaf, or the first one."""
        ends = np.concatenate([self.atoms, self.bins.lower, self.bins.upper]).astype(np.float64)
        owner = np.concatenate([self._order, self._bin_leaf])
        order = np.argsort(ends, kind="stable")
        ends, owner = ends[order], owner[order]
        nan = np.isnan(values)
        leaf = np.full(len(values), self.size - 1 if self.nan else 0, dtype=np.int64)
        if len(ends):
            x = values[~nan].astype(np.float64)
            right = np.clip(np.searchsorted(ends, x), 0, len(ends) - 1)
            below = np.maximum(right - 1, 0)
            with np.errstate(over="ignore"):  # farther than any float: infinitely far will do
                nearer = np.abs(x - ends[below]) <= np.abs(ends[right] - x)
            leaf[~nan] = owner[np.where(nearer, below, right)]
        return leaf

    def decode(self, leaf: Array, position: Array | None = None) -> Array:
        """Values [n] of leaves [n] at float positions [n] in [0, 1) (the middle when not given)."""
        values = np.asarray(self._values[leaf])
        if len(self.bins):
            which = self._bin_of_leaf[leaf]
            inside = which >= 0
            rows = slice(None) if inside.all() else np.flatnonzero(inside)
            which = which[rows]
            u = (
                np.full(len(which), 0.5)
                if position is None
                else np.clip(position[rows].astype(np.float64), 0, BELOW_ONE)
            )
            values[rows] = self.bins.draw(which, u)
        return values

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        grid = self.bins.grid
        return {
            "leaves": "numeric",
            "dtype": self.atoms.dtype.str,
            "grid": None if grid is None else grid.to_dict(),
            "atoms": self.atoms.tolist(),
            "nan": self.nan,
            "bins": self.bins.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> NumericLeaves:
        """Inverse of `to_dict`."""
        dtype = np.dtype(data["dtype"])
        grid = None if data["grid"] is None else Grid.from_dict(data["grid"], dtype)
        atoms = np.array(data["atoms"], dtype=dtype)
        return cls(atoms, Bins.from_dict(data["bins"], atoms, grid), data["nan"])


def _between(
    values: Array, counts: Array, cuts: Array | None, atoms: Array, share: float, minimum: int
) -> list[tuple[int, int]]:
    """The ranges of `bins.cut`, made apart between the cuts; where too few rows are for a bin there is none."""
    places = [0, *([] if cuts is None else np.searchsorted(values, cuts)), len(values)]
    found = []
    for first, last in pairwise(places):
        if cuts is None or counts[first:last].sum() >= minimum:
            ranges = cut(values[first:last], counts[first:last], atoms, share, minimum)
            found += [(first + start, first + stop) for start, stop in ranges]
    return found


def value_limits(uniques: Array, counts: Array, few: int) -> tuple[Any, Any]:
    """The few-th smallest and few-th largest value, a row counting once each: what is given lies between them.

    For what lies beyond would point at a row. The median is both where there are too few rows for two limits.

    Args:
        uniques: sorted distinct values, not NaN [m].
        counts: rows of each.
        few: at least 1.
    """
    if not len(uniques):
        return 0, 0
    cumulative = np.cumsum(counts)
    rows = int(cumulative[-1])
    ends = [few, rows + 1 - few] if 2 * few <= rows + 1 else [(rows + 1) // 2] * 2
    low, high = uniques[np.searchsorted(cumulative, ends)]
    return low, high
