"""Are synthetic rows copies of training rows, or nearer to them than to rows that were never trained on?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_core.quality.frames import Floats, Frame

MAX_QUERIES = 5_000
MAX_REFERENCE = 20_000
MAX_CELLS = 2_000_000_000
"""Queries times reference rows times columns, at most: bounds the time on wide tables."""

_CHUNK_CELLS = 4_000_000  # distances held at once: 32 MB
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Distances:
    """Distance to the closest record (DCR).

    Attributes:
        share: of synthetic rows that lie nearer to a training row than to any held-out one, ties half; 0.5 is ideal.
        interval: half the width of the share's 95 % confidence interval.
        train_p5: 5th percentile of the distance from a synthetic row to the nearest training row.
        holdout_p5: the same to the nearest held-out row.
        real_p5: 5th percentile of the distance from a held-out row to the nearest training row.
        queries: synthetic rows measured.
        reference: rows on each side.
    """

    share: float
    interval: float
    train_p5: float
    holdout_p5: float
    real_p5: float
    queries: int
    reference: int


def row_hashes(frame: Frame) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row's values [n]; equal rows of frames prepared together have equal hashes."""
    hashes = np.zeros(frame.rows, np.uint64)
    for values in frame.values:
        numbers = np.where(np.isnan(values), np.inf, values + 0.0)  # one missing value, and no negative zero
        hashes = _mixed(hashes * np.uint64(31) + _mixed(numbers.view(np.uint64)))
    return hashes


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser, which spreads every input bit over the output."""
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))


def copies(train: Frame, rows: Frame) -> float:
    """Share of `rows` that are equal to a row of `train` in every column that is compared."""
    return float(np.isin(row_hashes(rows), row_hashes(train)).mean()) if rows.rows else 0.0


def closest_records(train: Frame, holdout: Frame, synthetic: Frame, seed: int = 0) -> Distances:
    """Compare distances to samples of `train` and `holdout` that are of one size.

    The distance is L1 on numbers scaled by the training rows' range, and on categories one-hot encoded (a different
    category counts 2); missing against a value counts 0.5 to 1 for a number and 2 for a category.
    """
    share = min(1.0, math.sqrt(MAX_CELLS / (MAX_QUERIES * MAX_REFERENCE * max(1, len(train.features)))))
    size = min(train.rows, holdout.rows, int(share * MAX_REFERENCE))
    near, far = train.sample(size, seed), holdout.sample(size, seed + 1)
    queries = synthetic.sample(int(share * MAX_QUERIES), seed + 2)
    scales = _scales(train, (holdout, synthetic))
    reference = _encoded(near, scales)
    to_train = nearest_distances(_encoded(queries, scales), reference)
    to_holdout = nearest_distances(_encoded(queries, scales), _encoded(far, scales))
    real = nearest_distances(_encoded(far.sample(int(share * MAX_QUERIES) // 2, seed + 3), scales), reference)
    wins = np.where(to_train == to_holdout, 0.5, to_train < to_holdout)
    return Distances(
        share=float(wins.mean()),
        interval=float(1.96 * wins.std() / np.sqrt(len(wins))),
        train_p5=float(np.quantile(to_train, 0.05)),
        holdout_p5=float(np.quantile(to_holdout, 0.05)),
        real_p5=float(np.quantile(real, 0.05)),
        queries=queries.rows,
        reference=size,
    )


@dataclass(frozen=True)
class _Scale:
    low: float
    width: float
    has_missing: bool


def _scales(train: Frame, others: tuple[Frame, ...]) -> dict[int, _Scale]:
    """The training rows' smallest value and range of each number column, and whether any frame misses values there."""
    scales = {}
    for i, feature in enumerate(train.features):
        if feature.numeric:
            present = train.values[i][~train.missing(i)]
            low, high = (float(present.min()), float(present.max())) if len(present) else (0.0, 1.0)
            scales[i] = _Scale(low, (high - low) or 1.0, any(f.missing(i).any() for f in (train, *others)))
    return scales


def _encoded(frame: Frame, scales: dict[int, _Scale]) -> tuple[Floats, Floats]:
    """Numbers [n, a] whose L1 distance counts, and codes [n, b] whose mismatches count 2."""
    numbers, codes = [], []
    for i, values in enumerate(frame.values):
        if i not in scales:
            codes.append(np.asarray(values, np.float64))
            continue
        scale, missing = scales[i], frame.missing(i)
        numbers.append(np.where(missing, 0.5, (values - scale.low) / scale.width))
        if scale.has_missing:
            # the middle of the range and half a unit beside it: 0.5 to 1 away from any value
            numbers.append(missing * 0.5)
    return _columns(numbers, frame.rows), _columns(codes, frame.rows)


def _columns(parts: list[Floats], rows: int) -> Floats:
    return np.stack(parts, axis=1) if parts else np.empty((rows, 0))


def nearest_distances(queries: tuple[Floats, Floats], reference: tuple[Floats, Floats]) -> Floats:
    """Distance of each query to its nearest reference row, float64 [n]."""
    from scipy.spatial.distance import cdist

    numbers, codes = queries
    step = max(1, _CHUNK_CELLS // max(1, len(reference[0])))
    result = np.empty(len(numbers))
    for start in range(0, len(numbers), step):
        part = slice(start, start + step)
        distance = np.zeros((len(numbers[part]), len(reference[0])))
        if numbers.shape[1]:
            distance += cdist(numbers[part], reference[0], "cityblock")
        if codes.shape[1]:
            distance += cdist(codes[part], reference[1], "hamming") * (2 * codes.shape[1])
        result[part] = distance.min(axis=1)
    return result
