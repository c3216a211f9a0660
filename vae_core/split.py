"""Which rows are held out of training: the same ones wherever it is asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_HOLDOUT = 20_000


def holdout_mask(rows: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose the held-out rows of a snapshot.

    Args:
        rows: rows of the snapshot.
        share: share held out; at least one row, at most `MAX_HOLDOUT`.
        seed: of the training.

    Returns:
        bool [rows], True where a row is held out.
    """
    count = min(max(1, round(rows * share)), MAX_HOLDOUT)
    mask = np.zeros(rows, dtype=np.bool_)
    mask[np.random.default_rng([seed, 0x5911]).choice(rows, count, replace=False)] = True
    return mask
