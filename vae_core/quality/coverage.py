"""Which of the real values occur among the synthetic rows: sdmetrics 0.24.0's CategoryCoverage and RangeCoverage."""

from __future__ import annotations

import numpy as np

from vae_core.quality.frames import Codes, Floats, Frame


def coverage(real: Frame, synthetic: Frame) -> dict[str, float]:
    """What each column covers, in [0, 1].

    Returns:
        For a category, the share of the levels of `real` that `synthetic` has; for a number, the share of the range of
        `real` between the smallest and the largest value of `synthetic`. NaN for a number of a single real value, and
        where a side that is needed has none.
    """
    found = {}
    for i, feature in enumerate(real.features):
        a, b = (frame.values[i][~frame.missing(i)] for frame in (real, synthetic))
        found[feature.name] = _range(a, b) if feature.numeric else _levels(a, b)
    return found


def _levels(real: Floats | Codes, synthetic: Floats | Codes) -> float:
    levels = np.unique(real)
    return float(np.isin(levels, synthetic).mean()) if len(levels) else float("nan")


def _range(real: Floats | Codes, synthetic: Floats | Codes) -> float:
    if not len(real) or not len(synthetic) or real.min() == real.max():
        return float("nan")
    below = max(synthetic.min() - real.min(), 0.0)
    above = max(real.max() - synthetic.max(), 0.0)
    return float(max(0.0, 1 - (below + above) / (real.max() - real.min())))
