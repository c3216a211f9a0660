"""The grid that a numeric column lives on: integers, tens, cents, halves, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_core.codec.storage import Array, Ints

_EXACT = 2**53  # integers below this are exact in float64
MAX_DECIMALS = 10


@dataclass(frozen=True)
class Grid:
    """Values (k·step + offset) / 10^decimals for integers k.

    The division of two exact integers rounds once, so a grid value is the float that parsing its decimal text gives.

    Attributes:
        step: distance between neighbours, in units of the last decimal.
        offset: residue of all values modulo `step`, same units.
        decimals: digits after the point; 0 for integer columns.
        dtype: numpy dtype of the values.
    """

    step: int
    offset: int
    decimals: int
    dtype: np.dtype[Any]

    @classmethod
    def fit(cls, uniques: Array) -> Grid | None:
        """The coarsest grid that holds every one of the sorted finite values `uniques` [m]; `None` if continuous."""
        if np.issubdtype(uniques.dtype, np.integer):
            return cls._of_integers(uniques.astype(np.int64), 0, uniques.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for decimals in range(MAX_DECIMALS + 1):
                scaled = np.rint(uniques.astype(np.float64) * 10.0**decimals)
                if not (np.abs(scaled) < _EXACT).all():
                    return None
                if ((scaled / 10.0**decimals).astype(uniques.dtype) == uniques).all():
                    grid = cls._of_integers(scaled.astype(np.int64), decimals, uniques.dtype)
                    widest = float(np.spacing(np.abs(uniques).max(initial=0)))
                    return grid if grid.step / 10.0**decimals >= 2 * widest else None  # else points fall together
        return None

    @classmethod
    def _of_integers(cls, scaled: Ints, decimals: int, dtype: np.dtype[Any]) -> Grid:
        step = 1
        if len(scaled) > 1 and int(scaled[-1]) - int(scaled[0]) < 2**62:
            step = int(np.gcd.reduce(np.diff(scaled)))
        offset = int(scaled[0]) % step if len(scaled) else 0
        return cls(step, offset, decimals, dtype)

    def index(self, values: Array) -> Ints:
        """K of each value [n], the nearest one for values off the grid."""
        if self.decimals == 0 and np.issubdtype(self.dtype, np.integer):
            scaled = values.astype(np.int64, copy=False)
        else:
            scaled = np.rint(values.astype(np.float64) * 10.0**self.decimals).astype(np.int64)
        return np.asarray(scaled // self.step)  # the offset is the residue, which the division drops

    def value(self, index: Ints) -> Array:
        """The value at each k [n], in the column's dtype."""
        scaled = index * self.step + self.offset
        if np.issubdtype(self.dtype, np.integer):
            return scaled.astype(self.dtype, copy=False)
        return (scaled / 10.0**self.decimals).astype(self.dtype)

    def snap(self, values: Array) -> Array:
        """The grid value nearest to each of `values`, float64 [n]."""
        scaled = np.rint((values * 10.0**self.decimals - self.offset) / self.step)
        return self.value(np.clip(scaled, -(2.0**62), 2.0**62).astype(np.int64))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"step": self.step, "offset": self.offset, "decimals": self.decimals}

    @classmethod
    def from_dict(cls, data: dict[str, Any], dtype: np.dtype[Any]) -> Grid:
        """Inverse of `to_dict`."""
        return cls(data["step"], data["offset"], data["decimals"], dtype)
