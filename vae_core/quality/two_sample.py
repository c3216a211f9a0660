"""Can a classifier tell synthetic rows from real ones? At an AUC of 0.5 it can't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vae_core.quality.frames import Codes, Floats, Frame, stack
from vae_core.quality.trees import MAX_LEVELS, classifier, fit, matrix, rows_for

FOLDS = 3
_IMPORTANCE_CELLS = 500_000  # rows times columns that importance is measured on, about
_CHUNK_CELLS = 10_000_000  # of shuffled copies held at once: 80 MB
_BINS = 100


@dataclass(frozen=True)
class TwoSample:
    """What the classifier found.

    Attributes:
        auc: of real against synthetic, cross-validated; 0.5 when the trees learn nothing.
        interval: half the width of its 95 % confidence interval.
        rows: of each side that it saw.
        importance: for each column, how much of the AUC is lost when its values are shuffled; empty when not asked.
    """

    auc: float
    interval: float
    rows: int
    importance: dict[str, float]


def score(auc: float) -> float:
    """1 when real and synthetic can't be told apart, 0 when they always can."""
    return 1 - max(0.0, 2 * auc - 1)


def auc_of(positive: Floats, negative: Floats) -> float:
    """Probability that a score of `positive` [n] is above one of `negative` [m]; ties count half."""
    return float(_placements(positive, negative).mean())


def auc_error(positive: Floats, negative: Floats) -> float:
    """Standard error of `auc_of`, after DeLong, DeLong and Clarke-Pearson (1988); NaN with a single score on a side."""
    if min(len(positive), len(negative)) < 2:
        return float("nan")
    sides = (_placements(positive, negative), _placements(negative, positive))
    return float(np.sqrt(sum(side.var(ddof=1) / len(side) for side in sides)))


def _placements(scores: Floats, others: Floats) -> Floats:
    """For each of `scores` [n], the share of `others` [m] below it, ties half."""
    others = np.sort(others)
    below = np.searchsorted(others, scores, side="left")
    not_above = np.searchsorted(others, scores, side="right")
    return np.asarray((below + not_above) / (2 * len(others)))


def two_sample(real: Frame, synthetic: Frame, seed: int = 0, *, importance: bool = True) -> TwoSample:
    """Cross-validate boosted trees that tell `synthetic` from `real`, on as many rows of each.

    Missing values are left to the trees, categories are split as sets; wide tables are sampled to bound the time. From
    fewer rows than folds nothing can be learned.
    """
    columns = list(range(len(real.features)))
    rows = min(real.rows, synthetic.rows, rows_for(len(columns)))
    if rows < FOLDS:
        return TwoSample(0.5, 0.5, rows, {feature.name: 0.0 for feature in real.features})
    both = _ranked(stack(real.sample(rows, seed), synthetic.sample(rows, seed + 1)))
    x, y = matrix(both, columns), np.repeat([0, 1], rows)
    generator = np.random.default_rng([seed, 2])
    # every fold has its share of either side
    fold = np.concatenate([generator.permutation(np.arange(rows) % FOLDS) for _ in range(2)])
    aucs, errors = [], []
    lost: dict[str, float] = {}
    for k in range(FOLDS):
        test = fold == k
        model = fit(classifier(both, columns, int((~test).sum()), seed + k), x[~test], y[~test])
        scores = model.predict_proba(x[test])[:, 1]
        aucs.append(auc_of(scores[y[test] == 1], scores[y[test] == 0]))
        errors.append(auc_error(scores[y[test] == 1], scores[y[test] == 0]))
        if importance and k == 0:
            lost = _importance(model, x[test], y[test], [f.name for f in both.features], generator)
    return TwoSample(float(np.mean(aucs)), 1.96 * float(np.linalg.norm(errors)) / FOLDS, rows, lost)


