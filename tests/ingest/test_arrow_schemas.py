"""DataFrames and Arrow tables come back as they were, to the last detail of their schema."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import feather
from snapshots import Ingest


def test_frames(snapshot: Ingest) -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([None if i % 5 == 0 else i % 9 for i in range(60)], dtype="Int64"),
            "category": pd.Categorical([f"v{i % 3}" for i in range(60)], categories=["v2", "v1", "v0", "never"]),
            "ordered": pd.Categorical([i % 4 for i in range(60)], ordered=True),
            "string": pd.array([f"s{i % 4}" for i in range(60)], dtype="string"),
            "objects": pd.Series([None if i % 8 == 0 else f"o{i % 4}" for i in range(60)], dtype=object),
            "zoned": pd.date_range("2024-01-01", periods=60, freq="h", tz="Europe/Paris"),
            "span": pd.to_timedelta(range(60), unit="s"),
            "real": [None if i % 6 == 0 else i / 4 for i in range(60)],
            "small": pd.Series(range(60), dtype="int8") % 7,
            "flag": pd.array([None if i % 9 == 0 else i % 2 == 0 for i in range(60)], dtype="boolean"),
            "day": pd.Series([date(2024, 1, 1 + i % 9) for i in range(60)], dtype=object),
            5: range(60),
        }
    ).set_index(pd.Index([f"row{i}" for i in range(60)], name="label"))
    result = snapshot(frame)
    back = result.table.to_pandas()
    expected = frame.reset_index(drop=True).rename(columns={5: "5"})
    expected["objects"] = expected["objects"].astype(back["objects"].dtype)  # Arrow keeps strings, not Python objects
    pd.testing.assert_frame_equal(back.rename(columns={5: "5"}), expected)
    assert "index is left out" in result.schema.notes[0]
    assert result.schema.arrow.metadata == pa.Table.from_pandas(frame, preserve_index=False).schema.metadata
    dropped = snapshot(frame, {"zoned": {"drop": True}})
    assert "zoned" not in dropped.table.to_pandas().columns
    assert snapshot(frame).artifact.folder == result.artifact.folder


def test_arrow_schemas_are_kept_exactly(snapshot: Ingest, tmp_path: Path) -> None:
    n = 40
    when = [datetime(2024, 1, 1, i % 24, tzinfo=UTC) for i in range(n)]
    fields = {
        "u8": pa.array([i % 9 for i in range(n)], pa.uint8()),
        "f32": pa.array([i / 2 for i in range(n)], pa.float32()),
        "f16": pa.array([i / 2 for i in range(n)], pa.float16()),
        "money": pa.array([None, *range(1, n)], pa.decimal128(12, 2)),
        "seconds": pa.array(when, pa.timestamp("s", "Europe/Paris")),
        "nanos": pa.array(when, pa.timestamp("ns", "UTC")),
        "day64": pa.array(when, pa.timestamp("ms")).cast(pa.date64(), safe=False),
        "clock": pa.array([i * 60 for i in range(n)], pa.time32("s")),
        "span": pa.array(range(n), pa.duration("s")),
        "large": pa.array([f"v{i % 3}" for i in range(n)], pa.large_string()),
        "view": pa.array([f"v{i % 3}" for i in range(n)], pa.string_view()),
        "levels": pa.DictionaryArray.from_arrays(
            pa.array([i % 3 for i in range(n)], pa.int8()), ["c", "a", "b", "z"], ordered=True
        ),
        "numbers": pa.DictionaryArray.from_arrays(pa.array([i % 2 for i in range(n)], pa.int16()), pa.array([5, 1])),
        "nothing": pa.nulls(n),
    }
    schema = pa.schema(
        [pa.field(name, array.type, name != "u8", {b"unit": b"x"}) for name, array in fields.items()],
        {b"owner": b"me", b"\xff": b"\x00"},
    )
    table = pa.table(list(fields.values()), schema)
    feather.write_feather(table, tmp_path / "a.arrow", compression="zstd")
    for source in (table, tmp_path / "a.arrow"):
        result = snapshot(source)
        assert result.schema.arrow.equals(schema, check_metadata=True)
        assert result.table.column("levels").chunk(0).dictionary.to_pylist() == list("cabz")
        assert result.table.to_pylist() == table.to_pylist()


def test_nan_is_missing(snapshot: Ingest) -> None:
    result = snapshot(pa.table({"x": [1.0, float("nan"), 2.5] * 9, "y": [1, 2, 2] * 9}))
    assert result["x"].nulls == 9
    assert "9 NaN in column 'x'" in result.schema.notes[0]
