"""A numeric column with a Gaussian likelihood: a standardised real, and a code that only tells others where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_core.codec.grid import Grid
from vae_core.codec.leaves import value_limits
from vae_core.codec.storage import Array

BINS = 32  # codes of the standardised value


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Standardises values, and puts them back on the column's grid.

    Attributes:
        mean, deviation: of the training values.
        low, high: nothing beyond them is given.
        edges: interior edges of the codes, standardised, increasing, float32 [e].
        grid: the column's grid.
        dtype: of the values.
    """

    mean: float
    deviation: float
    low: Any
    high: Any
    edges: Array
    grid: Grid | None
    dtype: np.dtype[Any]

    @classmethod
    def fit(cls, uniques: Array, counts: Array, extremes: int) -> Gaussian:
        """Fit sorted distinct finite values [m] with `counts` rows each; see `value_limits` for `extremes`."""
        x = uniques.astype(np.float64)
        mean = float(np.average(x, weights=counts))
        deviation = float(np.sqrt(np.average((x - mean) ** 2, weights=counts))) or 1.0
        cumulative = np.cumsum(counts)
        goals = cumulative[-1] * np.arange(1, BINS) / BINS
        edges = np.unique(((x[np.searchsorted(cumulative, goals)] - mean) / deviation).astype(np.float32))
        low, high = value_limits(uniques, counts, extremes)
        return cls(mean, deviation, low, high, edges, Grid.fit(uniques), uniques.dtype)

    def encode(self, values: Array) -> tuple[Array, Array]:
        """Standardised float32 [n] and code int32 [n] of values [n]."""
        standard = ((values.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        return standard, np.searchsorted(self.edges, standard, "right").astype(np.int32)

    def decode(self, standard: Array) -> Array:
        """Values [n], on the grid and within the limits, of standardised floats [n]."""
        x = np.clip(standard.astype(np.float64) * self.deviation + self.mean, float(self.low), float(self.high))
        values = x.astype(self.dtype) if self.grid is None else self.grid.snap(x)
        return np.asarray(np.clip(values, self.dtype.type(self.low), self.dtype.type(self.high)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "mean": self.mean,
            "deviation": self.deviation,
            "low": self.dtype.type(self.low).item(),
            "high": self.dtype.type(self.high).item(),
            "edges": self.edges.tolist(),
            "grid": None if self.grid is None else self.grid.to_dict(),
            "dtype": self.dtype.str,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Gaussian:
        """Inverse of `to_dict`."""
        dtype = np.dtype(data["dtype"])
        grid = None if data["grid"] is None else Grid.from_dict(data["grid"], dtype)
        edges = np.array(data["edges"], dtype=np.float32)
        return cls(data["mean"], data["deviation"], data["low"], data["high"], edges, grid, dtype)
