"""The Python API on a real frame: fit, sample, encode, decode, interpolate, measure, write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_wine

import vae_core as vs
from tests.conftest import environment

TRAINING = {"max_steps": 120, "latent_dim": 4, "hidden": 32, "batch_size": 64}


@pytest.fixture(scope="module")
def wine() -> pd.DataFrame:
    """178 wines: a category, an ordered one, a nullable integer, reals."""
    raw = load_wine(as_frame=True).frame
    return pd.DataFrame(
        {
            "cultivar": pd.Categorical.from_codes(raw["target"], categories=["one", "two", "three"]),
            "alcohol": raw["alcohol"],
            "magnesium": raw["magnesium"].astype("Int64").mask(raw.index % 9 == 0),
            "bright": raw["hue"] > 1,
        }
    )


@pytest.fixture(scope="module")
def model(wine: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> vs.Model:
    store = tmp_path_factory.mktemp("store")
    return vs.fit(wine, name="wine", store=store, training=TRAINING, progress=False)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'pyarrow', 'prefect', 'onnxruntime', 'pydantic'}"
    script = f"import sys, vae_core; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_sample_has_the_dtypes_of_the_frame_and_repeats(model: vs.Model, wine: pd.DataFrame) -> None:
    sample = model.sample(500, seed=3)
    assert len(sample) == 500
    assert sample.dtypes.to_dict() == wine.dtypes.to_dict()
    pd.testing.assert_frame_equal(sample, model.sample(500, seed=3))
    pd.testing.assert_frame_equal(sample.head(20), model.sample(20, seed=3))
    assert not sample.equals(model.sample(500, seed=4))


def test_text_in_views_is_learned_from_any_stream_of_arrow(wine: pd.DataFrame, tmp_path: Path) -> None:
    """As polars hands its frames over: Arrow can neither take rows of views nor write a dictionary of them."""
    kind = pa.array(np.where(wine["bright"], "a bright one, of pure colour", "dark")).cast(pa.string_view())
    rank = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(wine)) % 3, pa.uint8()), pa.array(["x", "y", "z"]))
    table = pa.table(
        {
            "kind": kind,
            "rank": rank.cast(pa.dictionary(pa.uint8(), pa.string_view())),
            "always": pa.array(["the same in every row"] * len(wine), pa.string_view()),
            "alcohol": wine["alcohol"],
        }
    )
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=50))
    model = vs.fit(stream, name="views", store=tmp_path, training=TRAINING | {"max_steps": 20}, progress=False)
    expected = table.schema.set(1, pa.field("rank", pa.dictionary(pa.uint8(), pa.string())))
    assert model.schema.remove_metadata().equals(expected)
    folder = model.generate(200, output=tmp_path / "rows")
    written = pq.read_table(folder / "part-00000.parquet")
    for name in ("kind", "rank", "always"):
        assert set(written[name].to_pylist()) == set(table[name].to_pylist())
    mu, _ = model.encode(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))
    assert np.array_equal(mu, model.encode(table)[0]) and len(mu) == len(wine)


def test_the_written_rows_are_the_sampled_ones(model: vs.Model, tmp_path: Path) -> None:
    folder = model.generate(300, seed=5, output=tmp_path / "rows", workers=2)
    written = pq.read_table(folder / "part-00000.parquet").to_pandas()
    pd.testing.assert_frame_equal(written, model.sample(300, seed=5))


def test_encode_gives_a_posterior_a_row_and_decode_rows_of_the_schema(model: vs.Model, wine: pd.DataFrame) -> None:
    mu, log_var = model.encode(wine)
    assert mu.shape == log_var.shape == (len(wine), TRAINING["latent_dim"])
    assert np.isfinite(mu).all()
    assert (log_var < 5).all()
    same, _ = model.encode(pa.Table.from_pandas(wine, preserve_index=False))
    np.testing.assert_array_equal(mu, same)
    shuffled, _ = model.encode(wine[reversed(wine.columns)])
    np.testing.assert_array_equal(mu, shuffled)
    decoded = model.decode(mu, seed=1)
    assert len(decoded) == len(wine)
    assert decoded.dtypes.to_dict() == wine.dtypes.to_dict()


def test_interpolation_goes_from_row_to_row(model: vs.Model, wine: pd.DataFrame) -> None:
    path = model.interpolate(wine.iloc[0], wine.iloc[100], steps=7)
    assert len(path) == 7
    pd.testing.assert_frame_equal(path, model.interpolate(wine.iloc[[0]], wine.iloc[100].to_dict(), steps=7))


def test_measured_once_published_and_loaded_by_name(model: vs.Model) -> None:
    metrics = model.evaluate(rows=200)
    assert 0 <= metrics["shape_error"]["value"] <= 1
    assert model.report.read_text().startswith("<!")
    assert model.evaluate(rows=200) == metrics
    model.publish({"enabled": False})
    again = vs.load("wine", store=model.store.root, progress=False)
    assert again.artifact.digest == model.artifact.digest
    pd.testing.assert_frame_equal(again.sample(50), model.sample(50))


def test_a_second_fit_finds_the_first(model: vs.Model, wine: pd.DataFrame) -> None:
    again = vs.fit(wine, name="wine", store=model.store.root, training=TRAINING, progress=False)
    assert again.artifact.manifest["created"] == model.artifact.manifest["created"]


def test_what_cannot_be_used_is_said_in_one_line(model: vs.Model, wine: pd.DataFrame, tmp_path: Path) -> None:
    from vae_core.errors import ConfigError, GateRefusedError, InputError, SourceError

    with pytest.raises(InputError, match="no column 'alcohol'"):
        model.encode(wine.drop(columns="alcohol"))
    with pytest.raises(InputError, match="source's types"):
        model.encode(wine.assign(alcohol="strong"))
    with pytest.raises(InputError, match="list"):
        model.encode([[13.2, 127]])  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="a list is no table"):
        vs.fit([[13.2, 127]], store=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'latent_dim'"):
        vs.fit(wine, store=tmp_path, training={"latent": 3})
    with pytest.raises(ConfigError, match="'a/b'"):
        vs.fit(wine, name="a/b", store=tmp_path)
    with pytest.raises(SourceError, match="no such file"):
        vs.fit(tmp_path / "nothing.csv", store=tmp_path)
    with pytest.raises(GateRefusedError, match="latent_kl"):
        model.publish({"min_kl": 100})
    assert list(tmp_path.iterdir()) == []
