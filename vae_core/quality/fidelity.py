"""Shape of columns and trends of pairs, as sdmetrics 0.24.0's QualityReport defines them; errors are 1 - score.

Shape is the Kolmogorov-Smirnov distance of numbers and the total variation of categories, missing values aside.
Trend is half the difference of Pearson correlations for two numbers, and the total variation of the joint table
otherwise, where missing is a level and numbers are cut into ten bins of equal width **between each table's own
extremes**, as the original does: an outlier moves every bin. `benchmarks/peers` checks the agreement.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from vae_core.quality.frames import Codes, Floats, Frame

MAX_TABLES = 3_000
"""Joint tables counted at most; with more pairs than this, a seeded sample of them is."""

_DECIMALS = 14  # sdmetrics compares numbers to this many decimals
_SMALL = 1e-6  # of a column's variance: below it, sums over the whole table have lost too many digits
_CLOSE = 1e-9  # of a number: what lies closer together cannot be cut into bins


@dataclass(frozen=True)
class Trends:
    """Errors of pairs.

    Attributes:
        mean: over every pair that is defined; NaN without any.
        pairs: (column, column, error), those that were computed.
        total: pairs there are.
    """

    mean: float
    pairs: tuple[tuple[str, str, float], ...]
    total: int


def shape_errors(real: Frame, synthetic: Frame) -> dict[str, float]:
    """Error of each column, in [0, 1]; NaN where a side has no values."""
    errors = {}
    for i, feature in enumerate(real.features):
        a, b = (frame.values[i][~frame.missing(i)] for frame in (real, synthetic))
        if not len(a) or not len(b):
            errors[feature.name] = float("nan")
        elif feature.numeric:
            errors[feature.name] = kolmogorov_smirnov(np.round(a, _DECIMALS), np.round(b, _DECIMALS))
        else:
            size = len(feature.levels)
            difference = np.bincount(a, minlength=size) / len(a) - np.bincount(b, minlength=size) / len(b)
            errors[feature.name] = float(np.abs(difference).sum() / 2)
    return errors


def kolmogorov_smirnov(a: Floats, b: Floats) -> float:
    """Largest distance of the empirical distributions of `a` [n] and `b` [m]."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    below_a = np.searchsorted(a, both, side="right") / len(a)
    below_b = np.searchsorted(b, both, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


def trend_errors(real: Frame, synthetic: Frame, seed: int = 0) -> Trends:
    """Error of each pair of columns, in [0, 1]; pairs without a defined error are left out.

    Args:
        real: the training rows.
        synthetic: what is compared with them.
        seed: chooses the joint tables that are counted when there are more than `MAX_TABLES`.
    """
    names = [f.name for f in real.features]
    numeric = [f.numeric for f in real.features]
    numbers = [i for i, is_number in enumerate(numeric) if is_number]
    found: list[tuple[str, str, float]] = []
    if len(numbers) > 1:
        difference = np.abs(correlations(real, numbers) - correlations(synthetic, numbers)) / 2
        found = [
            (names[numbers[p]], names[numbers[q]], float(difference[p, q]))
            for p, q in combinations(range(len(numbers)), 2)
            if not np.isnan(difference[p, q])
        ]
    pairs = [(i, j) for i, j in combinations(range(len(names)), 2) if not (numeric[i] and numeric[j])]
    chosen = pairs
    if len(pairs) > MAX_TABLES:
        picked = np.random.default_rng(seed).choice(len(pairs), MAX_TABLES, replace=False)
        chosen = [pairs[k] for k in np.sort(picked)]
    a, b = _discrete(real), _discrete(synthetic)
    tables = [(names[i], names[j], _joint_variation(a[i], a[j], b[i], b[j])) for i, j in chosen]
    weights = np.r_[np.ones(len(found)), np.full(len(tables), len(pairs) / max(1, len(tables)))]
    errors = np.array([error for *_, error in found + tables])
    mean = float(errors @ weights / weights.sum()) if len(errors) else float("nan")
    return Trends(mean, tuple(found + tables), len(names) * (len(names) - 1) // 2)


def correlations(frame: Frame, columns: list[int]) -> Floats:
    """Pearson correlation of each pair of number columns over the rows where both have a value.

    Returns:
        Float64 [c, c]; NaN where a column has fewer than two values or only one distinct value.
    """
    values = np.stack([frame.numbers(i) for i in columns], axis=1)
    present = ~np.isnan(values)
    counts = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, values, 0).sum(axis=0) / counts
    centred = np.where(present, values - mean, 0.0)
    scale = np.sqrt((centred**2).sum(axis=0) / counts)
    centred /= np.where(scale > 0, scale, 1.0)
    mask = present.astype(np.float64)
    n = np.maximum(mask.T @ mask, 1)
    sums = centred.T @ mask  # [i, j]: sum of column i over the rows where j has a value too
    variance = (centred**2).T @ mask / n - (sums / n) ** 2
    covariance = centred.T @ centred / n - sums * sums.T / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        result = np.asarray(covariance / np.sqrt(variance * variance.T))
    single = np.array([_single_valued(values[present[:, k], k]) for k in range(len(columns))], dtype=bool)
    doubtful = (np.minimum(variance, variance.T) < _SMALL) & ~single & ~single[:, None]
    for p, q in np.argwhere(np.triu(doubtful, 1)):
        both = present[:, p] & present[:, q]
        result[p, q] = result[q, p] = _pearson(values[both, p], values[both, q])
    result[single, :] = np.nan
    result[:, single] = np.nan
    clipped: Floats = np.clip(result, -1.0, 1.0)
    return clipped


def _single_valued(values: Floats) -> bool:
    return bool(len(values) < 2 or (values == values[0]).all())


def _pearson(x: Floats, y: Floats) -> float:
    if _single_valued(x) or _single_valued(y):
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return float(x @ y)


def _discrete(frame: Frame) -> list[tuple[Codes, int]]:
    """Each column as non-negative codes with their number."""
    coded: list[tuple[Codes, int]] = []
    for feature, values in zip(frame.features, frame.values, strict=True):
        if feature.numeric:
            # a missing number falls behind the last edge, as the largest value does: the original's way
            present = values[~np.isnan(values)]
            close = len(present) > 0 and np.ptp(present) < _CLOSE * abs(present[0])
            origin = present[0] if close else 0.0  # edges near such a number coincide
            edges = np.histogram_bin_edges(present - origin)
            coded.append((np.digitize(values - origin, edges).astype(np.int32), len(edges) + 1))
        else:
            coded.append((np.asarray(values + 1, np.int32), len(feature.levels) + 1))
    return coded


def _joint_variation(a: tuple[Codes, int], b: tuple[Codes, int], c: tuple[Codes, int], d: tuple[Codes, int]) -> float:
    """Total variation of the joint tables of (a, b), real, and (c, d), synthetic."""
    size = a[1] * b[1]
    real, synthetic = _cells(a[0], b), _cells(c[0], d)
    if size > 4 * (len(real) + len(synthetic)):
        # most cells are empty: number those that are not
        used, cells = np.unique(np.concatenate([real, synthetic]), return_inverse=True)
        real, synthetic, size = cells[: len(real)], cells[len(real) :], len(used)
    p, q = (np.bincount(cells, minlength=size) / len(cells) for cells in (real, synthetic))
    return float(np.abs(p - q).sum() / 2)


def _cells(first: Codes, second: tuple[Codes, int]) -> npt.NDArray[np.int64]:
    return first.astype(np.int64) * second[1] + second[0]


def null_errors(real: Frame, synthetic: Frame) -> dict[str, float]:
    """Difference of each column's missing share, in [0, 1]."""
    return {
        feature.name: float(abs(real.missing(i).mean() - synthetic.missing(i).mean()))
        for i, feature in enumerate(real.features)
    }
