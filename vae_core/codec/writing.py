"""How numbers that lie on no grid are written: what is made of others gets the digits that the source's have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_core.codec.storage import Array, Bools


@dataclass(frozen=True)
class Writing:
    """How a column's numbers are written; inexact ones would be told from the source's by their last digits.

    Attributes:
        single: whether they are those of single floats.
        digits: significant ones that they are written with, or 0.
        exceptions: values, ascending, that come often and differ in the last digit, as some readers of text have them.
    """

    single: bool = False
    digits: int = 0
    exceptions: tuple[float, ...] = ()

    def __call__(self, values: Array) -> Array:
        """Numbers [n] as precise as the column's, float64."""
        values = values.astype(np.float32).astype(np.float64) if self.single else values
        values = _rounded(values, self.digits) if self.digits else values
        if not self.exceptions:
            return values
        nearest = _nearest(np.asarray(self.exceptions), values)
        return np.where(is_near(values, nearest), nearest, values)

    @classmethod
    def of(cls, made: Array, values: Array) -> tuple[Writing, float]:
        """The one by which most of the numbers `made` [n] are `values`, and their share."""
        same = [(float((each(made) == values).mean()), each) for each in _KNOWN]
        share, best = max(same, key=lambda pair: pair[0])
        return best, share

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Writing:
        """Inverse of `dataclasses.asdict`, through JSON."""
        return cls(**data | {"exceptions": tuple(data["exceptions"])})


_KNOWN = (Writing(), Writing(single=True), Writing(digits=15), Writing(single=True, digits=15))


def _nearest(points: Array, values: Array) -> Array:
    """The nearest of ascending points for each of the values [n]."""
    at = np.searchsorted(points, values).clip(1, max(1, len(points) - 1))
    low, high = points[at - 1], points[np.minimum(at, len(points) - 1)]
    return np.asarray(np.where(values - low <= high - values, low, high))


def is_near(values: Array, others: Array) -> Bools:
    """Whether numbers [n] are the same but for the last of 15 digits."""
    return np.asarray(np.abs(values - others) <= 2e-14 * np.abs(others))


def _rounded(values: Array, digits: int) -> Array:
    """Numbers [n] of so many significant digits, as if they were written and read."""
    with np.errstate(divide="ignore"):
        lead = np.floor(np.log10(np.abs(values)))
    scale = 10.0 ** np.clip(digits - 1 - np.where(np.isfinite(lead), lead, 0), -22, 22)  # exact powers
    product, error = _product(values, scale)
    whole = np.rint(product)
    left = product - whole + error
    return np.asarray((whole + (left > 0.5) - (left < -0.5)) / scale)


def _product(x: Array, y: Array) -> tuple[Array, Array]:
    """Of float64 [n], and what it is off the true one (Dekker 1971), which at 15 digits decides on the last."""
    product = x * y
    (a, b), (c, d) = ((high := 134217729.0 * z - (134217729.0 * z - z), z - high) for z in (x, y))
    return product, ((a * c - product) + a * d + b * c) + b * d
