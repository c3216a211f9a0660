"""Columns that others nearly say: a total and what it is made of, an arrival and its departure.

Such a column is not learned by itself. What is learned is how far it lies from what the others say, which on most rows
is nothing, or little: so sums add up, and what comes after something else still does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.grid import Grid
from vae_core.codec.leaves import value_limits
from vae_core.codec.storage import Array, Bools, Ints
from vae_core.config import CodecConfig
from vae_core.schema import Kind, Schema

_SUMMED = (Kind.INTEGER, Kind.REAL, Kind.DECIMAL)
_MOMENTS = (Kind.TIMESTAMP, Kind.DATE)
_SAMPLE = 4_096  # rows on which relations are looked for
_MOST = 64  # columns among which sums are
_EXPLAINED = 0.9  # share of a column's variance that the others explain, before a sum is looked for
_ITERATIONS = 30
_HOPELESS = 0.05  # share of rows that are exact sums after a third of them, below which no sum is expected
_EXACT = 0.5  # share of rows that are exact sums, at least
_KEPT = 0.99  # share of these that still are with fewer or with whole coefficients
_WHOLE = 1e-3  # what a coefficient may be off a whole number to be taken for it
_DIGITS = 6  # of a column's spread, that are kept where its values have more
_SURPRISE = 0.25  # entropy of what is left of a sum, of the column's own, at most
_GROUPS = 64  # quantile groups within which a summand's values are exchanged ...
_SHIFT = 0.01  # ... for the law of the sum to change by this much at most (Kolmogorov-Smirnov)
_NEAR = 0.05  # spread of the time between two moments, of the spread of the later one, at most
_BEYOND = 2.0**62


@dataclass(frozen=True, eq=False)
class Relation:
    """A column as the sum of what others say and a rest, which is what is coded.

    Attributes:
        column: index of the column.
        sources: indices of the others.
        coefficients: of each of them; none for a moment, which is its one source and a time.
        constant: what is added.
        grid: of the column's values; the rest counts its steps.
        limits: the smallest and the largest value that is given; of a moment none: what comes after stays after.
    """

    column: int
    sources: tuple[int, ...]
    coefficients: tuple[float, ...]
    constant: float
    grid: Grid
    limits: tuple[Any, Any] | None

    @property
    def is_time(self) -> bool:
        """Whether the rest is the time since another moment."""
        return not self.coefficients

    def rest(self, values: Array, arrays: Mapping[int, pa.Array]) -> Ints:
        """How many steps `values` [n] lie above what the others, `arrays`, say."""
        return self.grid.index(values) - self._said(arrays)

    def restore(self, rest: Ints, arrays: Mapping[int, pa.Array]) -> Array:
        """Inverse of `rest`, kept within the limits, in the column's dtype [n]."""
        values = self.grid.value(self._said(arrays) + rest)
        return values if self.limits is None else np.clip(values, *self.limits)

    def _said(self, arrays: Mapping[int, pa.Array]) -> Ints:
        if self.is_time:
            return self.grid.index(numbers(arrays[self.sources[0]]))
        total = np.full(len(arrays[self.sources[0]]), self.constant)
        for source, coefficient in zip(self.sources, self.coefficients, strict=True):
            total += coefficient * numbers(arrays[source])
        return _steps(self.grid, total)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "column": self.column,
            "sources": list(self.sources),
            "coefficients": list(self.coefficients),
            "constant": self.constant,
            "grid": self.grid.to_dict(),
            "dtype": self.grid.dtype.str,
            "limits": None if self.limits is None else list(self.limits),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Relation:
        """Inverse of `to_dict`."""
        return cls(
            data["column"],
            tuple(data["sources"]),
            tuple(data["coefficients"]),
            data["constant"],
            Grid.from_dict(data["grid"], np.dtype(data["dtype"])),
            None if data["limits"] is None else tuple(data["limits"]),
        )


