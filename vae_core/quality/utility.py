"""Does a model trained on synthetic rows predict real ones as well as a model trained on real rows?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_core.config import nearest
from vae_core.errors import ConfigError
from vae_core.quality.frames import Floats, Frame
from vae_core.quality.trees import classifier, fit, matrix, regressor, rows_for
from vae_core.quality.two_sample import auc_of
from vae_core.schema import Kind

MAX_CLASSES = 10
"""Levels of a target; the rest of a longer column counts as one more class."""

_MIN_ROWS = 10  # of the second class among the held-out rows: below it an AUC says nothing
_NUMBERS = {Kind.INTEGER, Kind.REAL, Kind.DECIMAL}


@dataclass(frozen=True)
class Utility:
    """Scores on the held-out real rows.

    Attributes:
        target: the predicted column; `None` when the table has none that can be predicted.
        metric: `AUC`, `macro AUC` or `R2`; `None` with `reason` saying why nothing was measured.
        real: score of the model trained on real rows.
        synthetic: score of the model trained on synthetic rows.
    """

    target: str | None
    metric: str | None
    real: float
    synthetic: float
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, with `loss`: the real score minus the synthetic one."""
        measured = self.metric is not None
        return {
            "target": self.target,
            "metric": self.metric,
            "real": self.real if measured else None,
            "synthetic": self.synthetic if measured else None,
            "loss": self.real - self.synthetic if measured else None,
            "reason": self.reason,
        }


def choose_target(train: Frame, holdout: Frame) -> int | None:
    """The column to predict: the last one with two to ten categories that are all frequent; else the last number."""
    numbers = []
    for i in reversed(range(len(train.features))):
        feature = train.features[i]
        if feature.kind in _NUMBERS:
            numbers.append(i)
        elif not feature.numeric and 2 <= len(feature.levels) <= MAX_CLASSES:
            codes = holdout.codes(i)
            counts = np.sort(np.bincount(codes[codes >= 0], minlength=2))
            if counts[-2] >= _MIN_ROWS:
                return i
    return numbers[0] if numbers else None


def utility(train: Frame, holdout: Frame, synthetic: Frame, target: str | None = None, seed: int = 0) -> Utility:
    """Train boosted trees on `train` and on `synthetic`, and score both on `holdout`.

    Raises:
        ConfigError: `target` is not a column that the metrics read.
    """
    names = [f.name for f in train.features]
    if target is not None and target not in names:
        raise ConfigError(f"evaluation.target: no column {target!r} to predict; {nearest(target, names)}")
    chosen = names.index(target) if target is not None else choose_target(train, holdout)
    nan = float("nan")
    if chosen is None or len(names) < 2:
        return Utility(None, None, nan, nan, "no column that the others could predict")
    name, feature = names[chosen], train.features[chosen]
    columns = [i for i in range(len(names)) if i != chosen]
    rows = rows_for(len(columns))
    sides = [_with_target(frame, chosen).sample(rows, seed) for frame in (train, synthetic)]
    test = _with_target(holdout, chosen)
    # The trees take no column that is missing throughout.
    columns = [i for i in columns if not any(side.missing(i).all() for side in sides)]
    if not columns or min(test.rows, *(side.rows for side in sides)) < 2 * _MIN_ROWS:
        return Utility(name, None, nan, nan, "too few rows with a value")
    x, x_test = [matrix(side, columns) for side in sides], matrix(test, columns)
    if feature.numeric:
        truth = test.numbers(chosen)
        if truth.min() == truth.max():
            return Utility(name, None, nan, nan, "a single value among the held-out rows")
        models = [fit(regressor(train, columns, sides[k].rows, seed), x[k], sides[k].numbers(chosen)) for k in (0, 1)]
        scores = [_r2(truth, model.predict(x_test)) for model in models]
        return Utility(name, "R2", scores[0], scores[1])
    labels = [_classes(frame, chosen) for frame in (*sides, test)]
    classes = [c for c in np.unique(labels[2]) if (labels[2] != c).any()]
    if len(classes) < 2:
        return Utility(name, None, nan, nan, "a single class among the held-out rows")
    models = [classifier(train, columns, side.rows, seed) for side in sides]
    scores = [_macro_auc(models[k], x[k], labels[k], x_test, labels[2]) for k in (0, 1)]
    return Utility(name, "AUC" if len(classes) == 2 else "macro AUC", scores[0], scores[1])


def _with_target(frame: Frame, target: int) -> Frame:
    return frame.take(np.flatnonzero(~frame.missing(target)))


def _classes(frame: Frame, target: int) -> npt.NDArray[np.int64]:
    """The target's codes; levels are in the order of their frequency, so the rare ones share the last class."""
    return np.minimum(frame.codes(target), MAX_CLASSES).astype(np.int64)


def _r2(truth: Floats, predicted: Floats) -> float:
    return float(1 - ((truth - predicted) ** 2).mean() / truth.var())


def _macro_auc(model: Any, x: Floats, y: npt.NDArray[np.int64], x_test: Floats, y_test: npt.NDArray[np.int64]) -> float:
    """Mean over the test's classes of one against the rest; a class that was never seen in training scores 0.5."""
    # early stopping holds rows out by class, which needs two of each
    kinds, counts = np.unique(y, return_counts=True)
    usable = np.isin(y, kinds[counts >= 2])
    if len(np.unique(y[usable])) < 2:
        return 0.5
    fit(model, x[usable], y[usable])
    scores = dict(zip(model.classes_.tolist(), model.predict_proba(x_test).T, strict=True))
    classes = np.unique(y_test).tolist()
    constant = np.zeros(len(y_test))
    return float(np.mean([auc_of(s[y_test == c], s[y_test != c]) for c in classes for s in [scores.get(c, constant)]]))
