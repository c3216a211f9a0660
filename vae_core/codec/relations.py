"""Columns that others nearly say: a total and its parts, an amount and its price, an arrival and its departure.

Such a column is not learned by itself. What is learned is how far it lies from what the others say, which on most rows
is nothing, or little: so sums add up, and what comes after something else still does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.grid import Grid
from vae_core.codec.ladder import Ladder
from vae_core.codec.leaves import value_limits
from vae_core.codec.storage import Array, Bools, Ints
from vae_core.codec.writing import Writing
from vae_core.schema import Column, Kind

_DIGITS = 6  # of a column's spread, that are kept where its values have more
_BEYOND = 2.0**62
_CHECKED = 200_000  # rows on which what was found is checked
_GROUPS = 64  # quantile groups within which a source's values are exchanged ...
SHIFT = 0.01  # ... for the law of the column to change by this much at most (Kolmogorov-Smirnov)
_STRANGE = 0.25  # share of values that are none of the column's then, more than this is strange
TIES = 1.001  # halves of a step that what is said may be off: what lies between two is rounded either way
_EXACT_BELOW = 1e15  # doubles of larger numbers are too coarse to add up
_KINDS = (Kind.INTEGER, Kind.REAL, Kind.DECIMAL)


class How(StrEnum):
    """What the other columns say."""

    SUM = "sum"
    PRODUCT = "product"
    QUOTIENT = "quotient"
    TIME = "time"
    REPEAT = "repeat"
    CURVE = "curve"
    BEND = "bend"


@dataclass(frozen=True, eq=False)
class Relation:
    """A column as the sum of what others say and a rest, which is what is coded.

    Attributes:
        how: the others say their weighted sum, their product, their quotient, a moment, of which the rest is the time
            since, or the value itself on some rows, on which the rest is a number below all others; elsewhere it is the
            value. Or one says a power of itself, but for a factor and a constant, or two lines that meet.
        column: index of the column.
        sources: indices of the others; of a sum any, of a product two or three, of a quotient two, else one.
        coefficients: of a sum, one for each of them; of a product, a quotient or a curve, one for it; of a bend the
            rates below and above it; of a moment the ratio of the source's ticks to the column's, as two integers,
            where they differ.
        constant: what is added to a sum or a curve; what a bend is at; of a repeat, the number that means it.
        grid: of the column's values; the rest counts its steps.
        clocks: those of the columns that are times of day written as 1745; they count in minutes.
        shares: those of a product's sources that are taken off: they count as 1 less their value.
        limits: the smallest and the largest value that is given; of a moment none: what comes after stays after.
        ladder: the power that a curve is of.
        bend: the value of the source from which on the second coefficient counts, not the first.
        writing: of a sum, a curve or a bend of values without a grid, how these are written; the grid is the rest's.
    """

    how: How
    column: int
    sources: tuple[int, ...]
    coefficients: tuple[float, ...]
    constant: float
    grid: Grid
    limits: tuple[Any, Any] | None
    clocks: tuple[int, ...] = ()
    shares: tuple[int, ...] = ()
    ladder: Ladder | None = None
    bend: float | None = None
    writing: Writing | None = None

    def rest(self, values: Array, arrays: Mapping[int, pa.Array]) -> Array:
        """How many steps `values` [n] lie above what the others, `arrays`, say; of a repeat see `how`."""
        if self.how is How.REPEAT:
            source = arrays[self.sources[0]]
            repeated = present(source) & (numbers(source) == values)
            return np.where(repeated, np.asarray(self.constant, values.dtype), values)
        if self.writing is not None:
            off = (values - self.said(arrays)) * 10.0**self.grid.decimals
            return np.asarray(np.clip(np.rint(off), -_BEYOND, _BEYOND).astype(np.int64))
        return self.grid.index(minutes(values) if self.column in self.clocks else values) - self._steps_said(arrays)

    def restore(self, rest: Array, arrays: Mapping[int, pa.Array]) -> Array:
        """Inverse of `rest`, kept within the limits, in the column's dtype [n]."""
        if self.how is How.REPEAT:
            values = np.where(rest <= self.constant, numbers(arrays[self.sources[0]]), rest)
        elif self.writing is not None:
            values = self.writing(self.said(arrays) + rest / 10.0**self.grid.decimals)
        else:
            values = self.grid.value(self._steps_said(arrays) + rest)
        if self.column in self.clocks:
            values = values // 60 * 100 + values % 60
        return values if self.limits is None else np.clip(values, *self.limits)

    def _steps_said(self, arrays: Mapping[int, pa.Array]) -> Ints:
        if self.how is How.TIME:
            return self.grid.index(ticks(arrays[self.sources[0]], self.coefficients))
        scaled = np.rint((self.said(arrays) * 10.0**self.grid.decimals - self.grid.offset) / self.grid.step)
        return np.asarray(np.clip(scaled, -_BEYOND, _BEYOND).astype(np.int64))

    def said(self, arrays: Mapping[int, pa.Array]) -> Array:
        """What the others say, float64 [n], but of a moment or a repeat."""
        values = [numbers(arrays[k]) for k in self.sources]
        values = [minutes(v) if k in self.clocks else v for k, v in zip(self.sources, values, strict=True)]
        if self.how is How.PRODUCT:
            total = np.full(len(values[0]), self.coefficients[0])
            for k, value in zip(self.sources, values, strict=True):
                total = total * (1.0 - value if k in self.shares else value)
        elif self.how is How.QUOTIENT:
            total = self.coefficients[0] * quotient(*values)
        elif self.ladder is not None:
            known = self.ladder.known(values[0])
            total = np.full(len(known), self.ladder.otherwise)
            power = self.ladder(values[0][known].astype(np.float64))
            total[known] = self.coefficients[0] * power + self.constant
        elif self.bend is not None:
            total = bent(values[0], self.bend, self.constant, *self.coefficients)
        else:
            total = np.full(len(values[0]), self.constant)
            for coefficient, value in zip(self.coefficients, values, strict=True):
                total += coefficient * value
        return total if self.writing is None else self.writing(total)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "how": self.how.value,
            "column": self.column,
            "sources": list(self.sources),
            "coefficients": list(self.coefficients),
            "constant": self.constant,
            "grid": self.grid.to_dict(),
            "dtype": self.grid.dtype.str,
            "clocks": list(self.clocks),
            "limits": None if self.limits is None else list(self.limits),
            **({"shares": list(self.shares)} if self.shares else {}),
            **({"ladder": asdict(self.ladder)} if self.ladder else {}),
            **({"bend": self.bend} if self.bend is not None else {}),
            **({"writing": asdict(self.writing)} if self.writing else {}),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Relation:
        """Inverse of `to_dict`."""
        return cls(
            How(data["how"]),
            data["column"],
            tuple(data["sources"]),
            tuple(data["coefficients"]),
            data["constant"],
            Grid.from_dict(data["grid"], np.dtype(data["dtype"])),
            None if data["limits"] is None else tuple(data["limits"]),
            tuple(data["clocks"]),
            tuple(data.get("shares", [])),
            Ladder(**data["ladder"]) if "ladder" in data else None,
            data.get("bend"),
            Writing.from_dict(data["writing"]) if "writing" in data else None,
        )


