"""Columns that others nearly say: a total and what it is made of, an arrival and its departure.

Such a column is not learned by itself. What is learned is how far it lies from what the others say, which on most rows
is nothing, or little: so sums add up, and what comes after something else still does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.grid import Grid
from vae_core.codec.leaves import value_limits
from vae_core.codec.storage import Array, Bools, Ints

_DIGITS = 6  # of a column's spread, that are kept where its values have more
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
        clocks: those of the columns that are times of day written as 1745; they count in minutes.
        limits: the smallest and the largest value that is given; of a moment none: what comes after stays after.
    """

    column: int
    sources: tuple[int, ...]
    coefficients: tuple[float, ...]
    constant: float
    grid: Grid
    limits: tuple[Any, Any] | None
    clocks: tuple[int, ...] = ()

    @property
    def is_time(self) -> bool:
        """Whether the rest is the time since another moment."""
        return not self.coefficients

    def formula(self, names: Sequence[str]) -> str:
        """What the others, of these names, say: "fare + tip - 2 × discount + 3", or "departure + a time"."""
        if self.is_time:
            return f"{names[self.sources[0]]} + a time"
        text = ""
        terms = [(c, names[k]) for c, k in zip(self.coefficients, self.sources, strict=True)]
        for factor, name in [*terms, (self.constant, "")]:
            if factor:
                text += (" - " if factor < 0 else " + ") if text else "-" if factor < 0 else ""
                text += " × ".join(
                    part for part in (f"{abs(factor):g}" if abs(factor) != 1 or not name else "", name) if part
                )
        return text

    def rest(self, values: Array, arrays: Mapping[int, pa.Array]) -> Ints:
        """How many steps `values` [n] lie above what the others, `arrays`, say."""
        return self.grid.index(minutes(values) if self.column in self.clocks else values) - self._said(arrays)

    def restore(self, rest: Ints, arrays: Mapping[int, pa.Array]) -> Array:
        """Inverse of `rest`, kept within the limits, in the column's dtype [n]."""
        values = self.grid.value(self._said(arrays) + rest)
        if self.column in self.clocks:
            values = values // 60 * 100 + values % 60
        return values if self.limits is None else np.clip(values, *self.limits)

    def _said(self, arrays: Mapping[int, pa.Array]) -> Ints:
        if self.is_time:
            return self.grid.index(numbers(arrays[self.sources[0]]))
        total = np.full(len(arrays[self.sources[0]]), self.constant)
        for source, coefficient in zip(self.sources, self.coefficients, strict=True):
            found = numbers(arrays[source])
            total += coefficient * (minutes(found) if source in self.clocks else found)
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
            "clocks": list(self.clocks),
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
            tuple(data["clocks"]),
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


def _steps(grid: Grid, values: Array) -> Ints:
    """How many steps of the grid there are to `values`, float64 [n], at most 2^62."""
    scaled = np.rint((values * 10.0**grid.decimals - grid.offset) / grid.step)
    return np.asarray(np.clip(scaled, -_BEYOND, _BEYOND).astype(np.int64))
