"""Leaves: what a code means together with others.

The leaf of a fine code is its pair with the coarse one, without which it means nothing; that of a crossed code is its
combination with the leaf of the earlier variable, as of a day with its month. Any other leaf is the code itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.codec.leaves import NumericLeaves

MAX_LEAVES = 2048  # pairs of a coarse and a fine code that get an embedding each


def refined(codec: Codec) -> list[int | None]:
    """For each sub-column of `codec` the one that it refines: of a fine code the coarse one.

    That is for levels and atoms, whose pairs mean something each, if there are not too many. The fine code of a bin
    only says where in the coarse one a number, or a nested value, lies: it is embedded by itself, and learned from more
    rows. A column of which a quarter are atoms is not of bins.
    """
    refines: list[int | None] = [None] * len(codec.sub_columns)
    for part, coarse, fine in codec.split_parts:
        few = codec.sub_columns[coarse].size * codec.sub_columns[fine].size <= MAX_LEAVES
        leaves = part.leaves
        bins = part.nest is not None
        if isinstance(leaves, NumericLeaves):
            bins = leaves.is_atom(np.arange(leaves.size)).mean() < 0.25
        if few and not bins:
            refines[fine] = coarse
    return refines


def leaf_counts(sizes: Sequence[int], refines: Sequence[int | None], crosses: Sequence[int | None]) -> list[int]:
    """Number of leaf ids of each variable.

    Args:
        sizes: number of codes of each.
        refines: index of the variable whose code each refines, or None.
        crosses: index of the variable whose leaf each is crossed with, or None.
    """
    counts: list[int] = []
    for size, coarse, crossed in zip(sizes, refines, crosses, strict=True):
        inside = 1 if coarse is None else sizes[coarse]
        counts.append(size * (inside if crossed is None else counts[crossed]))
    return counts


def leaf_ids(
    codes: npt.NDArray[np.integer],
    sizes: Sequence[int],
    refines: Sequence[int | None],
    crosses: Sequence[int | None],
) -> npt.NDArray[np.int64]:
    """Leaves of codes [n, variables], int64 [n, variables]; other arguments as in `leaf_counts`."""
    leaves = codes.astype(np.int64)
    for j, (size, coarse, crossed) in enumerate(zip(sizes, refines, crosses, strict=True)):
        if coarse is not None:
            leaves[:, j] += codes[:, coarse].astype(np.int64) * size
        elif crossed is not None:
            leaves[:, j] += leaves[:, crossed] * size
    return leaves
