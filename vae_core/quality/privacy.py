"""Are synthetic rows copies of training rows, or nearer to them than to rows that were never trained on?

Three questions to the same distances: which side is a synthetic row nearer to (DCR), is its nearest training row
alone (NNDR), and does a real row's nearest synthetic row betray that it was trained on (membership inference)?
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vae_core.quality.frames import Floats, Frame
from vae_core.quality.two_sample import auc_error, auc_of

MAX_QUERIES = 5_000
MAX_REFERENCE = 20_000
MAX_CELLS = 2_000_000_000
"""Queries times reference rows times columns, at most: bounds the time on wide tables."""

FALSE_ALARMS = 0.01
"""Share of the held-out rows that the attack may take for training rows, where `Membership.caught` is read."""

_CHUNK_CELLS = 4_000_000  # distances held at once: 32 MB
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Distances:
    """Distance to the closest record (DCR), and its ratio to that of the second closest (NNDR).

    Attributes:
        share: of synthetic rows that lie nearer to a training row than to any held-out one, ties half; 0.5 is ideal.
        interval: half the width of what 95 % of the shares lie in when it is chance which rows were held out.
        train_p5: 5th percentile of the distance from a synthetic row to the nearest training row.
        holdout_p5: the same to the nearest held-out row.
        real_p5: 5th percentile of the distance from a held-out row to the nearest training row.
        ratio_p5: 5th percentile of the ratio of a synthetic row's distances to the nearest and the second nearest
            training row; near 0, that row lies at one training row and away from all others.
        holdout_ratio_p5: the same to held-out rows.
        real_ratio_p5: the same of held-out rows to training rows.
        queries: synthetic rows measured.
        reference: rows on each side.
    """

    share: float
    interval: float
    train_p5: float
    holdout_p5: float
    real_p5: float
    ratio_p5: float
    holdout_ratio_p5: float
    real_ratio_p5: float
    queries: int
    reference: int


@dataclass(frozen=True)
class Membership:
    """An attack that takes a real row for a training row the sooner, the nearer a synthetic row lies to it.

    Attributes:
        auc: of training rows against held-out rows; 0.5 when the attack learns nothing.
        interval: half the width of its 95 % confidence interval, after DeLong.
        caught: share of the training rows that the attack names while it is wrong on `FALSE_ALARMS` of the others.
        members: rows of each kind.
        reference: synthetic rows that the attacker has.
    """

    auc: float
    interval: float
    caught: float
    members: int
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
    share = _affordable(train)
    size = min(train.rows, holdout.rows, int(share * MAX_REFERENCE))
    near, far = train.sample(size, seed), holdout.sample(size, seed + 1)
    queries = synthetic.sample(int(share * MAX_QUERIES), seed + 2)
    scales = _scales(train, (holdout, synthetic))
    asked, reference = _encoded(queries, scales), _encoded(near, scales)
    to_train, training_row = nearest(asked, reference)
    to_holdout, held_row = nearest(asked, _encoded(far, scales))
    real, _ = nearest(_encoded(far.sample(int(share * MAX_QUERIES) // 2, seed + 3), scales), reference)
    wins = np.where(to_train[:, 0] == to_holdout[:, 0], 0.5, to_train[:, 0] < to_holdout[:, 0])
    won = [np.bincount(training_row, wins, size), np.bincount(held_row, 1 - wins, size)]
    low = [[float(np.quantile(d, 0.05)) for d in (to[:, 0], _ratios(to))] for to in (to_train, to_holdout, real)]
    return Distances(
        share=float(wins.mean()),
        interval=1.96 * _standard_error(np.concatenate(won)),
        train_p5=low[0][0],
        holdout_p5=low[1][0],
        real_p5=low[2][0],
        ratio_p5=low[0][1],
        holdout_ratio_p5=low[1][1],
        real_ratio_p5=low[2][1],
        queries=queries.rows,
        reference=size,
    )


def membership(train: Frame, holdout: Frame, synthetic: Frame, seed: int = 0) -> Membership:
    """Attack as many training rows as there are held-out ones, by their distance to the closest synthetic record.

    The attack needs no model and no shadow model: what it knows is the rows under suspicion and the synthetic table
    (the "full black-box" attack of GAN-Leaks, Chen et al. 2020). The distance is that of `closest_records`.
    """
    from sklearn.metrics import roc_curve

    share = _affordable(train)
    size = min(train.rows, holdout.rows, int(share * MAX_QUERIES))
    scales = _scales(train, (holdout, synthetic))
    known = _encoded(synthetic.sample(int(share * MAX_REFERENCE), seed + 4), scales)
    inside, outside = (
        -nearest(_encoded(side.sample(size, seed + 5), scales), known)[0][:, 0] for side in (train, holdout)
    )
    alarms, hits, _ = roc_curve(np.repeat([1, 0], size), np.concatenate([inside, outside]))
    return Membership(
        auc=auc_of(inside, outside),
        interval=1.96 * auc_error(inside, outside),
        caught=float(np.interp(FALSE_ALARMS, alarms, hits)),
        members=size,
        reference=len(known[0]),
    )


def _standard_error(won: Floats) -> float:
    """Of the share of queries that one half of the rows wins, when it is chance which half each row [n] is in.

    `won` is how many queries each row is the nearest to. Few rows, or some that are nearest to many (hubs), make it
    larger than the queries alone would: it is that of the sum of a random half of `won` (sampling without replacement).
    """
    spread = np.square(won - won.mean()).sum() * len(won) / max(1, len(won) - 1)
    return float(np.sqrt(spread) / 2 / max(1.0, won.sum()))


def _affordable(frame: Frame) -> float:
    """The share of the usual queries, and of the usual reference, that `MAX_CELLS` leaves of so many columns."""
    return min(1.0, math.sqrt(MAX_CELLS / (MAX_QUERIES * MAX_REFERENCE * max(1, len(frame.features)))))


def _ratios(distances: Floats) -> Floats:
    """Nearest to second nearest [n]; 1 where both are 0, as then no single row was copied."""
    nearest, second = distances.T
    return np.asarray(np.divide(nearest, second, out=np.ones(len(distances)), where=second > 0))


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


def nearest(queries: tuple[Floats, Floats], reference: tuple[Floats, Floats]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Distances of each query to its nearest and its second nearest reference row, float64 [n, 2], and the nearest."""
    from scipy.spatial.distance import cdist

    numbers, codes = queries
    step = max(1, _CHUNK_CELLS // max(1, len(reference[0])))
    result, row = np.full((len(numbers), 2), np.inf), np.zeros(len(numbers), np.int64)
    for start in range(0, len(numbers), step):
        part = slice(start, start + step)
        distance = np.zeros((len(numbers[part]), len(reference[0])))
        if numbers.shape[1]:
            distance += cdist(numbers[part], reference[0], "cityblock")
        if codes.shape[1]:
            distance += cdist(codes[part], reference[1], "hamming") * (2 * codes.shape[1])
        two = min(2, distance.shape[1])
        row[part] = distance.argmin(axis=1)
        result[part, :two] = np.sort(np.partition(distance, two - 1, axis=1)[:, :two], axis=1)
    return result, row