def _ranked(both: Frame) -> Frame:
    """`both` with the codes of each category in the order of its frequency in both sides together.

    Columns of many levels are read as ranks. An order taken from one side would tell the sides apart: levels that
    happen to be rare in it are, on average, less rare in any other sample. For the same
    reason, ties go by the level's text.
    """
    values = list(both.values)
    for i, feature in enumerate(both.features):
        if len(feature.levels) > MAX_LEVELS:
            codes = both.codes(i)
            counts = np.bincount(codes + 1, minlength=len(feature.levels) + 1)[1:]
            rank = np.empty(len(counts) + 1, np.int32)
            rank[np.lexsort((np.array(feature.levels), -counts))] = np.arange(len(counts))
            rank[-1] = -1
            values[i] = rank[codes]
    return Frame(both.features, tuple(values), both.rows)


def _auc(y: npt.NDArray[np.int64], scores: Floats) -> float:
    return auc_of(scores[y == 1], scores[y == 0])


def _importance(
    model: Any, x: Floats, y: npt.NDArray[np.int64], names: list[str], generator: np.random.Generator
) -> dict[str, float]:
    """AUC lost when a column of `x` is shuffled, for each column."""
    chosen = generator.permutation(len(x))[: min(4_000, max(1_000, _IMPORTANCE_CELLS // len(names)))]
    x, y = x[chosen], y[chosen]
    whole = _auc(y, model.predict_proba(x)[:, 1])
    lost: dict[str, float] = {}
    step = max(1, _CHUNK_CELLS // x.size)
    for start in range(0, len(names), step):
        # many shuffles in one call: on categories, a call costs scikit-learn more than its rows do
        block = range(start, min(start + step, len(names)))
        copies = np.repeat(x[np.newaxis], len(block), axis=0)
        for copy, i in zip(copies, block, strict=True):
            copy[:, i] = generator.permutation(x[:, i])
        scores = model.predict_proba(copies.reshape(-1, x.shape[1]))[:, 1].reshape(len(block), -1)
        lost |= {names[i]: max(0.0, whole - _auc(y, s)) for i, s in zip(block, scores, strict=True)}
    return lost


def marginal_aucs(real: Frame, synthetic: Frame, seed: int = 0) -> dict[str, float]:
    """For each column, the AUC of telling synthetic from real by that column alone.

    The column is cut into bins; the likelihood ratio of a bin is learned on one half of the rows and scored on the
    other, both ways, so that noise scores 0.5.
    """
    rows = min(real.rows, synthetic.rows)
    a, b = real.sample(rows, seed), synthetic.sample(rows, seed + 1)
    both = stack(a, b)
    half = np.random.default_rng([seed, 3]).permutation(rows) % 2 == 0
    result = {}
    for i, feature in enumerate(both.features):
        codes = _binned(both.numbers(i)) if feature.numeric else both.codes(i) + 1
        size = int(codes.max(initial=0)) + 1
        counts = [np.bincount(side[part], minlength=size) for part in (half, ~half) for side in np.split(codes, 2)]
        result[feature.name] = (_ratio_auc(*counts) + _ratio_auc(*counts[2:], *counts[:2])) / 2
    return result


def _binned(values: Floats) -> Codes:
    """Quantile bins of numbers, 0 for missing; a value with mass of its own gets its own bin."""
    missing = np.isnan(values)
    edges = np.unique(np.quantile(values[~missing], np.linspace(0, 1, _BINS + 1))) if not missing.all() else [0.0]
    # each edge is a bin too: twice the position, plus one past an exact hit
    codes = np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right")
    return np.where(missing, 0, codes + 1).astype(np.int32)


def _ratio_auc(
    real: npt.NDArray[np.int64],
    synthetic: npt.NDArray[np.int64],
    real_test: npt.NDArray[np.int64],
    synthetic_test: npt.NDArray[np.int64],
) -> float:
    """AUC on the test counts of each bin, of the ratio learned from the others."""
    ratio = (synthetic + 0.5) / (real + synthetic + 1.0)
    order = np.argsort(ratio, kind="stable")
    ratio, p, q = ratio[order], synthetic_test[order], real_test[order]
    # bins of one ratio tie
    starts = np.flatnonzero(np.r_[True, ratio[1:] > ratio[:-1]])
    p, q = np.add.reduceat(p, starts), np.add.reduceat(q, starts)
    below = np.cumsum(q) - q
    return float((p * (below + q / 2)).sum() / max(1, p.sum()) / max(1, q.sum()))
