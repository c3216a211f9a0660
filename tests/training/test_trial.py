"""Dates are drawn first where short trainings say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vae_core.codec import Codec
from vae_core.config import SchemaConfig, TrainingConfig
from vae_core.ingest import ingest
from vae_core.progress import silent
from vae_core.schema import Schema
from vae_core.store import Store
from vae_core.training import train, trial
from vae_core.training.trial import drawn_first

CONFIG = TrainingConfig(max_steps=1_000, hidden=32, batch_size=256)


def stays(rows: int = 4_000) -> pd.DataFrame:
    """Nights whose prices follow the season and the weekday: they say little of the date, which says all of them."""
    rng = np.random.default_rng(0)
    day = rng.integers(0, 1_400, rows)
    season = 80 + 60 * np.sin(day / 365 * 2 * np.pi) + 25 * (day % 7 >= 5)
    return pd.DataFrame(
        {
            "price": (season + rng.normal(0, 2, rows)).round(2),
            "heating": (season.max() - season + rng.normal(0, 2, rows)).round(2),
            "guests": rng.integers(1, 5, rows),
            "day": pd.Timestamp("2020-01-06") + pd.to_timedelta(day, unit="D"),
        }
    )


def first(frame: pd.DataFrame, folder: Path, config: TrainingConfig = CONFIG) -> list[str]:
    snapshot = ingest(frame, SchemaConfig(), Store(folder), "stays")
    schema = Schema.from_dict(json.loads((snapshot.folder / "schema.json").read_text()))
    return [schema.columns[k].name for k in drawn_first(snapshot.folder, schema, config, silent)]


def test_a_date_that_says_the_rest_is_drawn_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    model = train(ingest(stays(), SchemaConfig(), store, "stays"), CONFIG, store, "stays")
    codec = Codec.from_dict(json.loads(model.file("codec.json").read_text()))
    drawn = list(dict.fromkeys(sub.column for sub in codec.sub_columns))
    assert drawn == ["day", "price", "heating", "guests"]
    assert first(stays(), tmp_path) == ["day"]  # and once more


def test_nothing_is_tried_where_there_is_nothing_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "fit", None)  # a trial would fail
    frame = stays(1_000)
    assert first(frame[["day", "price"]], tmp_path) == []
    assert first(frame.drop(columns="day"), tmp_path) == []
    assert first(frame, tmp_path, CONFIG.model_copy(update={"max_steps": 300})) == []
