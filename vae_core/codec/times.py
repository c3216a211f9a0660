"""Moments that follow on others: an arrival on its departure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from vae_core.codec.relations import How, Relation, described, numbers, present, ticks
from vae_core.codec.storage import Ints
from vae_core.config import CodecConfig
from vae_core.schema import Kind, Schema

_NEAR = 0.05  # spread of the time between two moments, of the spread of the later one, at most
_KINDS = (Kind.TIMESTAMP, Kind.DATE)
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY = 86_400 * 10**9


def find_times(arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig) -> list[Relation]:
    """The moments that are never far from an earlier one, each with the one that it is nearest to, which comes before.

    Args:
        arrays: the learned columns.
        schema: what they are.
        config: `split_above`: a column of no more values is learned well enough by itself.
    """
    arrays = {k: array for k, array in arrays.items() if schema.columns[k].kind in _KINDS}
    medians = {k: float(np.median(numbers(array)[present(array)])) * _tick(array.type) for k, array in arrays.items()}
    earlier: list[int] = []
    found = []
    for target in sorted(arrays, key=lambda k: (medians[k], k)):
        array = arrays[target]
        there = present(array)
        moments = numbers(array)[there]
        nearest, best = None, _NEAR * _spread(moments)
        for source in earlier:
            ratio = _ratio(arrays[source].type, array.type)
            if ratio is not None and present(arrays[source])[there].all():
                spread = _spread(moments - ticks(arrays[source], ratio)[there])
                if spread < best:
                    nearest, best = (source, ratio), spread
        if nearest is not None and (able := described(array, config.extremes, config.split_above)) is not None:
            found.append(Relation(How.TIME, target, (nearest[0],), nearest[1], 0.0, able[0], None))
        earlier.append(target)
    return found


def _tick(kind: pa.DataType) -> int:
    """Nanoseconds."""
    if pa.types.is_timestamp(kind):
        return _NANOSECONDS[kind.unit]
    return _DAY if pa.types.is_date32(kind) else _NANOSECONDS["ms"]


def _ratio(source: pa.DataType, target: pa.DataType) -> tuple[int, ...] | None:
    """What `ticks` takes; None where two clocks differ: dates and moments without a time zone are of one."""
    if source == target:
        return ()
    if len({kind.tz if pa.types.is_timestamp(kind) else None for kind in (source, target)}) > 1:
        return None
    return max(1, _tick(source) // _tick(target)), max(1, _tick(target) // _tick(source))


def _spread(moments: Ints) -> float:
    """Of the inner nine tenths."""
    low, high = np.quantile(moments, [0.05, 0.95])
    return float(high - low)
