"""Columns that are sums, products or quotients of others, but for what is left over on some rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core.codec.grid import Grid
from vae_core.codec.products import FIRST, Fitted, fit_less, fit_product, fit_quotient, is_share
from vae_core.codec.relations import (
    SHIFT,
    TIES,
    How,
    Relation,
    coarser,
    described,
    is_number,
    is_smooth,
    is_strange,
    keeps_its_law,
    minutes,
    numbers,
    present,
    some_rows,
    spread_rows,
)
from vae_core.codec.storage import Array
from vae_core.codec.writing import Writing
from vae_core.config import CodecConfig
from vae_core.schema import Schema

_SAMPLE = 2_048  # rows on which sums are looked for
_MOST = 64  # columns among which they are
_EXPLAINED = 0.3  # share of a column's variance that the others explain, before a sum is looked for
_ITERATIONS = 30
_HOPELESS = 0.05  # share of rows that are exact sums after a third of them, below which no sum is expected
_EXACT = 0.5  # share of rows that are exact sums, at least
_KEPT = 0.99  # share of these that still are with fewer or with whole coefficients
_WHOLE = 1e-3  # what a coefficient may be off a whole number to be taken for it
_SURPRISE = 0.25  # entropy of what is left of a sum, of the column's own, at most
_WRITTEN = 0.3  # share of rows that are sums to the last digit, at least, where numbers have no last decimal
_TURNED_SHIFT = 2 * SHIFT  # of a summand that is told instead, for which errors of the others are larger
_CLOCK = 60  # values of a column of clock times, more than


def find_arithmetic(
    arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig, curves: Mapping[int, int]
) -> list[Relation]:
    """The columns that are sums or products of others on most rows, a column's sources before itself.

    Those of the largest numbers are found first: errors of their sources are small for them.

    Args:
        arrays: the learned columns.
        schema: what they are.
        config: `split_above` and `extremes`.
        curves: columns that are told already, each by the column that they come from.
    """
    from threadpoolctl import threadpool_limits

    arrays = {k: array for k, array in arrays.items() if is_number(array, schema.columns[k])}
    if len(arrays) < 2:
        return []
    with threadpool_limits(1, "blas"):  # small products: several threads take ten times as long on a busy machine
        return _find(arrays, config, curves)


def _find(arrays: dict[int, pa.Array], config: CodecConfig, curves: Mapping[int, int]) -> list[Relation]:
    rows = len(next(iter(arrays.values())))
    sample = spread_rows(rows, _SAMPLE)
    some = {k: array.take(pa.array(sample)) for k, array in arrays.items()}
    clocks = tuple(k for k, array in arrays.items() if _is_clock(some[k]) and _is_clock(array))
    x = {k: numbers(array).astype(np.float64) for k, array in some.items()}
    x |= {k: minutes(x[k]) for k in clocks}
    spread = {k: float(values.std()) for k, values in x.items()}
    left = [k for k in arrays if spread[k] > 0]
    if len(left) > _MOST:
        explained = _explained(np.column_stack([x[k] for k in left]))
        left = [left[i] for i in sorted(np.argsort(-explained)[:_MOST])]
    found: list[Relation] = []
    able: dict[int, tuple[Grid, tuple[Any, Any]] | None] = {}
    shares = tuple(k for k in arrays if k not in clocks and is_share(some[k]))
    order = sorted((k for k in left if k not in curves), key=lambda k: -spread[k])
    # Quotients last: of what is a product, too, the factors are as precise as they are written.
    for target, divides in [*((k, False) for k in order), *((k, True) for k in reversed(order))]:
        there = present(arrays[target])[sample]
        if target not in left or there.sum() < FIRST:
            continue
        others = [k for k in left if target not in (k, curves.get(k)) and x[k][there].std() > 0]
        if not others or not x[target][there].std() > 0:
            continue
        if not divides and _explained(np.column_stack([x[k][there] for k in (target, *others)]))[0] < _EXPLAINED:
            continue
        if target not in able:
            able[target] = described(arrays[target], config.extremes, config.split_above, target in clocks)
        if (told := able[target]) is None:
            continue
        relation = _told(target, x[target][there], {k: x[k][there] for k in others}, *told, clocks, shares, divides)
        if relation is not None and _holds(relation := _as_written(relation, arrays), arrays):
            if is_strange(relation, some_rows(relation, arrays)):
                relation = next(_turned(relation, arrays, config, curves), relation)
            found.insert(0, relation)
            left = [k for k in left if relation.column not in (k, curves.get(k))]
    return found


def _told(
    target: int,
    y: Array,
    x: dict[int, Array],
    grid: Grid,
    limits: tuple[Any, Any],
    clocks: tuple[int, ...],
    shares: tuple[int, ...],
    divides: bool,
) -> Relation | None:
    """What `x` says of `y` [n], the numbers of `target`: as a quotient, or else as a product or a sum."""
    factors = {k: values for k, values in x.items() if k not in clocks}
    half = np.full(len(y), TIES * grid.step / 10.0**grid.decimals / 2)
    how, off = How.QUOTIENT if divides else How.PRODUCT, tuple[int, ...]()
    fitted = fit_quotient(y, factors, half) if divides else fit_product(y, factors, half)
    if fitted is None and not divides:
        if (less := fit_less(y, factors, [k for k in shares if k in factors], half)) is not None:
            fitted, off = less
        else:
            how, fitted = How.SUM, _fit_sum(y, x, grid)
    if fitted is None:
        return None
    return Relation(how, target, *fitted, grid, limits, tuple(k for k in clocks if k in (target, *fitted[0])), off)


def _turned(
    relation: Relation, arrays: Mapping[int, pa.Array], config: CodecConfig, curves: Mapping[int, int]
) -> Iterator[Relation]:
    """The sum told for its summands, where these are no strangers to their columns; their laws may change more."""
    if relation.how is not How.SUM:
        return
    terms = dict(zip(relation.sources, relation.coefficients, strict=True)) | {relation.column: -1.0}
    for target in relation.sources:
        if target in curves or any(curves.get(k) == target for k in relation.sources):
            continue
        able = described(arrays[target], config.extremes, config.split_above, target in relation.clocks)
        if abs(terms[target]) == 1 and able is not None:
            others = {k: -terms[target] * factor for k, factor in terms.items() if k != target}
            constant = -terms[target] * relation.constant
            turned = replace(
                relation,
                writing=None,
                column=target,
                sources=tuple(others),
                coefficients=tuple(others.values()),
                constant=constant,
                grid=able[0],
                limits=able[1],
            )
            turned = _as_written(turned, arrays)
            if _holds(turned, arrays, _TURNED_SHIFT) and not is_strange(turned, some_rows(turned, arrays)):
                yield turned


def _as_written(relation: Relation, arrays: Mapping[int, pa.Array]) -> Relation:
    """The relation, whose numbers are as precise as the column's where these lie on no grid and most are just that."""
    arrays = some_rows(relation, arrays)
    if relation.how not in (How.SUM, How.QUOTIENT) or not is_smooth(arrays[relation.column], relation.grid):
        return relation
    there = present(arrays[relation.column])
    made, values = (each[there] for each in (relation.said(arrays), numbers(arrays[relation.column])))
    writing, share = Writing.of(made, values)
    return replace(relation, grid=coarser(relation.grid), writing=writing) if share >= _WRITTEN else relation


