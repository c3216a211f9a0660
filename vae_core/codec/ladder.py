"""Powers and logarithms, written with as many digits as the source's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vae_core.codec.storage import Array, Bools

# Tukey's (1977) ladder, 0 the logarithm. Products and roots have the same last bit on every machine; powers haven't.
POWERS: dict[float, Callable[[Array], Array]] = {
    0.0: np.log,
    1.0: np.positive,
    2.0: np.square,
    3.0: lambda x: x * x * x,
    0.5: np.sqrt,
    -1.0: np.reciprocal,
    1.5: lambda x: x * np.sqrt(x),
    -2.0: lambda x: 1 / (x * x),
    -0.5: lambda x: 1 / np.sqrt(x),
}

_WRITTEN = ((False, 0), (True, 0), (False, 15), (True, 15))  # whether as single floats, and significant digits


@dataclass(frozen=True)
class Ladder:
    """A power of what is `shift` more than a number, or its logarithm.

    Attributes:
        power: one of `POWERS`.
        shift: what is added before.
        otherwise: what the column is where there's no such power, as of a negative number.
        smooth: whether the column's values lie on no grid; the relation's only measures how far they are off.
        single: whether they are those of single floats.
        digits: significant ones that they are written with, or 0.
        exceptions: values, ascending, that come often and differ in the last digit, as some readers of text have them.
    """

    power: float
    shift: float
    otherwise: float = 0.0
    smooth: bool = False
    single: bool = False
    digits: int = 0
    exceptions: tuple[float, ...] = ()

    def known(self, x: Array) -> Bools:
        """Where `x` [n] has such a power."""
        return np.isfinite(x) if self.power == 1 else x + self.shift > 0

    def __call__(self, x: Array) -> Array:
        """Of numbers [n] that have such a power, float64 [n]."""
        return POWERS[self.power](x + self.shift)

    def written(self, values: Array) -> Array:
        """Float64 [n] as precise as the column's: an inexact one would be told from the source's by its last digits."""
        values = values.astype(np.float32).astype(np.float64) if self.single else values
        values = _rounded(values, self.digits) if self.digits else values
        if not self.exceptions:
            return values
        nearest = _nearest(np.asarray(self.exceptions), values)
        return np.where(is_near(values, nearest), nearest, values)

    def like(self, made: Array, values: Array) -> tuple[Ladder, float]:
        """Writing numbers `made` [n] as most of `values` [n] are written, and the share that is the same then."""
        written = [replace(self, single=single, digits=digits) for single, digits in _WRITTEN]
        same = [float((each.written(made) == values).mean()) for each in written]
        return written[same.index(max(same))], max(same)

    def formula(self, name: str) -> str:
        """Of a column of this name: "log(1 + name)"."""
        moved = f"{self.shift:g} + {name}" if self.shift else name
        if self.power == 0:
            return f"log({moved})"
        return name if self.power == 1 else f"{name}^{self.power:.3g}"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Ladder:
        """Inverse of `dataclasses.asdict`, through JSON."""
        return cls(**data | {"exceptions": tuple(data["exceptions"])})


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
