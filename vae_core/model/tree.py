"""A dependence tree: for each variable the earlier one that says most about it (Chow & Liu 1968).

The decoder's biases are tables given that variable's code, so training starts from the tree's pairwise distributions,
and the heads only learn what the tree doesn't say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.model.layout import leaf_counts, leaf_ids, refined

CELLS = 131_072  # entries of a table, at most
LEAST = 0.005  # nats: a weaker parent isn't worth a table
WORK = 2_000_000_000  # codes counted, at most


def dependence_tree(codec: Codec, codes: npt.NDArray[np.int32]) -> list[int | None]:
    """Choose each variable's parent among those before it, by mutual information.

    Args:
        codec: its own parents (a fine code's coarse one) stay.
        codes: int32 [n, sub_columns], training rows.

    Returns:
        Index of each variable's parent, or None.
    """
    subs, rows_of = codec.sub_columns, leaf_counts(codec)
    rows = min(max(WORK // len(subs) ** 2, 2_000), len(codes))
    sample = codes[:: max(1, len(codes) // rows)]
    leaves = np.ascontiguousarray(leaf_ids(sample, refined(codec), [sub.size for sub in subs]).T)
    sample = np.ascontiguousarray(sample.T.astype(np.int64))
    parents: list[int | None] = []
    for j, sub in enumerate(subs):
        best, most = sub.parent, LEAST
        if sub.parent is None and not sub.gaussian:
            for k in range(j):
                if rows_of[k] * sub.size <= CELLS:
                    information = _mutual_information(leaves[k], sample[j], rows_of[k], sub.size)
                    if information > most:
                        best, most = k, information
        parents.append(best)
    return parents


def _mutual_information(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], size_x: int, size_y: int) -> float:
    """Mutual information in nats, less its expected value for independent variables (Miller 1955)."""
    joint = np.bincount(x * size_y + y, minlength=size_x * size_y).reshape(size_x, size_y) / len(x)
    p_x, p_y = joint.sum(axis=1), joint.sum(axis=0)
    i, k = np.nonzero(joint)
    information = float((joint[i, k] * np.log(joint[i, k] / (p_x[i] * p_y[k]))).sum())
    return information - (np.count_nonzero(p_x) - 1) * (np.count_nonzero(p_y) - 1) / (2 * len(x))
