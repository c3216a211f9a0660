"""Columns that repeat an earlier one on some rows: what is paid is what was billed, or nothing, or some of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa

from vae_core.codec.relations import (
    How,
    Relation,
    described,
    is_number,
    keeps_its_law,
    numbers,
    present,
    some_rows,
    spread_rows,
)
from vae_core.codec.storage import Array, Bools
from vae_core.config import CodecConfig
from vae_core.schema import Schema

_SAMPLE = 8_192  # rows on which repeats are looked for
_RARE = 0.01  # share of rows that have a value, below which it is not by chance that two columns both have it
_REPEATED = 0.05  # share of rows that repeat a value that is rare in one column, at least
_BY_CHANCE = 5.0  # times as many as independent columns would


def find_repeats(
    arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig, taken: Collection[int]
) -> list[Relation]:
    """The columns whose value is that of an earlier column on some rows, each with the one that it repeats most.

    Args:
        arrays: the learned columns.
        schema: what they are.
        config: `split_above` and `extremes`.
        taken: columns that others say already.
    """
    arrays = {k: array for k, array in arrays.items() if k not in taken and is_number(array, schema.columns[k])}
    if len(arrays) < 2:
        return []
    rows = len(next(iter(arrays.values())))
    chosen = pa.array(spread_rows(rows, _SAMPLE))
    some = {k: array.take(chosen) for k, array in arrays.items()}
    there = {k: present(array) for k, array in some.items()}
    values = {k: numbers(array) for k, array in some.items()}
    rare = {k: _rare(values[k], there[k]) for k in some}
    found = []
    for target, array in arrays.items():
        shares = {
            k: float((there[k] & there[target] & (rare[k] | rare[target]) & (values[k] == values[target])).mean())
            for k in arrays
            if k < target and arrays[k].type == array.type
        }
        source = max(shares, key=lambda k: shares[k], default=None)
        if source is None or shares[source] < _REPEATED:
            continue
        if shares[source] < _BY_CHANCE * _by_chance(values[source][there[source]], values[target][there[target]]):
            continue
        if (able := described(array, config.extremes, config.split_above)) is None:
            continue
        given = numbers(array)[present(array)]
        below = float(given.min() - max(1, np.ceil(given.std())))
        relation = Relation(How.REPEAT, target, (source,), (), below, *able)
        if keeps_its_law(relation, some_rows(relation, arrays)):
            found.append(relation)
    return found


def _rare(values: Array, there: Bools) -> Bools:
    """Where there is a value that few rows have, bool [n]."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(there & (counts[which] < max(2, _RARE * len(values))))


def _by_chance(first: Array, second: Array) -> float:
    """Share of rows on which independent columns of these values would agree on one that is rare in either."""
    one, many = np.unique(first, return_counts=True)
    other, more = np.unique(second, return_counts=True)
    _, i, j = np.intersect1d(one, other, assume_unique=True, return_indices=True)
    p, q = many[i] / len(first), more[j] / len(second)
    return float((p * q)[np.minimum(p, q) < _RARE].sum())
