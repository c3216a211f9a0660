"""Moments that follow on others: an arrival on its departure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from vae_core.codec.relations import How, Relation, described, numbers, present
from vae_core.codec.storage import Ints
from vae_core.config import CodecConfig
from vae_core.schema import Kind, Schema

_NEAR = 0.05  # spread of the time between two moments, of the spread of the later one, at most
_KINDS = (Kind.TIMESTAMP, Kind.DATE)


def find_times(arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig) -> list[Relation]:
    """The moments that are never far from an earlier one, each with the one that it is nearest to, which comes before.

    Args:
        arrays: the learned columns.
        schema: what they are.
        config: `split_above`: a column of no more values is learned well enough by itself.
    """
    arrays = {k: array for k, array in arrays.items() if schema.columns[k].kind in _KINDS}
    medians = {k: float(np.median(numbers(array)[present(array)])) for k, array in arrays.items()}
    earlier: list[int] = []
    found = []
    for target in sorted(arrays, key=lambda k: (medians[k], k)):
        array = arrays[target]
        there = present(array)
        ticks = numbers(array)[there]
        nearest, best = None, _NEAR * _spread(ticks)
        for source in earlier:
            if arrays[source].type == array.type and present(arrays[source])[there].all():
                spread = _spread(ticks - numbers(arrays[source])[there])
                if spread < best:
                    nearest, best = source, spread
        if nearest is not None and (able := described(array, config.extremes, config.split_above)) is not None:
            found.append(Relation(How.TIME, target, (nearest,), (), 0.0, able[0], None))
        earlier.append(target)
    return found


def _spread(ticks: Ints) -> float:
    """Of the inner nine tenths."""
    low, high = np.quantile(ticks, [0.05, 0.95])
    return float(high - low)