def _is_clock(array: pa.Array) -> bool:
    """Whether the numbers are times of day written as 1745."""
    values = np.unique(numbers(array)[present(array)])
    if len(values) <= _CLOCK or values[0] < 0 or values[-1] > 2400 or pa.types.is_decimal(array.type):
        return False
    return bool((values % 1 == 0).all() and (values % 100 < 60).all())


def _explained(x: Array) -> Array:
    """Share of the variance of each column of `x` [n, columns] that the other columns explain linearly."""
    correlations = np.corrcoef(x, rowvar=False) + 1e-9 * np.eye(x.shape[1])
    return np.asarray(1 - 1 / np.diag(np.linalg.pinv(correlations, hermitian=True)))


def _fit_sum(y: Array, x: dict[int, Array], grid: Grid) -> Fitted | None:
    """Sources, coefficients and constant of the sum that most rows are, found by least absolute deviations."""
    sources = list(x)
    if len(y) < 4 * (len(sources) + 1):
        return None
    half = max(grid.step / 10.0**grid.decimals / 2, 1e-9 * float(np.abs(y).max()))
    weights = np.ones(len(y))
    for iteration in range(_ITERATIONS):  # iteratively reweighted least squares
        coefficients = _least_squares(y, [x[k] for k in sources], weights)
        off = np.abs(y - _total(coefficients, [x[k] for k in sources]))
        if iteration == _ITERATIONS // 3 and (off < half).mean() < _HOPELESS:
            return None
        weights = half / np.maximum(off, half)
    exact = off < half
    if exact.mean() < _EXACT:
        return None
    y, inner = y[exact], {k: x[k][exact] for k in sources}
    size = {k: abs(float(coefficients[1 + n])) * inner[k].std() for n, k in enumerate(sources)}
    for k in sorted(sources, key=lambda k: size[k]):
        fewer = [other for other in sources if other != k]
        tried = _least_squares(y, [inner[other] for other in fewer], np.ones(len(y)))
        if (np.abs(y - _total(tried, [inner[other] for other in fewer])) < half).mean() >= _KEPT:
            sources, coefficients = fewer, tried
    whole = np.rint(coefficients)
    whole = np.where(np.abs(coefficients - whole) < _WHOLE, whole, coefficients)
    whole[0] = round(float(coefficients[0]), grid.decimals)
    chosen = [n for n in range(len(sources)) if whole[1 + n]]
    if (np.abs(y - _total(whole, [inner[k] for k in sources])) < half).mean() >= _KEPT:
        coefficients, sources = whole[[0, *(1 + n for n in chosen)]], [sources[n] for n in chosen]
    return (tuple(sources), tuple(coefficients[1:].tolist()), float(coefficients[0])) if sources else None


