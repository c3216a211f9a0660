"""Pairs of columns that are in order on every row: the least and the most, a part and its whole.

The model learns such a column given the other one by bins, and a few rows cross the border. There the two values change
places, so that the order holds again: mass that was smeared over a border is reflected at it, as kernel density
estimates do (Silverman, Density Estimation, 1986, section 2.10). A value far out in its column stays, or the column's
range would shrink: the other one takes it too. Where one of the columns is written more finely than the other, a mean
between two whole numbers, it always takes the other's value, which is one that it may have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.codec.grid import Grid
from vae_core.codec.leaves import value_limits
from vae_core.codec.relations import exchanged, is_number, numbers, present, spread_rows
from vae_core.codec.storage import Array, Bools
from vae_core.schema import Schema

_SAMPLE = 4_096  # rows on which orders are looked for
_TESTED = 65_536  # rows on which is told whether one says anything
_GROUPS = 16  # quantile groups within which the lower values are exchanged ...
_BROKEN = 10  # ... which has to break the order on so many rows
_BROKEN_SHARE = 0.001  # ... and on this share of them
_FAR = 0.01  # share of a column's rows whose values stay


class Order(NamedTuple):
    """Two columns, of which `low` is never greater than `high`.

    `gives` is the one that takes the other's value where they aren't in order; `None`: they change places, but that
    values of `low` above `most`, and values of `high` below `least`, stay.
    """

    low: int
    high: int
    gives: int | None = None
    most: float | None = None
    least: float | None = None


def find_orders(arrays: Mapping[int, pa.Array], schema: Schema, few: int = 1) -> tuple[Order, ...]:
    """The orders of columns of numbers that no row contradicts; a row where a value is missing says nothing.

    One counts when it would be broken if the two columns knew each other only roughly. One that follows from two others
    isn't given. They are in the order in which they have to be restored.

    Args:
        arrays: the learned columns that no other column is told from, or told by.
        schema: what they are.
        few: nothing beyond a column's few-th smallest and largest value is told.
    """
    arrays = {k: array for k, array in arrays.items() if is_number(array, schema.columns[k])}
    if len(arrays) < 2:
        return ()
    rows = len(next(iter(arrays.values())))
    sample = pa.array(spread_rows(rows, _SAMPLE))
    values = {k: _values(array.take(sample)) for k, array in arrays.items()}
    known = {k: each for k, each in values.items() if not np.isnan(each).all()}
    upwards = sorted(known, key=lambda k: float(np.nanmean(known[k])))
    matrix = np.column_stack([known[k] for k in upwards]) if known else np.empty((0, 0))
    whole = {k for k in upwards if not arrays[k].null_count}
    above: dict[int, set[int]] = {k: set() for k in upwards}
    places: dict[int, set[int]] = {k: set() for k in upwards}  # by those whose values change places
    steps: dict[Order, float] = {}  # the others, and the grid on which a value gives way
    for n, low in reversed(list(enumerate(upwards))):
        near = exchanged(matrix[:, n], np.random.default_rng(0), _GROUPS)
        with np.errstate(invalid="ignore"):
            broken = (matrix[near, n, None] > matrix).any(axis=0) & ~(matrix[:, n, None] > matrix).any(axis=0)
        for high in (upwards[m] for m in np.flatnonzero(broken)):  # the nearest first, so that what follows is known
            if high in _reached(low, places, whole):
                continue
            if not _is_order(arrays[low], arrays[high]) or low in _reached(high, above, above):
                continue
            grids = [_grid(arrays[low]), _grid(arrays[high]), _grid(arrays[low], arrays[high])]
            if grids[0] == grids[1]:
                places[low].add(high)
                above[low].add(high)
            elif grids[2] in grids[:2]:
                gives = high if grids[2] == grids[1] else low
                steps[Order(low, high, gives)] = 0.0 if grids[2] is None else grids[2][0]
                above[low].add(high)
    changing = [(low, high) for low in sorted(places) for high in sorted(places[low])]
    direct = [Order(low, high, None, *_far(arrays[low], arrays[high], few)) for low, high in changing]
    return (*direct, *sorted(steps, key=lambda order: -steps[order]))


def put_in_order(arrays: dict[int, pa.Array], orders: Sequence[Order]) -> Bools | None:
    """Restore all orders, in `arrays` itself. Returns which rows changed, bool [n], `None` for none."""
    changed: Bools | None = None
    places = [order for order in orders if order.gives is None]
    left, moved = len(places), set(arrays)
    while moved:  # each exchange takes a larger value to a later column of any line-up that has all orders: it ends
        before, moved = moved, set()
        for low, high, _, most, least in places:
            if not (before | moved) & {low, high} or (wrong := _wrong(arrays[low], arrays[high])) is None:
                continue
            stays = (None, None) if left < 0 else (pc.greater(arrays[low], most), pc.less(arrays[high], least))
            taken = (
                _taken(wrong, arrays[low], arrays[high], stays[0]),
                _taken(wrong, arrays[high], arrays[low], stays[1]),
            )
            arrays[low], arrays[high] = taken
            changed, moved = _either(changed, wrong), moved | {low, high}
        left -= 1  # values that stay may send others to and fro
    # Of those that give way the coarsest first: its value is then that of finer ones.
    for low, high, gives, *_ in orders:
        if gives is not None and (wrong := _wrong(arrays[low], arrays[high])) is not None:
            arrays[gives] = _taken(wrong, arrays[gives], arrays[low if gives == high else high])
            changed = _either(changed, wrong)
    return changed


def among(column: int, orders: Sequence[Order]) -> set[int]:
    """The columns whose values may come to stand in this one, itself included."""
    reached, seen = {column}, set[int]()
    while reached != seen:
        seen = set(reached)
        reached |= {k for order in orders if reached & set(order[:2]) for k in order[:2]}
    return reached


def in_words(orders: Sequence[Order], names: Sequence[str]) -> list[tuple[str, str]]:
    """Each order as the higher column and what is true of it."""
    return [(names[high], f"is never less than {names[low]}") for low, high, *_ in orders]


def _wrong(low: pa.Array, high: pa.Array) -> pa.Array | None:
    """Where `low` is greater than `high`; `None` for nowhere."""
    wrong = pc.fill_null(pc.greater(low, high), False)
    return wrong if pc.any(wrong).as_py() else None


def _taken(wrong: pa.Array, own: pa.Array, other: pa.Array, stays: pa.Array | None = None) -> pa.Array:
    """`own`, with the value of `other` where it is `wrong`, and doesn't stay; that is within what its type holds."""
    if stays is not None:
        wrong = pc.and_not(wrong, stays)
    return pc.if_else(wrong, other.cast(own.type, safe=False), own)


