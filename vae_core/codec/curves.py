"""Columns that are a function of one other: the logarithm of an amount, a square, the diameter of an area."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vae_core.codec.grid import Grid
from vae_core.codec.relations import How, Ladder, Relation, described, is_number, numbers, present, some_rows
from vae_core.codec.storage import Array, Bools
from vae_core.config import CodecConfig
from vae_core.schema import Schema

_SAMPLE = 2_048  # rows on which curves are looked for
_FEWEST = 64  # rows that may tell one
_ALIKE = 0.9  # correlation of the ranks of two columns, before a curve is looked for
_EXACT = 0.95  # share of rows that lie on the curve, at least
_TIES = 1.001  # halves of a step that a value may be off
_DIGITS = 8  # after the point of a coefficient, fewer than, where these do
_POWERS = (0.0, 1.0, 2.0, 3.0, 0.5, -1.0, 1.5, -2.0, -0.5, 1 / 3, 2 / 3)  # Tukey's (1977) ladder, 0 the logarithm


def find_curves(arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig) -> list[Relation]:
    """The columns that are a power or the logarithm of another one but for factor and constant, which is none itself.

    Of two columns that say each other the later one is told, unless it says the earlier one better.

    Args:
        arrays: the learned columns.
        schema: what they are.
        config: `split_above` and `extremes`.
    """
    arrays = {k: array for k, array in arrays.items() if is_number(array, schema.columns[k])}
    if len(arrays) < 2:
        return []
    rows = len(next(iter(arrays.values())))
    chosen = pa.array(np.unique(np.linspace(0, rows - 1, min(rows, _SAMPLE), dtype=np.int64)))
    some = {k: array.take(chosen) for k, array in arrays.items()}
    x = {k: numbers(array).astype(np.float64) for k, array in some.items()}
    there = {k: present(array) for k, array in some.items()}
    found: dict[int, Relation] = {}
    for early, late in _alike(x):
        for target, source in ((late, early), (early, late)):
            if source in found or target in found or any(r.sources == (target,) for r in found.values()):
                continue
            if (able := described(arrays[target], config.extremes, config.split_above)) is None:
                continue
            grid, smooth = _steps(able[0], numbers(arrays[target])[present(arrays[target])])
            both = there[target] & there[source]
            curve = _fit(x[target], x[source], both, grid, config.min_frequency)
            if curve is None:
                continue
            ladder = replace(curve[0], smooth=smooth)
            relation = Relation(How.CURVE, target, (source,), (curve[1],), curve[2], grid, able[1], ladder=ladder)
            if _holds(relation, arrays):
                found[target] = relation
                break
    return list(found.values())


def _steps(grid: Grid, values: Array) -> tuple[Grid, bool]:
    """The grid, and whether the values aren't on it: then one coarse enough for the noise of single floats."""
    if Grid.fit(np.unique(values)) == grid:
        return grid, False
    return replace(grid, decimals=grid.decimals - 1), True


def _alike(x: Mapping[int, Array]) -> Iterator[tuple[int, int]]:
    """Pairs of columns that rise or fall together, the one that comes first in the table first."""
    names = [k for k, values in sorted(x.items()) if values.min() < values.max()]
    if len(names) < 2:
        return
    ranks = np.column_stack([np.unique(x[k], return_inverse=True)[1] for k in names]).astype(np.float64)
    alike = np.abs(np.corrcoef(ranks, rowvar=False)) >= _ALIKE
    for i, j in np.argwhere(np.triu(alike, 1)).tolist():
        yield names[i], names[j]


def _fit(y: Array, x: Array, both: Bools, grid: Grid, few: int) -> tuple[Ladder, float, float] | None:
    """The power, the factor and the constant of the curve on which nearly all of `both` lie."""
    half = _TIES * grid.step / 10.0**grid.decimals / 2
    for shift in (0.0, 1.0):
        for power in _POWERS:
            ladder = Ladder(power, shift)
            known = both & ladder.known(x)
            telling = known & _uncommon(y, known)
            if telling.sum() < _FEWEST or known.sum() < both.sum() / 2 or (shift and power):
                continue
            u, v = ladder(x[telling]), y[telling]
            near = np.maximum(half, 1e-9 * np.abs(v))
            line = _line(u, v, near)
            if line is None:
                continue
            values, rows = np.unique(y[both & ~known], return_counts=True)
            common = float(values[rows.argmax()]) if rows.max(initial=0) >= few else line[1]
            return replace(ladder, otherwise=common), *line
    return None


def _line(u: Array, v: Array, near: Array) -> tuple[float, float] | None:
    """Factor and constant, of few digits where these do, of the line through nearly all of the points."""
    if not (np.isfinite(u).all() and u.std() > 0):
        return None

    def share(a: float, c: float) -> float:
        return float((np.abs(v - a * u - c) < near).mean())

    factor, constant = (float(each) for each in np.polyfit(u, v, 1))
    through = float(np.median(v[u != 0] / u[u != 0]))
    best = max(share(factor, constant), share(through, 0.0))
    if best < _EXACT:
        return None
    for digits in range(_DIGITS):
        if (a := round(through, digits)) and share(a, 0.0) >= best:
            return a, 0.0
    for digits in range(_DIGITS):
        if a := round(factor, digits):
            middle = float(np.median(v - a * u))
            for c in (round(middle, places) for places in range(_DIGITS)):
                if share(a, c) >= best:
                    return a, c
    return factor, constant


def _uncommon(y: Array, rows: Bools) -> Bools:
    """Where `y` [n] isn't what it is on most of these rows: that most are nothing in two columns says little."""
    values, counts = np.unique(y[rows], return_counts=True)
    return np.asarray(y != values[counts.argmax()]) if len(values) else rows


def _holds(relation: Relation, arrays: Mapping[int, pa.Array]) -> bool:
    """Whether nearly all rows that have both values lie on the curve, and of those that tell."""
    arrays = some_rows(relation, arrays)
    both = present(arrays[relation.column]) & present(arrays[relation.sources[0]])
    y = numbers(arrays[relation.column])
    exact = relation.rest(y, arrays) == 0
    return all(bool(rows.any() and exact[rows].mean() >= _EXACT) for rows in (both, both & _uncommon(y, both)))