def _least_squares(y: Array, x: list[Array], weights: Array) -> Array:
    """The constant and the coefficients, float64 [1 + len(x)]."""
    design = np.column_stack([np.ones(len(y)), *x])
    scales = np.sqrt(np.square(design).mean(axis=0))
    scales[scales == 0] = 1.0
    design /= scales
    weighted = design * weights[:, None]
    gram = weighted.T @ design + 1e-12 * len(y) * np.eye(design.shape[1])
    found = np.linalg.solve(gram, weighted.T @ y)
    found += np.linalg.solve(gram, weighted.T @ (y - design @ found))  # what the products rounded away
    return np.asarray(found / scales)


def _total(coefficients: Array, x: list[Array]) -> Array:
    total = np.full(len(x[0]) if x else 1, coefficients[0])
    for coefficient, values in zip(coefficients[1:], x, strict=True):
        total = total + coefficient * values
    return np.asarray(total)


def _holds(relation: Relation, arrays: Mapping[int, pa.Array], shift: float = SHIFT) -> bool:
    """Whether the rest says little, and the sum keeps its law when its summands are not quite right."""
    arrays = some_rows(relation, arrays)
    there = present(arrays[relation.column])
    values = numbers(arrays[relation.column])
    rest = relation.rest(values, arrays)
    if _entropy(rest[there]) > _SURPRISE * _entropy(values[there]):
        return False
    if all(_follows(numbers(arrays[k])[there], values[there]) for k in relation.sources):
        return False  # the sum says all about its summands: they are looked up, or it is as good as they are
    return keeps_its_law(relation, arrays, shift)


def _follows(source: Array, values: Array) -> bool:
    """Whether rows of the same one of `values` have the same number in `source`, as far as values come again."""
    _, first, which, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    again = counts[which] > 1
    return bool(again.mean() > 0.5 and (source == source[first[which]]).all())


def _entropy(values: Array) -> float:
    """In nats."""
    shares = np.unique(values, return_counts=True)[1] / max(1, len(values))
    return float(-(shares * np.log(shares)).sum())