def _either(changed: Bools | None, more: pa.Array) -> Bools:
    rows: Bools = more.to_numpy(zero_copy_only=False)
    return rows if changed is None else changed | rows


def _reached(column: int, above: Mapping[int, set[int]], through: Collection[int]) -> set[int]:
    """The columns that are never less than this one, as orders by way of the columns `through` say."""
    reached, new = {column}, [column]
    while new:
        k = new.pop()
        if k == column or k in through:
            new += above[k] - reached
            reached |= above[k]
    return reached


def _is_order(low: pa.Array, high: pa.Array) -> bool:
    if low.type != high.type and (pa.types.is_decimal(low.type) or pa.types.is_decimal(high.type)):
        return False
    both = present(low) & present(high)
    x, y = numbers(low)[both], numbers(high)[both]
    if not len(x) or (x > y).any():
        return False
    some = spread_rows(len(x), _TESTED)
    near = exchanged(x[some], np.random.default_rng(0), _GROUPS)
    return bool((x[some][near] > y[some]).sum() >= max(_BROKEN, _BROKEN_SHARE * len(some)))


def _far(low: pa.Array, high: pa.Array, few: int) -> tuple[float, float]:
    """What `_FAR` of the lower column's values are above, and as many of the higher one's below."""
    ends = []
    for array, share in ((low, 1 - _FAR), (high, _FAR)):
        values = array.drop_null().cast(pa.float64()).to_numpy()
        limits = value_limits(*np.unique(values, return_counts=True), few)
        ends.append(float(np.clip(np.quantile(values, share), *limits)))
    return ends[0], ends[1]


def _grid(*arrays: pa.Array) -> tuple[float, float] | None:
    """The distance of the values that the columns may have, and where they begin; `None` where they may have any."""
    values = np.concatenate([numbers(array)[present(array)] for array in arrays])
    grid = Grid.fit(np.unique(values))
    return None if grid is None else (grid.step / 10.0**grid.decimals, grid.offset / 10.0**grid.decimals)


def _values(array: pa.Array) -> Array:
    """As float64 [n], NaN where missing."""
    values = numbers(array).astype(np.float64)
    values[~present(array)] = np.nan
    return values
