"""A dependence tree: for each variable the earlier one that says most about it (Chow & Liu 1968).

The decoder's biases are tables given that variable's code, so training starts from the tree's pairwise distributions,
and the heads only learn what the tree doesn't say.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec

CELLS = 16_384  # entries of a table, at most
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
    subs = codec.sub_columns
    rows = int(np.clip(WORK // max(len(subs) ** 2, 1), 2_000, len(codes)))
    sample = np.ascontiguousarray(codes[:: max(1, len(codes) // rows)].T.astype(np.int64))
    parents: list[int | None] = []
    for j, sub in enumerate(subs):
        best, most = sub.parent, LEAST
        if sub.parent is None and not sub.gaussian:
            for k in range(j):
                if subs[k].size * sub.size <= CELLS:
                    information = _mutual_information(sample[k], sample[j], subs[k].size, sub.size)
                    if information > most:
                        best, most = k, information
        parents.append(best)
    return parents


def _mutual_information(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], size_x: int, size_y: int) -> float:
    """Mutual information in nats, less its expected value for independent variables (Miller 1955)."""
    joint = np.bincount(x * size_y + y, minlength=size_x * size_y).reshape(size_x, size_y) / len(x)
    p_x, p_y = joint.sum(axis=1), joint.sum(axis=0)
    seen = joint > 0
    information = float((joint[seen] * np.log(joint[seen] / np.outer(p_x, p_y)[seen])).sum())
    return information - (np.count_nonzero(p_x) - 1) * (np.count_nonzero(p_y) - 1) / (2 * len(x))
