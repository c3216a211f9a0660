"""Columns that are a function of one other: the logarithm of an amount, a square, the diameter of an area."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from vae_core.codec.grid import Grid
from vae_core.codec.ladder import POWERS, Ladder
from vae_core.codec.relations import (
    TIES,
    How,
    Relation,
    coarser,
    described,
    is_number,
    is_smooth,
    numbers,
    present,
    some_rows,
    spread_rows,
)
from vae_core.codec.storage import Array, Bools
from vae_core.codec.writing import Writing, is_near
from vae_core.config import CodecConfig
from vae_core.schema import Schema

_SAMPLE = 2_048  # rows on which curves are looked for
_FEWEST = 64  # rows that may tell one
_FIRST = 256  # rows on which pairs are tried before all of them
_ALIKE = 0.9  # correlation of the ranks of two columns, before a curve is looked for
_EXACT = 0.95  # share of rows that lie on the curve, at least
_SPARE = 0.1  # share of rows that may be passed over while it is looked for ...
_TRIMMED = 4  # ... as often
_DIGITS = 8  # after the point of a coefficient, fewer than, where these do

_Curve: TypeAlias = tuple[Ladder, Writing | None, float, float]  # the last are its factor and its constant


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
    chosen = pa.array(spread_rows(rows, _SAMPLE))
    some = {k: array.take(chosen) for k, array in arrays.items()}
    x = {k: numbers(array).astype(np.float64) for k, array in some.items()}
    there = {k: present(array) for k, array in some.items()}
    able: dict[int, tuple[Grid, tuple[Any, Any]] | None] = {}
    found: dict[int, Relation] = {}
    for early, late in _alike(x, there):
        both = there[early] & there[late]
        if not _rises(x[early][both][:_FIRST], x[late][both][:_FIRST]):
            continue
        for target, source in ((late, early), (early, late)):
            of_others = any(relation.sources == (target,) for relation in found.values())
            if source in found or target in found or of_others:
                continue
            if target not in able:
                able[target] = described(arrays[target], config.extremes, config.split_above)
            if (told := able[target]) is None:
                continue
            grid, limits = told
            smooth = is_smooth(arrays[target], grid)
            grid = coarser(grid) if smooth else grid
            curve = _fit(x[target], x[source], both, grid, smooth, config.min_frequency)
            if curve is None:
                continue
            ladder, writing, factor, constant = curve
            if (ladder.power, factor, constant) == (1, 1, 0):  # repeats are found elsewhere
                continue
            said = (source,), (factor,), constant
            relation = Relation(How.CURVE, target, *said, grid, limits, ladder=ladder, writing=writing)
            if _holds(relation, arrays):
                found[target] = _with_exceptions(relation, arrays, config.min_frequency) if smooth else relation
                break
    return list(found.values())


def _alike(x: Mapping[int, Array], there: Mapping[int, Bools]) -> Iterator[tuple[int, int]]:
    """Pairs of columns that rise or fall together where both are, the one that comes first in the table first."""
    names = [k for k, values in sorted(x.items()) if values[there[k]].size and np.ptp(values[there[k]])]
    if len(names) < 2:
        return
    known = np.column_stack([there[k] for k in names]).astype(np.float64)
    ranks = np.column_stack([np.unique(x[k], return_inverse=True)[1] / len(x[k]) for k in names]) * known
    rows = known.T @ known
    sums, squares, products = ranks.T @ known, (ranks**2).T @ known, ranks.T @ ranks
    spread = np.maximum(rows * squares - sums**2, 0)
    alike = np.abs(rows * products - sums * sums.T) >= _ALIKE * np.sqrt(spread * spread.T)
    for i, j in np.argwhere(np.triu(alike & (spread > 0) & (spread.T > 0) & (rows >= _FEWEST), 1)).tolist():
        yield names[i], names[j]


def _fit(y: Array, x: Array, both: Bools, grid: Grid, smooth: bool, few: int) -> _Curve | None:
    """The curve on which nearly all of `both` lie."""
    half = TIES * grid.step / 10.0**grid.decimals / 2
    for shift in (0.0, 1.0):
        for power in POWERS:
            ladder = Ladder(power, shift)
            known = both & ladder.known(x)
            telling = known & _uncommon(y, known)
            if telling.sum() < _FEWEST or known.sum() < both.sum() / 2 or (shift and power):
                continue
            u, v = ladder(x[telling]), y[telling]
            lines = _lines(u, v, np.maximum(half, 1e-9 * np.abs(v)))
            values, rows = np.unique(y[both & ~known], return_counts=True)
            for a, c in lines:
                common = float(values[rows.argmax()]) if rows.max(initial=0) >= few else c
                ladder = replace(ladder, otherwise=common)
                if not smooth:
                    return ladder, None, a, c
                made = a * u + c
                writing, _ = Writing.of(made, v)
                if (writing(made).astype(np.float32) == v.astype(np.float32)).mean() >= _EXACT:
                    return ladder, writing, a, c
    return None


def _rises(x: Array, y: Array) -> bool:
    """Whether `y` [n] nearly always rises with `x`, or nearly always falls: most that are alike don't, row by row."""
    steps = np.diff(y[np.lexsort((y, x))])
    turned = np.diff(y[np.lexsort((-y, x))])
    return bool(max((steps >= 0).mean(), (turned <= 0).mean()) >= 1 - _SPARE)


def _lines(u: Array, v: Array, near: Array) -> list[tuple[float, float]]:
    """Factor and constant of the line through nearly all of the points, if there is one; those of few digits first."""
    if not (np.isfinite(u).all() and u.std() > 0):
        return []

    def share(a: float, c: float) -> float:
        return float((np.abs(v - a * u - c) < near).mean())

    fitted = robust_line(u, v)
    through = float(np.median(v[u != 0] / u[u != 0])), 0.0
    best = max(share(*fitted), share(*through))
    if best < _EXACT:
        return []
    short = [(a, 0.0) for digits in range(_DIGITS) if (a := round(through[0], digits))]
    for digits in range(_DIGITS):
        if a := round(fitted[0], digits):
            middle = float(np.median(v - a * u))
            short += [(a, round(middle, places)) for places in range(_DIGITS)]
    first = next((line for line in short if share(*line) >= best), fitted)
    return [line for line in (first, through, fitted) if share(*line) >= _EXACT]


def robust_line(u: Array, v: Array) -> tuple[float, float]:
    """Factor and constant of the line through most of the points: of least squares, without the farthest again."""
    kept = np.ones(len(u), bool)
    for _ in range(_TRIMMED):
        with warnings.catch_warnings():  # of nearly equal values; a line that is none has few points on it
            warnings.simplefilter("ignore", np.exceptions.RankWarning)
            factor, constant = (float(each) for each in np.polyfit(u[kept], v[kept], 1))
        off = np.abs(v - factor * u - constant)
        kept = off <= np.quantile(off, _EXACT - _SPARE)
        if not u[kept].std() > 0:
            break
    return factor, constant


def _with_exceptions(relation: Relation, arrays: Mapping[int, pa.Array], few: int) -> Relation:
    """The relation, with the values of at least `few` rows that it makes but for the last digit."""
    assert relation.writing is not None
    both = present(arrays[relation.column]) & present(arrays[relation.sources[0]])
    y = numbers(arrays[relation.column])
    made = relation.restore(relation.rest(y, arrays), arrays)
    values, rows = np.unique(y[both & (made != y) & is_near(made, y)], return_counts=True)
    exceptions = tuple(values[rows >= few].tolist())
    return replace(relation, writing=replace(relation.writing, exceptions=exceptions))


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
