"""Which rows are held out of training, the same ones wherever it is asked, and how some of the rows are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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


def rows_where(dataset: Any, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows of an Arrow dataset where `wanted`, bool [rows], is True; beside them a batch is in memory at a time."""
    parts, start = [], 0
    for batch in dataset.to_batches(batch_readahead=1, fragment_readahead=1):
        parts.append(batch.filter(pa.array(wanted[start : start + len(batch)])))
        start += len(batch)
    return pa.Table.from_batches(parts, dataset.schema)
