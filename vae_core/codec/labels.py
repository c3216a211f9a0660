"""Numbers that are names: of a place, a flight, a product. What neighbours among them are like says nothing.

Neighbouring numbers share weights in the model, and coarse codes are runs of them: right for an age, wrong for the
number of a district. Which it is, the other columns tell: do a number's neighbours foretell them as well as itself?
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.relations import numbers, present
from vae_core.codec.storage import Array, Ints
from vae_core.schema import Kind, Schema

_KINDS = (Kind.INTEGER, Kind.REAL)
_LEAST, _MOST = 20, 20_000  # values of a column of labels
_SUPPORT = 20  # rows a value, on average
_COMMON = 0.5  # share of the rows that have the commonest value, less than: counts are mostly 0, labels aren't
_POOLED = 0.01  # share of the rows whose value is too rare to be given, at most
_ROWS = 100_000  # that are looked at, at most
_CONTEXTS, _GROUPS = 32, 16  # other columns that are foretold, each in so many groups
_SHARED = 200  # rows for which each neighbour counts, at most
_PRIOR = 10.0  # rows for which the law over all values counts
_NEIGHBOURLY = 0.2  # of what a value foretells, what its neighbours foretell of ordered numbers, at least
_TELLING = 0.05  # nats that a value foretells of the other columns together, at least


def find_labels(arrays: Mapping[int, pa.Array], schema: Schema, few: int) -> set[int]:
    """The columns of whole numbers that are labels.

    Args:
        arrays: the learned columns.
        schema: what they are.
        few: levels of fewer rows are pooled; where many rows are, the numbers stay numbers.
    """
    candidates = {}
    for index, array in arrays.items():
        column = schema.columns[index]
        if column.kind in _KINDS and column.likelihood != "gaussian" and not pa.types.is_uint64(array.type):
            values = numbers(array)[present(array)]
            distinct, counts = np.unique(values, return_counts=True)
            if (
                _LEAST < len(distinct) <= min(_MOST, len(values) / _SUPPORT)
                and counts.max() < _COMMON * len(values)
                and counts[counts < few].sum() <= _POOLED * len(values)
                and (distinct % 1 == 0).all()
            ):
                candidates[index] = distinct
    if not candidates:
        return set()
    rows = len(next(iter(arrays.values())))
    sample = pa.array(np.unique(np.linspace(0, rows - 1, min(rows, _ROWS), dtype=np.int64)))
    contexts = {index: _groups(array.take(sample)) for index, array in list(arrays.items())[: _CONTEXTS + 1]}
    found = set()
    for index, distinct in candidates.items():
        array = arrays[index].take(sample)
        there = present(array)
        ids = np.searchsorted(distinct, numbers(array)[there])
        others = [groups[there] for other, groups in contexts.items() if other != index]
        own, neighbours = _foretold(ids, len(distinct), others)
        if own > _TELLING and neighbours < _NEIGHBOURLY * own:
            found.add(index)
    return found


def _foretold(ids: Ints, size: int, others: list[Ints]) -> tuple[float, float]:
    """Nats a row that values, and that the two neighbours on either side, foretell of the other columns, in all.

    Learned on every other row, and measured on the rest. The commonest value is left aside: a zero is often unlike
    a one, though both are numbers.
    """
    common = int(np.argmax(np.bincount(ids, minlength=size)))
    rare = ids != common
    learned = np.arange(len(ids)) % 2 == 0
    own = neighbours = 0.0
    for groups in others:
        width = int(groups.max()) + 1
        cell = ids * width + groups
        seen, tested = (
            np.bincount(cell[rare & part], minlength=size * width).reshape(size, width).astype(np.float64)
            for part in (learned, ~learned)
        )
        law = (seen.sum(axis=0) + 0.5) / (seen.sum() + 0.5 * width)
        shared = seen * np.minimum(1.0, _SHARED / np.maximum(seen.sum(axis=1, keepdims=True), 1.0))
        near = np.zeros_like(seen)
        for apart in (1, 2):
            near[apart:] += shared[:-apart]
            near[:-apart] += shared[apart:]
        gains = []
        for counts in (seen, near):
            foretold = (counts + _PRIOR * law) / (counts.sum(axis=1, keepdims=True) + _PRIOR)
            gains.append(float((tested * np.log(foretold / law)).sum()) / max(1.0, float(tested.sum())))
        if gains[0] > 0:
            own += gains[0]
            neighbours += max(gains[1], 0.0)
    return own, neighbours


def _groups(array: pa.Array) -> Ints:
    """Which of a few groups each row's value is in, int64 [n]: the commonest levels, or quantiles; 0 where missing."""
    there = present(array)
    groups = np.zeros(len(array), dtype=np.int64)
    if storage.is_integral(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        values: Array = numbers(array)[there]
        distinct, ids = np.unique(values, return_inverse=True)
        if len(distinct) >= _GROUPS:
            ranks = np.searchsorted(np.sort(values), values, side="right")
            ids = (ranks - 1) * (_GROUPS - 1) // max(1, len(values))
        groups[there] = 1 + ids
        return groups
    known = array.filter(pa.array(there))
    encoded = known if pa.types.is_dictionary(known.type) else known.dictionary_encode()
    ids = encoded.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(ids, minlength=1)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    groups[there] = 1 + np.minimum(rank[ids], _GROUPS - 2)
    return groups
