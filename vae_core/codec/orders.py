"""Pairs of columns that are in order on every row: the least and the most, a part and its whole.

The model learns such a column given the other one by bins, and a few rows cross the border. There the two values change
places, so that the order holds again: mass that was smeared over a border is reflected at it, as kernel density
estimates do (Silverman, Density Estimation, 1986, section 2.10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.codec.grid import Grid
from vae_core.codec.relations import exchanged, is_number, numbers, present
from vae_core.codec.storage import Array, Bools, Ints
from vae_core.schema import Schema

Orders = tuple[tuple[int, int], ...]

_SAMPLE = 4_096  # rows on which orders are looked for
_TESTED = 65_536  # rows on which is told whether one says anything
_GROUPS = 16  # quantile groups within which the lower values are exchanged ...
_BROKEN = 10  # ... which has to break the order on so many rows
_BROKEN_SHARE = 0.001  # ... and on this share of them


def find_orders(arrays: Mapping[int, pa.Array], schema: Schema) -> Orders:
    """The pairs (lower, higher) of columns of numbers of one type and grid that no row has the other way round.

    An order counts when it would be broken if the two columns knew each other only roughly; one that follows from two
    others isn't given. A row where a value is missing says nothing.

    Args:
        arrays: the learned columns that no other column is told from, or told by.
        schema: what they are.
    """
    arrays = {k: array for k, array in arrays.items() if is_number(array, schema.columns[k])}
    if len(arrays) < 2:
        return ()
    rows = len(next(iter(arrays.values())))
    sample = pa.array(_spread(rows, _SAMPLE))
    values = np.column_stack([_values(array.take(sample)) for array in arrays.values()])
    columns = np.array(list(arrays))
    found: list[tuple[int, int]] = []
    for n, low in enumerate(columns.tolist()):
        with np.errstate(invalid="ignore"):
            possible = columns[~(values[:, n, None] > values).any(axis=0)]
        for high in possible.tolist():
            if high != low and arrays[low].type == arrays[high].type and _is_order(arrays[low], arrays[high]):
                found.append((low, high))
    whole = {k for k, array in arrays.items() if not array.null_count}
    pairs = set(found)
    return tuple(
        (low, high) for low, high in found if not any({(low, k), (k, high)} <= pairs for k in whole - {low, high})
    )


def put_in_order(arrays: dict[int, pa.Array], orders: Orders) -> Bools | None:
    """Let values change places, in `arrays` itself, until all orders hold. Returns the rows [n], `None` for none."""
    changed: Bools | None = None
    again = bool(orders)
    while again:  # each exchange takes a larger value to a later column of any line-up that has all orders: it ends
        again = False
        for low, high in orders:
            wrong = pc.fill_null(pc.greater(arrays[low], arrays[high]), False)
            if not pc.any(wrong).as_py():
                continue
            arrays[low], arrays[high] = (pc.if_else(wrong, arrays[b], arrays[a]) for a, b in ((low, high), (high, low)))
            rows = wrong.to_numpy(zero_copy_only=False)
            changed = rows if changed is None else changed | rows
            again = True
    return changed


def among(column: int, orders: Orders) -> set[int]:
    """The columns whose values may come to stand in this one, itself included."""
    reached, seen = {column}, set[int]()
    while reached != seen:
        seen = set(reached)
        reached |= {k for order in orders if reached & set(order) for k in order}
    return reached


def in_words(orders: Orders, names: Sequence[str]) -> list[tuple[str, str]]:
    """Each order as the higher column and what is true of it."""
    return [(names[high], f"is never less than {names[low]}") for low, high in orders]


def _is_order(low: pa.Array, high: pa.Array) -> bool:
    both = present(low) & present(high)
    x, y = numbers(low)[both], numbers(high)[both]
    if not len(x) or (x > y).any():
        return False
    some = _spread(len(x), _TESTED)
    near = exchanged(x[some], np.random.default_rng(0), _GROUPS)
    if (x[some][near] > y[some]).sum() < max(_BROKEN, _BROKEN_SHARE * len(some)):
        return False
    return Grid.fit(np.unique(x)) == Grid.fit(np.unique(y))


def _values(array: pa.Array) -> Array:
    """As float64 [n], NaN where missing."""
    values = numbers(array).astype(np.float64)
    values[~present(array)] = np.nan
    return values


def _spread(rows: int, count: int) -> Ints:
    return np.unique(np.linspace(0, rows - 1, min(rows, count), dtype=np.int64))
