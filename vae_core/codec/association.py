"""How much columns say about each other, and an order of many levels that follows from it."""

from __future__ import annotations

import math

import numpy as np

from vae_core.codec.storage import Array

_TOLD = 0.5  # of what numbers determine: where neighbours tell as much, the numbers are more than names
_STRAY = 5  # numbers that say something else than most, at least


def order_levels(leaves: Array, count: int, others: list[tuple[Array, int]]) -> Array:
    """Leaves 0..count-1 ordered by their modal level in the most associated of `others`, then by frequency.

    So a coarse code of neighbouring leaves means something: tail numbers group by carrier.

    Args:
        leaves: leaf of each row, int [n]; rows with a leaf outside 0..count-1 are not looked at.
        count: number of leaves.
        others: for each other column the code of each row, int [n], and the number of codes.
    """
    rows = np.flatnonzero((leaves >= 0) & (leaves < count))
    own = leaves[rows].astype(np.int64)
    frequency = np.bincount(own, minlength=count)
    modal = np.zeros(count, dtype=np.int64)
    best = 0.0
    for codes, size in others:
        joint = np.bincount(own * size + codes[rows], minlength=count * size).reshape(count, size)
        score = _association(joint)
        if score > best:
            best, modal = score, np.argmax(joint, axis=1)
    return np.lexsort((np.arange(count), -frequency, modal))


def names_only(ids: Array, tables: list[Array]) -> bool:
    """Whether numbers name something: what they determine is spread over them as if they had been shuffled.

    Neither a number's neighbour tells half of it, as it does of months, nor does a group of neighbours, as of ages.

    Args:
        ids: place in `tables` of each number in ascending order, int [n], -1 for none.
        tables: for each column that the numbers determine, its value of each, -1 for none.
    """
    known = np.flatnonzero(ids >= 0)
    group = np.arange(len(known)) * max(1, math.isqrt(len(known))) // max(1, len(known))
    found = False
    for table in tables:
        _, value = np.unique(table[ids[known]], return_inverse=True)
        if len(value) - np.bincount(value).max(initial=0) < _STRAY:
            continue
        if max(_told(group, value), _told(value[:-1], value[1:])) > _TOLD:
            return False
        found = True
    return found


def _told(x: Array, y: Array) -> float:
    """Mutual information of x and y, less what chance gives, as a share of the entropy of y."""
    size = int(y.max()) + 1
    joint = np.bincount(x * size + y, minlength=(int(x.max()) + 1) * size).reshape(-1, size)
    other = _entropy(joint.sum(axis=0))
    return _information(joint) / other if other > 0 else 0.0


def _association(joint: Array) -> float:
    """Mutual information of counts, less what chance gives, over the root of both entropies."""
    own, other = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    return _information(joint) / math.sqrt(own * other) if own > 0 and other > 0 else 0.0


def _information(joint: Array) -> float:
    """Mutual information of counts in nats, less what chance gives (Miller 1955)."""
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    chance = (np.count_nonzero(rows) - 1) * (np.count_nonzero(columns) - 1) / (2 * joint.sum())
    return _entropy(rows) + _entropy(columns) - _entropy(joint.ravel()) - float(chance)


def _entropy(counts: Array) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
