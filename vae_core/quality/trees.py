"""Gradient-boosted trees on frames: the classifier and the regressor that the checks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vae_core.quality.frames import Floats, Frame

MAX_LEVELS = 250
"""Categories that the trees split as sets; a column with more is read as ranks of its levels by frequency."""

MAX_CELLS = 2_000_000
"""Rows times columns that one model is fitted on, at most: bounds the time on wide tables."""

FEW_PRESENT = 20
"""Values, of a column that has missing ones, that tell the trees nothing if they are fewer."""

STOPPABLE = 200
"""Rows from which on a tenth of them tells when to stop."""


def matrix(frame: Frame, columns: list[int]) -> Floats:
    """Float64 [n, c] of the columns at `columns`, NaN for missing."""
    return np.stack([frame.numbers(i) for i in columns], axis=1)


def rows_for(columns: int) -> int:
    """Rows that a model on so many columns is fitted on, at most."""
    return max(2_000, MAX_CELLS // max(1, columns))


def classifier(frame: Frame, columns: list[int], rows: int, seed: int) -> Any:
    """A scikit-learn classifier for `rows` rows of `matrix(frame, columns)`; stops when nothing is left to learn."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(**_settings(frame, columns, rows, seed))


def regressor(frame: Frame, columns: list[int], rows: int, seed: int) -> Any:
    """A scikit-learn regressor for `rows` rows of `matrix(frame, columns)`."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(**_settings(frame, columns, rows, seed))


def fit(model: Any, x: Floats, y: npt.NDArray[Any]) -> Any:
    """Fit one of these to `x` [n, c] and `y` [n], and return it.

    Columns that are missing nearly throughout are left out: scikit-learn fails where the rows that it sets aside, so as
    to stop by them, have the only values.
    """
    present = (~np.isnan(x)).sum(axis=0)
    return model.fit(np.where(present < min(FEW_PRESENT, len(x)), 0.0, x), y)


def _settings(frame: Frame, columns: list[int], rows: int, seed: int) -> dict[str, Any]:
    features = [frame.features[i] for i in columns]
    return {
        "categorical_features": [not f.numeric and len(f.levels) <= MAX_LEVELS for f in features],
        "learning_rate": 0.2,
        "max_iter": max(20, min(100, 6_000 // len(columns))),
        "early_stopping": rows >= STOPPABLE,
        "validation_fraction": 0.1,
        "n_iter_no_change": 8,
        "random_state": seed,
    }
