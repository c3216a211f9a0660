"""What columns are taken for, and what the user may say instead."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import Ingest

from vae_core.errors import ConfigError
from vae_core.ingest.profile import ColumnProfile
from vae_core.schema import Kind

N = 400
RANDOM = np.random.default_rng(0)
WHEN = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(N)]
COLUMNS: dict[str, tuple[Any, Kind]] = {
    "all missing": (pa.nulls(N, pa.int64()), Kind.EMPTY),
    "null type": (pa.nulls(N), Kind.EMPTY),
    "one value": (["x"] * N, Kind.CONSTANT),
    "one value and missing": ([None, *["x"] * (N - 1)], Kind.CATEGORICAL),
    "flags": ([i % 2 == 0 for i in range(N)], Kind.BOOLEAN),
    "two words": ([("yes", "no")[i % 2] for i in range(N)], Kind.CATEGORICAL),
    "dictionary": (pa.array([f"v{i % 9}" for i in range(N)]).dictionary_encode(), Kind.CATEGORICAL),
    "uuid": ([str(uuid.UUID(int=i * 7919)) for i in range(N)], Kind.IDENTIFIER),
    "prefix": ([f"ORD-{i:06}" for i in range(N)], Kind.IDENTIFIER),
    "prefix with missing": ([None if i % 7 == 0 else f"ORD-{i:06}" for i in range(N)], Kind.IDENTIFIER),
    "sentences": ([f"a remark on row {i}" for i in range(N)], Kind.TEXT),
    "hardly repeated": ([f"name {i % (N - 20)}" for i in range(N)], Kind.TEXT),
    "hardly repeated codes": ([f"T{i % (N - 20)}" for i in range(N)], Kind.TEXT),
    "few rows each": ([f"T{i % 190}" for i in range(N)], Kind.CATEGORICAL),
    "some often, many once": ([f"n{i % 20 if i % 8 < 3 else i + 20}" for i in range(N)], Kind.CATEGORICAL),
    "a few often, most once": ([f"n{i % 20 if i % 4 < 1 else i + 20}" for i in range(N)], Kind.TEXT),
    "levels": ([f"level {i % 40}" for i in range(N)], Kind.CATEGORICAL),
    "dense key": (RANDOM.permutation(N) + 1000, Kind.IDENTIFIER),
    "ascending key": (np.cumsum(RANDOM.integers(1, 3, N)), Kind.IDENTIFIER),
    "customer_id": (RANDOM.choice(10**9, N, replace=False), Kind.IDENTIFIER),
    "userId": (RANDOM.choice(10**9, N, replace=False), Kind.IDENTIFIER),
    "year": (np.arange(N) + 1600, Kind.INTEGER),
    "DayOfYear_day": (RANDOM.permutation(N), Kind.INTEGER),
    "paid": (RANDOM.choice(10**9, N, replace=False), Kind.INTEGER),
    "country_id": ([i % 9 for i in range(N)], Kind.INTEGER),
    "weights": (RANDOM.integers(0, 300_000, N) // 1000 * 1000, Kind.INTEGER),
    "counts": ([i % 3 for i in range(N)], Kind.INTEGER),
    "unique reals": (RANDOM.normal(size=N), Kind.REAL),
    "whole reals": ([None if i % 9 == 0 else float(i % 30) for i in range(N)], Kind.REAL),
    "money": ([Decimal(i % 50) / 4 for i in range(N)], Kind.DECIMAL),
    "when": (WHEN, Kind.TIMESTAMP),
    "zoned": ([when.replace(tzinfo=UTC) for when in WHEN], Kind.TIMESTAMP),
    "day": ([date(2024, 1, 1) + timedelta(i) for i in range(N)], Kind.DATE),
    "clock": ([time(i % 24, i % 60) for i in range(N)], Kind.TIME),
    "span": ([timedelta(seconds=i) for i in range(N)], Kind.DURATION),
}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.table({name: values for name, (values, _) in COLUMNS.items()})


def test_every_kind(snapshot: Ingest, table: pa.Table) -> None:
    result = snapshot(table)
    assert {c.name: c.kind for c in result.schema.columns} == {name: kind for name, (_, kind) in COLUMNS.items()}
    for column in result.schema.columns:
        assert column.reason
        values = [value for value in result.values(column.name) if value is not None]
        # Distinct numbers are counted up to a few hundred, unless they may identify rows.
        assert column.distinct == len(set(values)) or (column.distinct is None and len(set(values)) > 256)
        assert column.nulls == N - len(values)


@given(values=st.lists(st.lists(st.sampled_from([None, *"abcdefgh"]), max_size=12), max_size=5))
def test_rows_of_levels_are_counted_over_all_batches(values: list[list[str | None]]) -> None:
    profile = ColumnProfile(pa.field("x", pa.string()), "rows")
    for batch in values:
        profile.add(pa.chunked_array([pa.array(batch, pa.string())]))
    rows = pd.Series([value for batch in values for value in batch if value is not None], dtype=object).value_counts()
    assert profile.distinct == len(rows)
    assert profile.supported == pytest.approx(rows[rows >= 5].sum() / max(1, rows.sum()))


def test_small_tables_have_no_identifiers(snapshot: Ingest, table: pa.Table) -> None:
    result = snapshot(table.slice(0, 12).select(["prefix", "dense key", "sentences"]))
    assert [column.kind for column in result.schema.columns] == [Kind.CATEGORICAL, Kind.INTEGER, Kind.CATEGORICAL]


def test_more_levels_than_are_counted(snapshot: Ingest) -> None:
    n = 130_000
    numbers = np.arange(n)
    result = snapshot(
        pa.table(
            {
                "twice": pa.array([f"n{number // 2}" for number in numbers]),
                "once": pa.array(numbers * 3).cast(pa.string()),
                "late": pa.array([f"n{number % (n - 1)}" for number in numbers]),
                "key": RANDOM.permutation(n),
                "k": numbers % 3,
            }
        )
    )
    kinds = {column.name: (column.kind.value, column.distinct) for column in result.schema.columns}
    assert kinds == {
        "twice": ("text", None),
        "once": ("identifier", n),
        "late": ("text", None),
        "key": ("identifier", n),
        "k": ("integer", 3),
    }


@pytest.mark.parametrize(
    ("name", "kind", "type_", "first"),
    [
        ("when", "timestamp", "timestamp[us]", datetime(2024, 1, 1)),
        ("zoned", "timestamp", "timestamp[us, tz=UTC]", datetime(2024, 1, 1, tzinfo=UTC)),
        ("day", "date", "date32[day]", date(2024, 1, 1)),
        ("clock", "time", "time64[us]", time(0, 0)),
        ("whole", "integer", "int64", 0),
        ("whole", "real", "double", 0.0),
        ("flag", "boolean", "bool", True),
        ("money", "real", "double", 0.5),
    ],
)
def test_strings_are_read_as_what_they_are_said_to_be(
    name: str, kind: str, type_: str, first: Any, snapshot: Ingest
) -> None:
    text = {
        "when": [str(when) for when in WHEN],
        "zoned": [when.isoformat() + "Z" for when in WHEN],
        "day": [str(when.date()) for when in WHEN],
        "clock": [f"{i % 24:02}:30" if i else "00:00" for i in range(N)],
        "whole": [f" +{i % 9} " for i in range(N)],
        "flag": ["true" if i % 2 == 0 else "FALSE" for i in range(N)],
        "money": [f"{i % 7 + 0.5}" for i in range(N)],
    }[name]
    result = snapshot(pa.table({"x": [*text, None]}), {"x": {"kind": kind}})
    assert str(result.type("x")) == type_
    assert result["x"].kind == kind
    assert "configuration" in result["x"].reason
    assert (result.values("x")[0], result["x"].nulls) == (first, 1)


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("counts", {"kind": "categorical"}, None),
        ("counts", {"kind": "real"}, None),
        ("counts", {"kind": "identifier"}, None),
        ("counts", {"likelihood": "gaussian"}, None),
        ("money", {"likelihood": "gaussian"}, None),
        ("span", {"likelihood": "gaussian"}, None),
        ("whole reals", {"kind": "integer"}, None),
        ("whole reals", {"kind": "categorical"}, None),
        ("flags", {"kind": "categorical"}, None),
        ("dense key", {"kind": "integer"}, None),
        ("prefix", {"kind": "categorical"}, None),
        ("levels", {"kind": "text"}, None),
        ("day", {"kind": "timestamp"}, None),
        ("all missing", {"kind": "real"}, None),
        ("unique reals", {"kind": "integer"}, "row 1 has"),
        ("unique reals", {"kind": "identifier"}, "type double"),
        ("when", {"kind": "date"}, "row 2 has '2024-01-01 01:00:00'"),
        ("when", {"kind": "integer"}, "type timestamp"),
        ("levels", {"kind": "decimal"}, "type string"),
        ("levels", {"kind": "time"}, "row 1 has 'level 0'"),
        ("levels", {"kind": "duration"}, "type string"),
        ("levels", {"kind": "empty"}, "has values"),
        ("flags", {"likelihood": "gaussian"}, "boolean"),
        ("when", {"likelihood": "gaussian"}, "timestamp"),
        ("counts", {"kind": "categorical", "likelihood": "gaussian"}, "categorical"),
    ],
)
def test_overrides(name: str, override: dict[str, Any], says: str | None, snapshot: Ingest, table: pa.Table) -> None:
    source = table.select([name, "two words"])
    if says is not None:
        with pytest.raises(ConfigError, match=says) as caught:
            snapshot(source, {name: override})
        assert f"schema.columns.{name}" in str(caught.value)
        return
    column = snapshot(source, {name: override})[name]
    assert column.likelihood == override.get("likelihood", "categorical")
    if "kind" in override and name != "all missing":
        assert column.kind == override["kind"]


def test_text_of_dates_and_moments_is_told_and_stays_text(snapshot: Ingest) -> None:
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    frame = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "at": days.strftime("%Y-%m-%d %H:%M:%S"), "n": range(60)})
    frame["odd"] = [f"2024-01-{1 + i % 28:02}" for i in range(59)] + ["2024-1-9"]
    frame["gone"] = [None if i % 3 else f"2023-12-{1 + i % 28:02}T10:00" for i in range(60)]
    found = snapshot(frame)
    kinds = {column.name: (column.kind, column.text) for column in found.schema.columns}
    assert kinds["day"] == (Kind.DATE, "%Y-%m-%d")
    assert kinds["at"] == (Kind.TIMESTAMP, "%Y-%m-%d %H:%M:%S")
    assert kinds["gone"] == (Kind.TIMESTAMP, "%Y-%m-%dT%H:%M")
    assert kinds["odd"] == (Kind.CATEGORICAL, None)
    pd.testing.assert_frame_equal(found.table.to_pandas(), frame)
    levels = snapshot(frame, {"gone": {"kind": "categorical"}}).schema["gone"]
    assert (levels.kind, levels.text) == (Kind.CATEGORICAL, None)
    cast = snapshot(frame, {"day": {"kind": "date"}}).schema["day"]
    assert (cast.kind, cast.text) == (Kind.DATE, None)
