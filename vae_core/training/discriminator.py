"""The discriminator: which of the rows drawn are kept, so that those kept are more like real ones.

Rejection sampling with a classifier's odds (Azadi et al. 2019, "Discriminator rejection sampling"): trees learn to tell
real rows from drawn ones; odds of o say that a row is drawn 1/o times too often, so it is kept with a probability of
min(o, ceiling) / scale. What that does to marginals is mended by factors for the values of each feature (iterative
proportional fitting), found on other drawn rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vae_core.codec import Codec, RareRows
from vae_core.codec.features import Feature, Features
from vae_core.codec.settled import rare as find_rare
from vae_core.model import VAE
from vae_core.training.drawing import draw, positions

TIMES = 4  # rows drawn to learn from, as many times the real ones
POOL = 250_000  # others, at most, on which the marginals are mended: their own chance errors come back in the rows
CELLS = 8_000_000  # rows times features that the trees learn from, at most; of the pool twice as many
CEILING = 2.0  # odds that count, at most: higher ones would cost draws and win little
FEW = 0.1  # share of the real rows that may have higher odds than those that count
SURE = 0.05  # share of the rows drawn that are always kept, at least
LEAST_KEPT = 0.4  # mean probability of being kept, at least: bounds the draws that a row takes
LEAST_HELD, MOST_HELD = 200, 10_000  # real rows that tell when to stop
WORTH = 0.51  # AUC on held-out rows above which it pays, past two standard errors
GROUPS = 64  # of a number's values, of about as many rows each; a level is a group, so a rare one keeps its share
PASSES = 8
PRIOR_COUNT = 2.0  # pseudo-rows a group: rare groups move little

_Floats = npt.NDArray[np.float32]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Discriminator:
    """What `learn` finds.

    A row x is kept with the probability exp(min(0, min(f(x), ceiling) + Σ_j factors_j[x_j])), f(x) being the logarithm
    of the trees' odds.

    Attributes:
        trees: scikit-learn's classifier of features.
        ceiling: see above.
        factors: float64 [size] of each feature of known size.
        auc: of the trees on held-out rows: how well real and drawn rows are told apart before.
        kept: share of the rows drawn.
    """

    trees: Any
    ceiling: float
    factors: tuple[npt.NDArray[np.float64], ...]
    auc: float
    kept: float


def learn(
    model: VAE,
    codec: Codec,
    codes: npt.NDArray[Any],
    values: _Floats,
    holdout: _Bools,
    rare: RareRows | None,
    seed: int,
) -> Discriminator | None:
    """Learn to tell real rows from drawn ones.

    Args:
        model: trained and calibrated, on the CPU.
        codec: of the rows.
        codes: of the real rows, [n, sub-columns].
        values: float32 [n, gaussian sub-columns].
        holdout: bool [n], the rows that the weights weren't learned from; they tell when to stop.
        rare: those that are never given; the others have the marginals of all.
        seed: of the rows drawn.

    Returns:
        `None` where real and drawn rows can hardly be told apart, or too few are held out to say.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    features = Features(codec)
    rows = max(1_000, CELLS // (len(features.all) * (1 + TIMES)))
    rng = np.random.default_rng([seed, 0xD15C])
    generator = torch.Generator().manual_seed(seed + 1)
    most = (rows, min(rows, MOST_HELD))
    sides = [_some(np.flatnonzero(where), n, rng) for where, n in zip((~holdout, holdout), most, strict=True)]
    if len(sides[1]) < LEAST_HELD:
        return None
    x, y, weights = [], [], []
    for side in sides:
        real = features(codes[side].astype(np.int32), positions(codec, values[side], rng))
        drawn = features(*draw(model, codec, TIMES * len(side), generator, rng))
        x.append(np.concatenate([real, drawn]))
        y.append(np.repeat([1, 0], [len(real), len(drawn)]))
        weights.append(np.repeat([float(TIMES), 1.0], [len(real), len(drawn)]))
    x[0][:, np.isnan(x[0]).all(axis=0)] = 0.0  # scikit-learn fails on what is missing in every row
    trees = HistGradientBoostingClassifier(
        learning_rate=0.3,
        max_iter=400,
        max_leaf_nodes=31,
        max_features=0.5,
        min_samples_leaf=40,
        l2_regularization=100.0,  # or single rows that were learned are told by heart
        categorical_features=list(range(features.sets)) or None,
        early_stopping=True,
        n_iter_no_change=40,
        random_state=seed,
    )
    trees.fit(x[0], y[0], weights[0], X_val=x[1], y_val=y[1], sample_weight_val=weights[1])
    auc = float(roc_auc_score(y[1], trees.decision_function(x[1]), sample_weight=weights[1]))
    if auc - 2 * np.sqrt(1 / 12 / len(sides[1])) < WORTH:
        return None
    rows = min(POOL, 2 * CELLS // len(features.all))
    drawn_codes, drawn_positions = draw(model, codec, rows, generator, rng)
    given = np.ones(rows, bool)
    if rare is not None:
        given[find_rare(codec, rare, drawn_codes, drawn_positions)] = False
    pool = features(drawn_codes[given], drawn_positions[given])
    every = _some(np.arange(len(codes)), rows, rng)
    real = features(codes[every].astype(np.int32), positions(codec, values[every], rng))
    odds = np.exp(trees.decision_function(pool))
    ceiling = float(np.log(min(CEILING * odds.mean(), _likely(odds, 1 - FEW))))
    odds = np.minimum(odds, np.exp(ceiling))
    factors = _raked(odds, pool, real, features.sized)
    weight = odds * np.exp(sum(f[pool[:, j].astype(np.int64)] for j, f in enumerate(factors)))
    scale = _scale(weight)
    factors[0] -= np.log(scale)
    return Discriminator(trees, ceiling, tuple(factors), auc, float(np.minimum(1, weight / scale).mean()))


def _some(rows: npt.NDArray[np.int64], most: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _raked(
    odds: npt.NDArray[np.float64], pool: _Floats, real: _Floats, features: Sequence[Feature]
) -> list[npt.NDArray[np.float64]]:
    """Logarithms of factors, [size] of each feature, by which `pool`, weighted by `odds`, gets the marginals of `real`.

    Iterative proportional fitting (Deming & Stephan 1940) over groups of values, PASSES times over all features; of the
    weights up to `_scale`, as none counts for more.
    """
    marginals = []
    for j, feature in enumerate(features):
        edges = np.arange(feature.size - 1)
        if not feature.levels and feature.size > GROUPS:
            edges = np.unique(np.quantile(real[:, j], np.linspace(0, 1, GROUPS + 1)[1:-1], method="higher"))
        group = np.searchsorted(edges, np.arange(feature.size))
        drawn, wanted = (group[rows[:, j].astype(np.int64)] for rows in (pool, real))
        counts = np.bincount(wanted, minlength=len(edges) + 1) * (len(pool) / len(real))
        marginals.append((group, drawn, counts, np.zeros(len(counts))))
    weights = odds.copy()
    for _ in range(PASSES):
        scale = _scale(weights)
        for _, drawn, counts, total in marginals:
            kept = np.minimum(weights, scale)
            found = np.bincount(drawn, kept, len(counts)) * (len(kept) / kept.sum())
            step = np.log((counts + PRIOR_COUNT) / (found + PRIOR_COUNT))
            total += step  # noqa: PLW2901 (in place)
            weights *= np.exp(step)[drawn]
    return [factors[group] for group, _, _, factors in marginals]


def _likely(odds: npt.NDArray[np.float64], share: float) -> float:
    """Odds that this share of the real rows have at most, as the odds of drawn rows tell."""
    order = np.argsort(odds)
    return float(odds[order[np.searchsorted(np.cumsum(odds[order]), share * odds.sum())]])


def _scale(weights: npt.NDArray[np.float64]) -> float:
    """The weight of a row that is always kept: few are above it, and LEAST_KEPT of all rows are kept."""
    scale = float(np.quantile(weights, 1 - SURE))
    while np.minimum(1, weights / scale).mean() < LEAST_KEPT:
        scale *= 0.9
    return scale
