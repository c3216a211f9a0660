"""Tables of frequencies given another variable's code, and how far to trust them.

A row of a table is smoothed towards the frequencies over all rows, as if `smoothing` rows more had been seen that are
distributed like those (a Dirichlet prior). How many is chosen by leaving each row out once: the logarithm of what the
table counted without a row says about that row, which needs the counts alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PSEUDO_ROWS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

Floats = npt.NDArray[np.float64]


def marginal(counts: npt.NDArray[np.number], possible: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Frequencies over all rows, float64 [..., codes], of `counts` [codes]; almost none where it isn't `possible`."""
    weight = np.where(True if possible is None else possible, counts + 0.5, 1e-9)
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True), np.float64)


def left_out_gain(counts: npt.NDArray[np.number], everywhere: Floats, pseudo_rows: float) -> float:
    """What a table says about a row counted without it, more than `everywhere` does; nats a row.

    Args:
        counts: [rows of the table, codes].
        everywhere: frequencies over all rows [rows of the table or 1, codes], as `marginal` gives them.
        pseudo_rows: of the smoothing.
    """
    r, k = np.nonzero(counts)
    prior = np.broadcast_to(everywhere, counts.shape)[r, k]
    of_cell, of_row = counts[r, k], counts.sum(axis=1)[r]
    said = (of_cell - 1 + pseudo_rows * prior) / (of_row - 1 + pseudo_rows)
    return float((of_cell * np.log(said / prior)).sum() / max(counts.sum(), 1))


def smoothing(counts: npt.NDArray[np.number], everywhere: Floats) -> float:
    """The number of pseudo-rows that gains most; arguments as in `left_out_gain`."""
    if len(counts) == 1:
        return PSEUDO_ROWS[0]
    return max(PSEUDO_ROWS, key=lambda rows: left_out_gain(counts, everywhere, rows))