def quotient(top: Array, bottom: Array) -> Array:
    """Numbers [n] divided, float64; 0 by 0."""
    return np.divide(top, bottom, out=np.zeros(len(top)), where=bottom != 0)


def bent(x: Array, at: float, constant: float, below: float, above: float) -> Array:
    """What changes by `below` a unit of `x` [n] up to `at`, where it is `constant`, and by `above` from there on."""
    off = x - at
    return np.asarray(constant + below * np.minimum(off, 0.0) + above * np.maximum(off, 0.0))


def in_order(relations: Sequence[Relation]) -> list[Relation]:
    """The relations, each after those of its sources."""
    ordered, left = list[Relation](), [*relations]
    while left:
        waiting = {relation.column for relation in left}
        ordered.append(next(relation for relation in left if not waiting & {*relation.sources}))
        left.remove(ordered[-1])
    return ordered


def some_rows(relation: Relation, arrays: Mapping[int, pa.Array]) -> dict[int, pa.Array]:
    """The relation's columns on the rows on which what was found is checked."""
    rows = len(arrays[relation.column])
    chosen = pa.array(spread_rows(rows, _CHECKED))
    return {k: arrays[k].take(chosen) for k in (relation.column, *relation.sources)}


def spread_rows(rows: int, count: int) -> Ints:
    """The numbers of `count` rows, or of all if there are fewer, spread evenly over the table."""
    return np.unique(np.linspace(0, rows - 1, min(rows, count), dtype=np.int64))


def keeps_its_law(relation: Relation, arrays: Mapping[int, pa.Array], shift: float = SHIFT) -> bool:
    """Whether the column's values are distributed as they are when its sources are not quite right."""
    values, again = _remade(relation, arrays)
    points = np.unique(values)
    apart = np.searchsorted(values, points, "right") - np.searchsorted(again, points, "right")
    return bool(np.abs(apart).max() <= shift * len(values))


