"""How much columns say about each other, and an order of many levels that follows from it."""

from __future__ import annotations

import numpy as np

from vae_core.codec.storage import Array


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


def _association(joint: Array) -> float:
    """Mutual information of counts, less what chance gives (Miller 1955), over the root of both entropies."""
    total = joint.sum()
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    own, other = _entropy(rows), _entropy(columns)
    if own <= 0 or other <= 0:
        return 0.0
    chance = (np.count_nonzero(rows) - 1) * (np.count_nonzero(columns) - 1) / (2 * total)
    return float((own + other - _entropy(joint.ravel()) - chance) / np.sqrt(own * other))


def _entropy(counts: Array) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
