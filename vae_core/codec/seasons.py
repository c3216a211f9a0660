"""Which weeks of the year the years of a column of dates have: its first and its last one are seldom whole."""

from __future__ import annotations

import numpy as np

from vae_core.codec.leaves import value_limits
from vae_core.codec.storage import Array, Ints

YEARS = 3  # of the dates, at least: fewer say nothing of what comes back every year


def spans(year: Array, week: Array, size: int, extremes: int) -> Ints:
    """The first and the last week of each year, int64 [size, 2]; the first is after the last where there is none.

    Args:
        year: leaf of each row's year [n].
        week: leaf of each row's week of the year [n].
        size: number of leaves of years.
        extremes: see `value_limits`.
    """
    found = np.tile(np.array([1, 0], dtype=np.int64), (size, 1))
    for k in np.unique(year):
        found[k] = value_limits(*np.unique(week[year == k], return_counts=True), extremes)
    return found
