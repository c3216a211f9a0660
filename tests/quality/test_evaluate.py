"""The stage on a real model: trained for a few steps, exported, sampled and measured."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from vae_core.config import CodecConfig, EvaluationConfig, GateConfig, SchemaConfig, TrainingConfig
from vae_core.errors import ArtifactError, ConfigError
from vae_core.export import export
from vae_core.ingest import ingest
from vae_core.quality import evaluate
from vae_core.quality.protections import warnings
from vae_core.store import Artifact, Store
from vae_core.training import train

CONFIG = EvaluationConfig(rows=1_000)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def snapshot(store: Store, flights: pa.Table) -> Artifact:
    return ingest(flights.slice(0, 4_000).to_pandas(), SchemaConfig(), store, "flights")


@pytest.fixture(scope="module")
def model(store: Store, snapshot: Artifact) -> Artifact:
    config = TrainingConfig(max_steps=40, hidden=32, latent_dim=4, device="cpu")
    return export(train(snapshot, config, store, "flights"))


def test_metrics_and_report_join_the_model(store: Store, snapshot: Artifact, model: Artifact) -> None:
    metrics = evaluate(model, snapshot, CONFIG)
    stored = store.open("models", f"{model.name}@{model.version}")
    assert stored.verify() == []
    assert json.loads(stored.file("metrics.json").read_text()) == metrics
    assert "<!DOCTYPE html>" in stored.file("report.html").read_text()
    assert metrics["rows"]["holdout"] == 400 and metrics["rows"]["synthetic"] == 1_000
    assert metrics["latent"]["dimensions"] == 4
    assert metrics["trend_error"]["value"] > metrics["trend_error"]["floor"] > 0


def test_the_report_says_what_is_protected_and_what_is_not(store: Store, snapshot: Artifact, model: Artifact) -> None:
    metrics = evaluate(model, snapshot, CONFIG)
    found, page = metrics["protections"], model.file("report.html").read_text()
    assert (found["min_frequency"], found["extremes"], found["min_row_frequency"]) == (5, 5, 5)
    counts = pd.read_parquet(snapshot.folder / "data")["dest"].value_counts()
    dest = next(column for column in found["columns"] if column["name"] == "dest")
    assert (dest["levels"], dest["level_rows"]) == ((counts < 5).sum(), counts[counts < 5].sum())
    assert found["rare_rows"] == 4_000 and found["redrawn"]["rows"] == 1_000
    assert found["row_match"] == "equal" and "equal to fewer than 5 rows of the table in every column" in page
    assert ">off<" not in page
    assert warnings(found) == []

    off = CodecConfig(min_frequency=1, extremes=1, min_row_frequency=1)
    bare = TrainingConfig(max_steps=2, hidden=32, latent_dim=4, device="cpu", codec=off)
    open_model = export(train(snapshot, bare, store, "open"))
    metrics = evaluate(open_model, snapshot, CONFIG)
    assert open_model.file("report.html").read_text().count(">off<") == 3
    assert metrics["copies"]["unprotected"] is None
    notes = warnings(metrics["protections"])
    assert [note.partition(" is off")[0] for note in notes] == [
        "protection of rare levels",
        "protection of extremes",
        "protection of rare rows",
    ]


def test_an_evaluation_that_stands_is_not_repeated(store: Store, snapshot: Artifact, model: Artifact) -> None:
    first = evaluate(model, snapshot, CONFIG)
    report = model.file("report.html")
    before = report.stat().st_mtime_ns
    again = store.open("models", f"{model.name}@{model.version}")
    assert evaluate(again, snapshot, CONFIG) == first
    assert report.stat().st_mtime_ns == before
    report.write_text(report.read_text().replace("flights", "fliGhts"))
    repaired = evaluate(again, snapshot, CONFIG)
    assert repaired | {"seconds": 0} == first | {"seconds": 0}
    assert again.verify() == []
    evaluate(again, snapshot, CONFIG, gate_config=GateConfig(max_shape_error=0))
    assert "The gate refuses" in report.read_text()


def test_another_snapshot_or_target_is_refused(
    store: Store, snapshot: Artifact, model: Artifact, flights: pa.Table, tmp_path: Path
) -> None:
    other = ingest(flights.slice(0, 500).to_pandas(), SchemaConfig(), Store(tmp_path), "other")
    with pytest.raises(ArtifactError, match="another snapshot"):
        evaluate(model, other, CONFIG)
    with pytest.raises(ConfigError, match="did you mean 'carrier'"):
        evaluate(model, snapshot, EvaluationConfig(rows=1_000, target="carier"))