def is_strange(relation: Relation, arrays: Mapping[int, pa.Array]) -> bool:
    """Whether many of the values made of sources that are not quite right are none of the column's.

    More than among new rows, of which as many are expected as stand once among the column's (Good 1953): a maximum in
    whole degrees Fahrenheit, written in Celsius, is on few points of the grid on which a minimum and a range add up.
    """
    values, again = _remade(relation, arrays)
    uniques, counts = np.unique(values, return_counts=True)
    new = 1 - np.isin(again, uniques).mean()
    return bool(new - np.count_nonzero(counts == 1) / max(1, len(values)) > _STRANGE)


def _remade(relation: Relation, arrays: Mapping[int, pa.Array]) -> tuple[Array, Array]:
    """The column's values, and those that it has when its sources are not quite right, sorted each."""
    there = present(arrays[relation.column])
    values = numbers(arrays[relation.column])
    generator = np.random.default_rng(0)
    moved = {k: arrays[k].take(pa.array(exchanged(numbers(arrays[k]), generator, _GROUPS))) for k in relation.sources}
    return np.sort(values[there]), np.sort(relation.restore(relation.rest(values, arrays), moved)[there])


def exchanged(values: Array, generator: np.random.Generator, groups: int) -> Ints:
    """Which of `values` [n] each row has when those of a quantile group are shuffled: as if they were known roughly."""
    order = np.argsort(values, kind="stable")
    group = np.arange(len(order)) * groups // len(order)
    shuffled = order[np.lexsort((generator.random(len(order)), group))]
    taken = np.empty_like(order)
    taken[order] = shuffled
    return taken


def is_number(array: pa.Array, column: Column) -> bool:
    """Whether the column's numbers can be added up exactly."""
    kind = array.type
    if column.kind not in _KINDS or column.likelihood == "gaussian" or pa.types.is_uint64(kind):
        return False
    if pa.types.is_floating(kind) and not pa.types.is_float64(kind):
        return False
    if pa.types.is_decimal(kind) and not storage.unscaled(array)[1]:
        return False
    values = numbers(array)
    return bool((values > -_EXACT_BELOW).all() and (values < _EXACT_BELOW).all())


def numbers(array: pa.Array) -> Array:
    """The numbers or ticks of `array` [n], 0 where it is missing: floats, or int64, of decimals the unscaled ones."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_decimal(array.type):
        return storage.unscaled(array)[0]
    if pa.types.is_floating(array.type):
        return np.nan_to_num(storage.floats(array).astype(np.float64, copy=False), nan=0.0)
    return storage.integers(array)


def ticks(array: pa.Array, ratio: Sequence[float]) -> Ints:
    """Moments [n] in ticks of which one of `array`'s is `ratio[0] / ratio[1]`, rounded down; in its own without one."""
    if not ratio:
        return numbers(array)
    times, parts = (int(each) for each in ratio)
    most = int(_BEYOND) // times
    return np.asarray(np.clip(numbers(array), -most, most) * times // parts)


def minutes(clock: Array) -> Array:
    """Minutes since midnight of times of day written as 1745."""
    return np.asarray(clock // 100 * 60 + clock % 100)


def present(array: pa.Array) -> Bools:
    """Where `array` is not missing, bool [n]."""
    missing = storage.missing_mask(array)
    return np.ones(len(array), bool) if missing is None else ~missing


def described(array: pa.Array, extremes: int, few: int, clock: bool = False) -> tuple[Grid, tuple[Any, Any]] | None:
    """The grid and the limits of a column, if it can be told by others.

    Args:
        array: the column.
        extremes: see `value_limits`.
        few: a column of no more values is learned well enough by itself.
        clock: whether its values are times of day written as 1745.
    """
    values = numbers(array)[present(array)]
    if pa.types.is_floating(array.type) and np.isnan(storage.floats(array)).any():
        return None
    uniques, counts = np.unique(values, return_counts=True)
    if len(uniques) <= few:
        return None
    low, high = value_limits(uniques, counts, extremes)
    return _grid(minutes(uniques) if clock else uniques, float(values.std())), (low.item(), high.item())


def _grid(uniques: Array, spread: float) -> Grid:
    """The grid of the values, or a fine one where they have none, or one so fine that their last digits are noise."""
    grid, decimals = Grid.fit(uniques), max(0, int(np.ceil(_DIGITS - np.log10(spread))))
    if grid is None or (grid.decimals > decimals and np.issubdtype(uniques.dtype, np.floating)):
        return Grid(1, 0, decimals, uniques.dtype)
    return grid


def is_smooth(array: pa.Array, grid: Grid) -> bool:
    """Whether the column's values lie on no grid, so that the one which `described` gives is made up."""
    return Grid.fit(np.unique(numbers(array)[present(array)])) != grid


def coarser(grid: Grid) -> Grid:
    """One that is coarse enough for the noise of single floats."""
    return replace(grid, decimals=grid.decimals - 1)
