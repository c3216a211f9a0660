"""Bins of a numeric part: how the rows that are not atoms are cut, and how a value is drawn inside a bin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from vae_core.codec.grid import Grid
from vae_core.codec.storage import Array, Bools, Ints

SEGMENTS = 4  # pieces of equal mass of the law inside a bin
MIN_ROWS = 8  # rows of a bin, at least
BIN_ROWS = 50  # the same where that leaves FEW_BINS bins: of finer ones a model learns the noise
FEW_BINS = 8
MAX_SEEN = 65_536  # seen values kept over all bins, at most
_WIDEST = 2**64 - 4096  # the widest bin whose width fits 64 bits as a float


def cut(values: Array, counts: Array, atoms: Array, share: float, minimum: int) -> list[tuple[int, int]]:
    """Cut sorted `values` [m] with `counts` rows each into bins [first, last) of about `share` rows, or BIN_ROWS.

    A bin is also cut where an atom falls strictly inside it, if both sides keep BIN_ROWS rows. With few rows bins have
    a FEW_BINS-th of them, but at least `minimum`, which is also the least of the last bin.
    """
    cumulative = np.append(0, np.cumsum(counts))
    total = int(cumulative[-1])
    least = max(minimum, min(BIN_ROWS, total / FEW_BINS))
    target = max(share, least)
    bins = max(1, int(total // target))
    edges = [0]
    while edges[-1] < len(values):
        done = int(cumulative[edges[-1]])
        goal = done + max(least, (total - done) / max(1, bins - len(edges) + 1))
        edge = max(edges[-1] + 1, int(np.searchsorted(cumulative, math.ceil(goal - 0.5))))
        if total - cumulative[min(edge, len(values))] < minimum:
            edge = len(values)
        edges.append(min(edge, len(values)))
    places = np.unique(np.searchsorted(values, atoms))  # an atom lies between values[place-1] and values[place]
    cuts = []
    for first, last in pairwise(edges):
        start = first
        for place in places[np.searchsorted(places, first, "right") : np.searchsorted(places, last)]:
            if min(cumulative[place] - cumulative[start], cumulative[last] - cumulative[place]) >= least:
                cuts.append((start, int(place)))
                start = int(place)
        cuts.append((start, last))
    return cuts


@dataclass(frozen=True, eq=False)
class Bins:
    """Intervals of a numeric part and the law of the values inside each.

    With a grid, positions count the grid points that are not atoms ("free" points), so that a bin may straddle atoms
    and never give one. Without a grid they are the values themselves.

    Attributes:
        lower, upper: ends of each bin, values [b]; disjoint and sorted.
        base: free point of `lower`, int64 [b]; zeros without a grid.
        knots: SEGMENTS+1 positions after `base` between which the law is uniform, float64 [b, SEGMENTS+1].
        seen: values that a bin of few frequent values draws from, all bins after one another [s].
        seen_share: cumulated weights of `seen`, restarting in each bin and ending at 1, float64 [s].
        seen_start: where each bin's `seen` begin [b+1]; an empty range means that the bin is drawn from its knots.
        atoms: grid indices of the atoms, sorted int64 [a] (values without a grid).
        grid: the column's grid.
    """

    lower: Array
    upper: Array
    base: Ints
    knots: Array
    seen: Array
    seen_share: Array
    seen_start: Ints
    atoms: Array
    grid: Grid | None

    @classmethod
    def fit(
        cls,
        values: Array,
        counts: Array,
        ranges: list[tuple[int, int]],
        atoms: Array,
        grid: Grid | None,
        few: int,
    ) -> tuple[Bins, Array]:
        """Bins over `ranges` of sorted `values` [m] with `counts`; and the rows of each bin.

        A value of `few` rows is seen, and a piece of a bin's law has as many. A bin that has no point of its own,
        between atoms, is dropped.
        """
        lower, upper, knots, base, mass, seen = [], [], [], [], [], []
        taken = grid.index(atoms) if grid else atoms
        frequent = counts >= few
        keep_seen = int(frequent.sum()) <= MAX_SEEN
        cumulative = np.cumsum(counts)
        quantiles = _quantiles(values, cumulative, np.array(ranges, dtype=np.int64).reshape(-1, 2))
        for (first, last), inner in zip(ranges, quantiles, strict=True):
            x, c = values[first:last], counts[first:last]
            low, high = x[0], x[-1]
            if not grid:
                low, high = _off_ends(low, high, atoms)
                if low > high:
                    continue
            between = np.clip(inner, low, high)
            rows = int(c.sum())
            if grid:
                ends = grid.index(np.array([low, high], dtype=values.dtype))
                start = int(ends[0] - np.searchsorted(taken, ends[0], "left"))
                stop = int(ends[1] - np.searchsorted(taken, ends[1], "right")) + 1
                if stop <= start:
                    continue
                k = grid.index(between)
                free = k - np.searchsorted(taken, k, "left")
                middle = [float(min(max(int(f) - start, 0), stop - 1 - start)) for f in free]  # exact beyond int64
                zero, span = 0.0, float(min(stop - start, _WIDEST))
                base.append(start)
            else:
                middle, zero, span = between.astype(np.float64).tolist(), float(low), float(high)
                base.append(0)
            if rows >= SEGMENTS * few:
                knots.append([zero, *middle, span])
            else:
                even = np.arange(SEGMENTS + 1) / SEGMENTS
                knots.append((zero * (1 - even) + span * even).tolist())
            lower.append(low)
            upper.append(high)
            mass.append(rows)
            often = frequent[first:last] & (x >= low) & (x <= high)
            seen.append((x[often], c[often]) if keep_seen and 2 * c[often].sum() >= rows and often.any() else None)
        parts = [(x, np.cumsum(c) / c.sum()) for x, c in (s for s in seen if s is not None)]
        bins = cls(
            np.array(lower, dtype=values.dtype),
            np.array(upper, dtype=values.dtype),
            np.array(base, dtype=np.int64),
            np.array(knots, dtype=np.float64).reshape(-1, SEGMENTS + 1),
            np.concatenate([values[:0], *(x for x, _ in parts)]),
            np.concatenate([np.zeros(0), *(share for _, share in parts)]),
            np.cumsum([0, *(0 if s is None else len(s[0]) for s in seen)], dtype=np.int64),
            taken,
            grid,
        )
        return bins, np.array(mass, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lower)

    def draw(self, which: Array, position: Array) -> Array:
        """The value of bin which[i] at position[i] in [0, 1); it never decreases with the position."""
        if not len(self.seen):
            return self._draw_knots(which, position)
        from_seen = np.diff(self.seen_start)[which] > 0
        values = np.empty(len(which), dtype=self.lower.dtype)
        values[from_seen] = self._draw_seen(which[from_seen], position[from_seen])
        rest = ~from_seen
        values[rest] = self._draw_knots(which[rest], position[rest])
        return values

    def _draw_seen(self, which: Array, position: Array) -> Array:
        at = np.searchsorted(self._seen_key, which + position, "right")
        return np.asarray(self.seen[np.clip(at, self.seen_start[which], self.seen_start[which + 1] - 1)])

    @cached_property
    def _seen_key(self) -> Array:
        """The bin of each seen value plus its cumulated share in it: sorted over all bins."""
        return np.repeat(np.arange(len(self), dtype=np.float64), np.diff(self.seen_start)) + self.seen_share

    def _draw_knots(self, which: Array, position: Array) -> Array:
        scaled = position * SEGMENTS
        segment = scaled.astype(np.int64)
        part = scaled - segment
        at = which * SEGMENTS + segment
        left, width = (table[at] for table in self._segments)
        if self.grid is None:
            right = self.knots[which, segment + 1]
            lower, upper = self.lower[which], self.upper[which]
            values = (left * (1 - part) + right * part).astype(lower.dtype)
            return self._off_atoms(np.clip(values, lower, upper), lower)
        offset = np.minimum(left + part * width, self._last[which])
        if self._straddles:
            free = _advance(self.base[which], offset)
            index = free + np.searchsorted(self.atoms - np.arange(len(self.atoms)), free, "right")
        else:
            index = _advance(self._first[which], offset)
        values = self.grid.value(index)
        return values if self._exact else np.clip(values, self.lower[which], self.upper[which])

    @cached_property
    def _segments(self) -> tuple[Array, Array]:
        """The lower knot of each segment and the way to the next one, float64 [b · SEGMENTS]."""
        return self.knots[:, :-1].ravel(), np.diff(self.knots).ravel()

    @cached_property
    def _last(self) -> Array:
        """The last point of each bin, counted from its first, float64 [b]."""
        return self.knots[:, -1] - 1

    @cached_property
    def _first(self) -> Ints:
        """The grid index of each bin's first free point, where no atom lies between that and its last one."""
        return self.base + self._atoms_below

    @cached_property
    def _exact(self) -> bool:
        """Whether all spans are exact in float64, so that no value lies beyond its bin."""
        return bool((self.knots[:, -1] < 2**53).all())

    @cached_property
    def _atoms_below(self) -> Ints:
        """Number of atoms below each bin's first free point."""
        return np.asarray(np.searchsorted(self.atoms - np.arange(len(self.atoms)), self.base, "right"))

    @cached_property
    def _straddles(self) -> bool:
        """Whether an atom lies between a bin's first and last free points."""
        last = _advance(self.base, self._last)
        below = np.searchsorted(self.atoms - np.arange(len(self.atoms)), last, "right")
        return bool((below != self._atoms_below).any())

    def _off_atoms(self, values: Array, lower: Array) -> Array:
        """Replace a drawn value that happens to equal an atom by the lower end of its bin."""
        if len(self.atoms):
            at = np.minimum(np.searchsorted(self.atoms, values), len(self.atoms) - 1)
            values = np.where(self.atoms[at] == values, lower, values)
        return values

    def find(self, values: Array) -> tuple[Array, Bools]:
        """The bin that holds each value [n], and whether one does; if none, the first bin above it (or the last)."""
        at = np.minimum(np.searchsorted(self.upper, values), len(self) - 1)
        return at, np.asarray((values >= self.lower[at]) & (values <= self.upper[at]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        arrays = ("lower", "upper", "base", "knots", "seen", "seen_share", "seen_start")
        return {name: getattr(self, name).tolist() for name in arrays}

    @classmethod
    def from_dict(cls, data: dict[str, Any], atoms: Array, grid: Grid | None) -> Bins:
        """Inverse of `to_dict`; `atoms` are the values of the atoms, whose dtype is the column's."""
        return cls(
            np.array(data["lower"], dtype=atoms.dtype),
            np.array(data["upper"], dtype=atoms.dtype),
            np.array(data["base"], dtype=np.int64),
            np.array(data["knots"], dtype=np.float64).reshape(-1, SEGMENTS + 1),
            np.array(data["seen"], dtype=atoms.dtype),
            np.array(data["seen_share"], dtype=np.float64),
            np.array(data["seen_start"], dtype=np.int64),
            grid.index(atoms) if grid else atoms,
            grid,
        )


def _off_ends(low: Any, high: Any, atoms: Array) -> tuple[Any, Any]:
    """The interval without atoms at its ends."""
    if not len(atoms):
        return low, high
    while low <= high and low in atoms:
        low = np.nextafter(low, np.inf, dtype=atoms.dtype)
    while low <= high and high in atoms:
        high = np.nextafter(high, -np.inf, dtype=atoms.dtype)
    return low, high


def _advance(base: Ints, offset: Array) -> Ints:
    """Points `offset` (up to 2^64) after `base`: the sum wraps around as int64 does, and so ends up right."""
    return np.asarray((base.view(np.uint64) + offset.astype(np.uint64)).view(np.int64))


def _quantiles(values: Array, cumulative: Array, ranges: Ints) -> Array:
    """The SEGMENTS-1 inner quantiles [b, SEGMENTS-1] of each range [b, 2] of sorted `values` with cumulated counts."""
    ends = np.append(0, cumulative)[ranges]
    goals = ends[:, :1] + np.diff(ends) * np.arange(1, SEGMENTS) / SEGMENTS
    return np.asarray(values[np.searchsorted(cumulative, goals)])
