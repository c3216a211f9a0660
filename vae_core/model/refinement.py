"""Fine codes that mean nothing without their coarse one: what counts is the pair, a leaf."""

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
    only says where in the coarse one a number lies: it is embedded by itself, and learned from more rows. A column of
    which a quarter are atoms is not of bins.
    """
    refines: list[int | None] = [None] * len(codec.sub_columns)
    for part, coarse, fine in codec.split_parts:
        few = codec.sub_columns[coarse].size * codec.sub_columns[fine].size <= MAX_LEAVES
        leaves = part.leaves
        bins = isinstance(leaves, NumericLeaves) and leaves.is_atom(np.arange(leaves.size)).mean() < 0.25
        if few and not bins:
            refines[fine] = coarse
    return refines


def leaf_counts(sizes: Sequence[int], refines: Sequence[int | None]) -> list[int]:
    """Number of leaf ids of each variable.

    Args:
        sizes: number of codes of each.
        refines: index of the variable whose code each refines, or None.
    """
    return [size if coarse is None else size * sizes[coarse] for size, coarse in zip(sizes, refines, strict=True)]


def leaf_ids(
    codes: npt.NDArray[np.integer], sizes: Sequence[int], refines: Sequence[int | None]
) -> npt.NDArray[np.int64]:
    """int64 [n, variables]: codes [n, variables], or numbers of (coarse, fine) pairs; arguments as in `leaf_counts`."""
    leaves = codes.astype(np.int64)
    for j, coarse in enumerate(refines):
        if coarse is not None:
            leaves[:, j] += leaves[:, coarse] * sizes[j]
    return leaves