def numbers(array: pa.Array) -> Array:
    """The numbers or ticks of `array` [n], 0 where it is missing: floats, or int64, of decimals the unscaled ones."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_decimal(array.type):
        return storage.unscaled(array)[0]
    if pa.types.is_floating(array.type):
        return np.nan_to_num(storage.floats(array).astype(np.float64, copy=False), nan=0.0)
    return storage.integers(array)


def find_relations(arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig) -> list[Relation]:
    """The relations of a table, a column's sources before itself.

    Args:
        arrays: the learned columns.
        schema: what the columns are.
        config: `split_above`: a column of no more values is learned well enough by itself; `extremes`.
    """
    columns = [index for index in arrays if schema.columns[index].likelihood != "gaussian"]
    summed = [index for index in columns if schema.columns[index].kind in _SUMMED and _is_number(arrays[index])]
    moments = [index for index in columns if schema.columns[index].kind in _MOMENTS]
    return _sums({k: arrays[k] for k in summed}, config) + _times({k: arrays[k] for k in moments}, config)


def _is_number(array: pa.Array) -> bool:
    kind = array.type
    if pa.types.is_decimal(kind):
        return storage.unscaled(array)[1]
    if pa.types.is_floating(kind):
        return bool(pa.types.is_float64(kind)) and bool(np.isfinite(numbers(array)).all())
    return not pa.types.is_uint64(kind)


def _steps(grid: Grid, values: Array) -> Ints:
    """How many steps of the grid there are to `values`, float64 [n], at most 2^62."""
    scaled = np.rint((values * 10.0**grid.decimals - grid.offset) / grid.step)
    return np.asarray(np.clip(scaled, -_BEYOND, _BEYOND).astype(np.int64))


def _present(array: pa.Array) -> Bools:
    missing = storage.missing_mask(array)
    return np.ones(len(array), bool) if missing is None else ~missing


def _target(array: pa.Array, config: CodecConfig) -> tuple[Grid, tuple[Any, Any]] | None:
    """The grid and the limits of a column that can be the dependent of a relation."""
    values = numbers(array)[_present(array)]
    if pa.types.is_floating(array.type) and np.isnan(storage.floats(array)).any():
        return None
    uniques, counts = np.unique(values, return_counts=True)
    if len(uniques) <= config.split_above:
        return None
    low, high = value_limits(uniques, counts, config.extremes)
    return _grid(uniques, float(values.std())), (low.item(), high.item())


def _grid(uniques: Array, spread: float) -> Grid:
    """The grid of the values, or a fine one where they have none, or one so fine that their last digits are noise."""
    grid, decimals = Grid.fit(uniques), max(0, int(np.ceil(_DIGITS - np.log10(spread))))
    if grid is None or (grid.decimals > decimals and np.issubdtype(uniques.dtype, np.floating)):
        return Grid(1, 0, decimals, uniques.dtype)
    return grid


def _sums(arrays: dict[int, pa.Array], config: CodecConfig) -> list[Relation]:
    """Of columns that others add up to, those of the largest numbers first: so that errors of the others are small."""
    if len(arrays) < 2:
        return []
    rows = len(next(iter(arrays.values())))
    sample = np.unique(np.linspace(0, rows - 1, min(rows, _SAMPLE), dtype=np.int64))
    x = {k: numbers(array.take(pa.array(sample))).astype(np.float64) for k, array in arrays.items()}
    spread = {k: float(values.std()) for k, values in x.items()}
    left = [k for k in arrays if spread[k] > 0]
    if len(left) > _MOST:
        explained = _explained(np.column_stack([x[k] for k in left]))
        left = [left[i] for i in sorted(np.argsort(-explained)[:_MOST])]
    found: list[Relation] = []
    for target in sorted(left, key=lambda k: -spread[k]):
        others = [k for k in left if k != target]
        if not others or _explained(np.column_stack([x[k] for k in (target, *others)]))[0] < _EXPLAINED:
            continue
        able = _target(arrays[target], config)
        if able is None:
            continue
        grid, limits = able
        there = _present(arrays[target])[sample]
        fitted = _fit_sum(x[target][there], {k: x[k][there] for k in others}, grid)
        if fitted is None:
            continue
        relation = Relation(target, *fitted, grid, limits)
        if _holds(relation, arrays):
            found.insert(0, relation)
            left.remove(target)
    return found


def _explained(x: Array) -> Array:
    """Share of the variance of each column of `x` [n, columns] that the other columns explain linearly."""
    correlations = np.corrcoef(x, rowvar=False) + 1e-9 * np.eye(x.shape[1])
    return np.asarray(1 - 1 / np.diag(np.linalg.pinv(correlations, hermitian=True)))


def _fit_sum(y: Array, x: dict[int, Array], grid: Grid) -> tuple[tuple[int, ...], tuple[float, ...], float] | None:
    """Sources, coefficients and constant of the sum that most rows are, found by least absolute deviations."""
    sources = [k for k in x if x[k].std() > 0]
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


def _holds(relation: Relation, arrays: Mapping[int, pa.Array]) -> bool:
    """Whether the rest says little on all rows, and the sum keeps its law when its summands are not quite right."""
    there = _present(arrays[relation.column])
    values = numbers(arrays[relation.column])
    rest = relation.rest(values, arrays)
    if _entropy(rest[there]) > _SURPRISE * _entropy(values[there]):
        return False
    if all(_follows(numbers(arrays[k])[there], values[there]) for k in relation.sources):
        return False  # the sum says all about its summands: they are looked up, or it is as good as they are
    generator = np.random.default_rng(0)
    moved = {k: _exchanged(arrays[k], generator) for k in relation.sources}
    again = np.sort(relation.restore(rest, moved)[there])
    values = np.sort(values[there])
    points = np.unique(values)
    apart = np.searchsorted(values, points, "right") - np.searchsorted(again, points, "right")
    return bool(np.abs(apart).max() <= _SHIFT * len(values))


def _exchanged(array: pa.Array, generator: np.random.Generator) -> pa.Array:
    """`array` with its values exchanged among those near to them: as one makes them who knows them only so far."""
    order = np.argsort(numbers(array), kind="stable")
    group = np.arange(len(order)) * _GROUPS // len(order)
    shuffled = order[np.lexsort((generator.random(len(order)), group))]
    taken = np.empty_like(order)
    taken[order] = shuffled
    return array.take(pa.array(taken))


def _follows(source: Array, values: Array) -> bool:
    """Whether rows of the same one of `values` have the same number in `source`, as far as values come again."""
    _, first, which, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    again = counts[which] > 1
    return bool(again.mean() > 0.5 and (source == source[first[which]]).all())


def _entropy(values: Array) -> float:
    """In nats."""
    shares = np.unique(values, return_counts=True)[1] / max(1, len(values))
    return float(-(shares * np.log(shares)).sum())


def _times(arrays: dict[int, pa.Array], config: CodecConfig) -> list[Relation]:
    """Moments that are never far from an earlier one; each with the one that it is nearest to."""
    medians = {k: float(np.median(numbers(array)[_present(array)])) for k, array in arrays.items()}
    earlier: list[int] = []
    found = []
    for target in sorted(arrays, key=lambda k: (medians[k], k)):
        array = arrays[target]
        there = _present(array)
        ticks = numbers(array)[there]
        nearest, best = None, _NEAR * _spread(ticks)
        for source in earlier:
            if arrays[source].type == array.type and _present(arrays[source])[there].all():
                spread = _spread(ticks - numbers(arrays[source])[there])
                if spread < best:
                    nearest, best = source, spread
        if nearest is not None and (able := _target(array, config)) is not None:
            found.append(Relation(target, (nearest,), (), 0.0, able[0], None))
        earlier.append(target)
    return found


def _spread(ticks: Ints) -> float:
    """Of the inner nine tenths."""
    low, high = np.quantile(ticks, [0.05, 0.95])
    return float(high - low)
