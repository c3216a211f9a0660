"""Columns that rise at one rate with another one up to some value of it, and at a second rate from there on.

The size of a change, pay for hours beyond the fortieth, an amount up to its cap, a tariff of two rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from vae_core.codec.curves import robust_line
from vae_core.codec.grid import Grid
from vae_core.codec.relations import (
    TIES,
    How,
    Relation,
    bent,
    coarser,
    described,
    is_number,
    is_smooth,
    numbers,
    present,
    some_rows,
    spread_rows,
)
from vae_core.codec.storage import Array
from vae_core.codec.writing import Writing
from vae_core.config import CodecConfig
from vae_core.schema import Schema

_SAMPLE = 2_048  # rows on which bends are looked for
_FEWEST = 64  # rows on either side of one, at least
_FIRST = 256  # rows on which pairs are tried before all of them
_STEADY = 0.1  # what a column changes by from a row to the next, of its inner spread, if another one says it
_USUAL = 0.9  # share of the rows for which that holds
_BLOCKS = 16  # of rows, between which a bend is looked for
_EXACT = 0.95  # share of rows that lie on the two lines, at least
_TURNS = 3  # by which a bend is found exactly
_SAME = 1e-6  # difference of two rates that are one
_PROMISING = 0.5  # the same on either side, and of lines that are nearly right, as those through rounded numbers
_DIGITS = 8  # after the point of a rate, fewer than, where these do

_Bend: TypeAlias = tuple[float, float, float, float]  # where it is, what the column is there, the rates below and above


def find_bends(
    arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig, curves: Mapping[int, int]
) -> list[Relation]:
    """The columns that are two lines of another one, which meet.

    Args:
        arrays: the learned columns.
        schema: what they are.
        config: `split_above` and `extremes`.
        curves: columns that are told already, each by the column that it comes from.
    """
    arrays = {k: array for k, array in arrays.items() if is_number(array, schema.columns[k]) and k not in curves}
    if len(arrays) < 2:
        return []
    rows = len(next(iter(arrays.values())))
    chosen = pa.array(spread_rows(rows, _SAMPLE))
    some = {k: array.take(chosen) for k, array in arrays.items()}
    x = {k: numbers(array).astype(np.float64) for k, array in some.items()}
    there = {k: present(array) for k, array in some.items()}
    found: dict[int, Relation] = {}
    sources: set[int] = {*curves.values()}
    for source, target in _steady(x, there):
        both = there[source] & there[target]
        if target in found or source in found or target in sources or both.sum() < 2 * _FEWEST:
            continue
        if (able := described(arrays[target], config.extremes, config.split_above)) is None:
            continue
        grid, (low, high) = able
        smooth = is_smooth(arrays[target], grid)
        grid = coarser(grid) if smooth else grid
        if (bend := _fit(x[source][both], x[target][both], grid)) is None:
            continue
        at, constant, below, above = bend
        if below < 0 < above:  # what it is at the bend is no row's: the smallest change is none
            low = min(low, type(low)(constant))
        elif above < 0 < below:
            high = max(high, type(high)(constant))
        relation = Relation(How.BEND, target, (source,), (below, above), constant, grid, (low, high), bend=at)
        if smooth:
            relation = _as_written(relation, some)
        if _holds(relation, arrays):
            found[target] = relation
            sources.add(source)
    return list(found.values())


def _steady(x: Mapping[int, Array], there: Mapping[int, Array]) -> Iterator[tuple[int, int]]:
    """Pairs of columns of which the second hardly changes from a row to the next in the order of the first."""
    names = [*x]
    first = {k: x[k][:_FIRST] for k in names}
    y = np.column_stack([first[k] for k in names])
    known = np.column_stack([there[k][:_FIRST] for k in names])
    inner = [first[k][known[:, i]] for i, k in enumerate(names)]
    spread = np.array([np.ptp(np.quantile(values, (0.05, 0.95))) if len(values) else 0.0 for values in inner])
    for i, source in enumerate(names):
        order = np.argsort(first[source], kind="stable")
        order = order[known[order, i]]
        if len(np.unique(first[source][order])) < _FEWEST:
            continue
        steps = np.abs(np.diff(y[order], axis=0)) <= _STEADY * spread
        steady = (steps | ~known[order[1:]] | ~known[order[:-1]]).mean(axis=0) >= _USUAL
        for j in np.flatnonzero(steady & (spread > 0)).tolist():
            if j != i:
                yield source, names[j]


def _fit(x: Array, y: Array, grid: Grid) -> _Bend | None:
    """The two lines on which nearly all rows [n] lie."""
    near = np.maximum(TIES * grid.step / 10.0**grid.decimals / 2, 1e-9 * np.abs(y))

    def share(bend: _Bend) -> float:
        exact = np.abs(y - bent(x, *bend)) < near
        sides = exact[x <= bend[0]], exact[x > bend[0]]
        return float(exact.mean()) if all(len(side) and side.mean() >= _PROMISING for side in sides) else 0.0

    best = max((bend for at in _places(x) if (bend := _two_lines(x, y, at)) is not None), key=share, default=None)
    if best is None or not share(best):
        return None
    most = max(share(best), _EXACT)
    return next((bend for bend in (*_shorter(best, x, y), best) if share(bend) >= most), None)


def _shorter(bend: _Bend, x: Array, y: Array) -> Iterator[_Bend]:
    """Nearly the same of numbers of few digits, the shortest first: such has whoever made the column taken."""
    left = x <= bend[0]
    for digits in range(_DIGITS):
        for below, above in dict.fromkeys((round(bend[2], a), round(bend[3], b)) for a, b in _up_to(digits)):
            low, high = (float(np.median(y[side] - rate * x[side])) for side, rate in ((left, below), (~left, above)))
            if below != above:
                at = (low - high) / (above - below)
                for places in range(_DIGITS):
                    for a, b in _up_to(places):
                        yield round(at, a) + 0.0, round(low + below * at, b) + 0.0, below + 0.0, above + 0.0  # not -0


def _up_to(digits: int) -> list[tuple[int, int]]:
    """Pairs of numbers of digits of which the greater one is this."""
    return [(digits, other) for other in range(digits + 1)] + [(other, digits) for other in range(digits)]


def _places(x: Array) -> list[float]:
    """Where a bend may be."""
    return [*np.unique(np.quantile(x, np.arange(1, _BLOCKS) / _BLOCKS))]


def _two_lines(x: Array, y: Array, at: float) -> _Bend | None:
    """A line through most rows on either side of `at`, and of where they meet then, if enough rows are on either."""
    constant, below, above = 0.0, 0.0, 0.0
    for turn in range(_TURNS + 1):
        sides = x <= at, x > at
        if any(side.sum() < _FEWEST or not x[side].std() > 0 for side in sides):
            return None
        if turn < _TURNS:
            (below, low), (above, high) = (robust_line(x[side], y[side]) for side in sides)
            if abs(below - above) <= _SAME * max(abs(below), abs(above)):
                return None
            at = (low - high) / (above - below)
            constant = low + below * at
    return at, constant, below, above


def _as_written(relation: Relation, arrays: Mapping[int, pa.Array]) -> Relation:
    """The relation, which gives numbers as precise as the column's, which lie on no grid."""
    there = present(arrays[relation.column]) & present(arrays[relation.sources[0]])
    writing, _ = Writing.of(relation.said(arrays)[there], numbers(arrays[relation.column])[there])
    return replace(relation, writing=writing)


def _holds(relation: Relation, arrays: Mapping[int, pa.Array]) -> bool:
    """Whether nearly all rows that have both values lie on the two lines."""
    arrays = some_rows(relation, arrays)
    both = present(arrays[relation.column]) & present(arrays[relation.sources[0]])
    return bool((relation.rest(numbers(arrays[relation.column]), arrays) == 0)[both].mean() >= _EXACT)
