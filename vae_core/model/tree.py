"""A dependence tree: for each variable the earlier one that foretells it best (Chow & Liu 1968).

The decoder's biases are tables given that variable's code, so training starts from the tree's pairwise distributions,
and the heads only learn what the tree doesn't say. A table of many rows fits the rows it was counted on better than any
others; so each is judged by what it says about a row that it was counted without.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.model.frequencies import left_out_gain, marginal
from vae_core.model.refinement import leaf_counts, leaf_ids, refined

CELLS = 131_072  # entries of a table, at most
LEAST = 0.005  # nats: a weaker parent isn't worth a table
PSEUDO_ROWS = 10.0  # of the tables that are compared; the one that is chosen gets its own number
WORK = 2_000_000_000  # codes counted, at most


def dependence_tree(
    codec: Codec, codes: npt.NDArray[np.int32], crosses: Sequence[int | None]
) -> tuple[int | None, ...]:
    """Choose each variable's parent among those before it, by what a table given its code gains.

    Args:
        codec: its own parents (a fine code's coarse one) stay.
        codes: int32 [n, sub_columns], training rows.
        crosses: index of the earlier variable that each is crossed with, or None.

    Returns:
        Index of each variable's parent, or None.
    """
    subs = codec.sub_columns
    sizes, refines = [sub.size for sub in subs], refined(codec)
    rows_of = leaf_counts(sizes, refines, crosses)
    rows = min(max(WORK // len(subs) ** 2, 2_000), len(codes))
    sample = codes[:: max(1, len(codes) // rows)]
    leaves = np.ascontiguousarray(leaf_ids(sample, sizes, refines, crosses).T)
    sample = np.ascontiguousarray(sample.T.astype(np.int64))
    parents: list[int | None] = []
    for j, sub in enumerate(subs):
        best, most = sub.parent, LEAST
        if sub.parent is None and not sub.gaussian:
            everywhere = marginal(np.bincount(sample[j], minlength=sub.size))
            for k in range(j):
                if rows_of[k] * sub.size <= CELLS:
                    cells = np.bincount(leaves[k] * sub.size + sample[j], minlength=rows_of[k] * sub.size)
                    counts = cells.reshape(rows_of[k], sub.size)
                    gain = left_out_gain(counts, everywhere, PSEUDO_ROWS)
                    if gain > most:
                        best, most = k, gain
        parents.append(best)
    return tuple(parents)
