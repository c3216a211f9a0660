"""Types of text are inferred over the whole source: no later row is lost, rounded or refused."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshots import Ingest

from vae_core.config import MISSING, SchemaConfig, SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest import ingest
from vae_core.ingest.types import join
from vae_core.store import Store

Write = Callable[..., Path]


def column(*values: str) -> str:
    """A file with a column `x`, one value a row, beside one to learn from."""
    return "x,k\n" + "".join(f"{value},{i % 3}\n" for i, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "kind", "first"),
    [
        (["1", "2", "-3"], "int64", 1),
        (["1", "2.5", "3"], "double", 1.0),
        (["1e3", ".5", "-1.5E-3"], "double", 1000.0),
        (["1", "", "NA"], "int64", 1),
        ([" 5", "6 ", " ?"], "int64", 5),
        (["True", "FALSE", "true"], "bool", True),
        (["yes", "no", "yes"], "string", "yes"),
        (["1", "true", "0"], "string", "1"),
        (["007", "123", "456"], "string", "007"),
        (["123", "456", "007"], "string", "123"),
        (["02134", "90210", ""], "string", "02134"),
        (["02134", "90210", "K1A 0B1"], "string", "02134"),
        (["0", "10", "0.5"], "double", 0.0),
        (["0x1F", "12", "13"], "string", "0x1F"),
        (['"007"', '"8"', '"9"'], "string", "007"),
        (["12345678901234567890", "1", "2"], "string", "12345678901234567890"),
        (["9007199254740993", "1", "2.5"], "string", "9007199254740993"),
        (["1.5e300", "2", "3"], "double", 1.5e300),
        (["2024-01-31", "2024-02-29", ""], "date32[day]", date(2024, 1, 31)),
        (["2024-01-31 10:20", "2024-01-31", ""], "timestamp[ms]", datetime(2024, 1, 31, 10, 20)),
        (
            ["2024-01-31T10:20:30Z", "2024-01-31T11:20:30+02:00"],
            "timestamp[ms, tz=UTC]",
            datetime(2024, 1, 31, 10, 20, 30, tzinfo=UTC),
        ),
        (["2024-01-31T10:20:30", "2024-01-31T11:20:30Z"], "string", "2024-01-31T10:20:30"),
        (["10:20", "23:59:59", ""], "time32[ms]", time(10, 20)),
        (["31/01/2024", "01/02/2024"], "string", "31/01/2024"),
        (["", "NA", "?"], "null", None),
        (["NA", "a", "b"], "string", None),
        (['"a,b"', '"c ""d"""', "e"], "string", "a,b"),
        (['" a "', "b", "c"], "string", " a "),
    ],
)
def test_one_block(values: list[str], kind: str, first: Any, snapshot: Ingest, write: Write) -> None:
    result = snapshot(write("a.csv", column(*values)))
    assert str(result.type("x")) == kind
    assert result.values("x")[0] == first


BLOCK = 200_000  # rows of the two-byte values below take more than a block of the reader


@pytest.mark.parametrize(
    ("early", "late", "kind", "values"),
    [
        ("1", "2.5", "double", (1.0, 2.5)),
        ("1", "007", "string", ("1", "007")),
        ("", "7", "int64", (None, 7)),
        ("", "ab", "string", (None, "ab")),
        ("2024-01-31", "2024-01-31 10:20", "timestamp[ms]", (datetime(2024, 1, 31), datetime(2024, 1, 31, 10, 20))),
        ("true", "maybe", "string", ("true", "maybe")),
        ("10:20", "soon", "string", ("10:20", "soon")),
        ("7", "12345678901234567890", "string", ("7", "12345678901234567890")),
        ("1", '"two\nlines"', "string", ("1", "two\nlines")),
    ],
)
def test_a_later_block_widens(
    early: str, late: str, kind: str, values: tuple[Any, Any], snapshot: Ingest, write: Write
) -> None:
    # A fifth of the rows are words in the mixed cases, so that the column isn't taken for a spoiled one.
    share = 4 if kind == "string" else 9999
    rows = [early] * BLOCK + [late if i % share == 0 else early for i in range(BLOCK if kind == "string" else 10_000)]
    padding = "padding-of-the-row"
    result = snapshot(write("a.csv", "k,x\n" + "".join(f"{padding}{i % 3},{v}\n" for i, v in enumerate(rows))))
    assert str(result.type("x")) == kind
    found = result.values("x")
    assert len(found) == len(rows)
    assert (found[0], found[BLOCK]) == values


def test_the_lattice_of_types() -> None:
    types = [
        pa.null(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.date32(),
        pa.timestamp("ms"),
        pa.timestamp("ns"),
        pa.timestamp("ms", "UTC"),
        pa.time32("ms"),
        pa.decimal128(10, 2),
        pa.decimal128(12, 0),
        pa.string(),
    ]
    for a, b, c in permutations(types, 3):
        assert join(a, a) == a
        assert join(a, b) == join(b, a)
        assert join(a, join(a, b)) == join(a, b)
        if not any(pa.types.is_decimal(x) or pa.types.is_integer(x) for x in (a, b, c)):
            assert join(join(a, b), c) == join(a, join(b, c))
        assert join(pa.null(), a) == a
        assert join(pa.string(), a) == pa.string()


# Values that read as something else than their text (numbers, null tokens, spaces at the ends) have tests of their own.
words = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8
)
texts = st.one_of(
    words, st.sampled_from(['"', '""', ",", "a,b", 'say "hi"', "two\nlines", "ünï", '5" pipe', "; |"])
).map(lambda text: "w" + text + "w")
rows = st.lists(
    st.tuples(
        st.one_of(st.none(), texts),
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) < 2**53)),
        st.one_of(st.none(), st.booleans()),
        st.one_of(st.none(), st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1))),
        st.sampled_from(["a", "b"]),
    ),
    min_size=2,
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows,
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_round_trip(table: list[tuple[Any, ...]], delimiter: str, quoting: Any, end: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(["text", "whole", "real", "flag", "time", "level"])
    writer.writerows(
        [[*("" if v is None else v for v in row[:4]), row[4].isoformat() if row[4] else "", row[5]] for row in table]
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(text.getvalue().encode())
        try:
            artifact = ingest(SourceConfig(path=str(path), delimiter=delimiter), SchemaConfig(), Store(folder), "x")
        except SourceError as error:
            assert "nothing to learn" in str(error)
            return
        found = pq.read_table(artifact.folder / "data").to_pylist()
    assert len(found) == len(table)
    for row, back in zip(table, found, strict=True):
        when = None if back["time"] is None else back["time"].replace(tzinfo=None)
        flag = None if back["flag"] in ("", None) else back["flag"]
        assert (back["text"], back["whole"], back["real"], flag, when, back["level"]) == row


@pytest.mark.parametrize("text", MISSING)
def test_what_other_programs_write_for_missing_numbers_is_missing(text: str, snapshot: Ingest, write: Write) -> None:
    result = snapshot(
        write("a.csv", "x,group\n" + "".join(f"{text if i == 7 else i % 5},g{i % 3}\n" for i in range(60)))
    )
    assert result["x"].kind == "integer" and result["x"].nulls == 1


def test_mixed_columns_by_the_users_word(snapshot: Ingest, write: Write) -> None:
    path = write("a.csv", column(*("99+" if i == 60 else str(i % 50) for i in range(100))))
    with pytest.raises(SourceError, match=r"mixed types in column 'x'.*row 61 has '99\+'"):
        snapshot(path)
    result = snapshot(path, {"x": {"kind": "categorical"}})
    assert result.values("x")[60] == "99+"
    assert result["x"].kind == "categorical"
    assert snapshot(path, {"x": {"kind": "text"}}).values("x")[:3] == ["0", "1", "2"]
    assert snapshot(path, {"x": {"drop": True}}).table.column_names == ["k"]
    assert snapshot(path, null_values=["99+"])["x"].nulls == 1
    assert (
        snapshot(write("b.csv", column(*(f"n{i % 5}" if i % 5 == 0 else str(i % 5) for i in range(100))))).type("x")
        == pa.string()
    )


def test_json_types_widen(snapshot: Ingest, write: Write) -> None:
    early = [{"a": i % 9, "b": "x", "c": None} for i in range(150_000)]
    late = [{"a": i % 9 + 0.5, "b": "x", "c": f"v{i % 3}", "d": i % 2 == 0} for i in range(10)]
    result = snapshot(write("a.jsonl", "".join(json.dumps(row) + "\n" for row in early + late)))
    assert {f.name: str(f.type) for f in result.schema.arrow} == {
        "a": "double",
        "b": "string",
        "c": "string",
        "d": "bool",
    }
    assert result.table.slice(150_000).to_pylist() == late
    mixed = [{"a": f"code{i % 5}" if i % 3 == 0 else i % 5, "k": i % 2} for i in range(60)]
    result = snapshot(write("b.jsonl", "".join(json.dumps(row) + "\n" for row in mixed)))
    assert result.values("a")[:3] == ["code0", "1", "2"]
    spoiled = "".join(json.dumps({"a": "old" if i == 7 else i % 5, "k": i % 2}) + "\n" for i in range(60))
    assert snapshot(write("c.jsonl", spoiled), {"a": {"kind": "categorical"}}).values("a")[6:9] == ["1", "old", "3"]


def test_malformed_rows_are_kept(snapshot: Ingest, write: Write) -> None:
    lines = ["x,y", *(f"{i % 9},v{i % 3}" for i in range(1000))]
    lines[3] += ",more"
    lines[500] = '"two\nlines",v1'.replace('"two\nlines"', "7") + ',"a\nb"'
    lines[600] = "alone"
    lines.insert(10, "")
    result = snapshot(write("a.csv", "\n".join(lines) + "\n"))
    assert len(result.table) == 997
    assert [(row["line"], row["fault"]) for row in result.rejected()] == [
        (4, "3 fields where 2 are expected"),
        (502, "3 fields where 2 are expected"),
        (603, "1 fields where 2 are expected"),
    ]
    assert result.rejected()[2]["text"] == "alone"
    assert result.artifact.manifest["rejected"] == 3
    assert "3 malformed rows" in result.schema.notes[0]


def test_malformed_rows_in_late_blocks(snapshot: Ingest, write: Write) -> None:
    lines = [f"{i % 9},value number {i % 3}" for i in range(400_000)]
    for i in (5, 250_000, 250_001, 399_999):
        lines[i] = f"{i},same,text"
    result = snapshot(write("a.csv", "x,y\n" + "\n".join(lines)))
    assert [row["line"] for row in result.rejected()] == [7, 250_002, 250_003, 400_001]


def test_malformed_rows_of_several_files(snapshot: Ingest, write: Write) -> None:
    rows = [f"{i % 9},value number {i % 3}" for i in range(150_000)]
    rows[149_000] = "1,same,text"
    for name in ("a.csv", "b.csv"):
        path = write(f"parts/{name}", "x,y\n" + "\n".join(rows))
    result = snapshot(path.parent)
    assert [(row["file"][-5:], row["line"]) for row in result.rejected()] == [("a.csv", 149_002), ("b.csv", 149_002)]


def test_quotes_inside_values(snapshot: Ingest, write: Write) -> None:
    content = 'size,note,k\n5" pipe,"a, b",1\n6 "x" y, "c\nd" ,2\n7,"he said ""no""",1\n8," kept ",2\n'
    result = snapshot(write("a.csv", content * 1 + "9,z,1\n" * 3))
    assert result.values("size")[:4] == ['5" pipe', '6 "x" y', "7", "8"]
    assert result.values("note")[:4] == ["a, b", "c\nd", 'he said "no"', " kept "]


def test_a_value_longer_than_a_block(snapshot: Ingest, write: Write) -> None:
    long = "word " * 1_500_000 + "end"
    result = snapshot(write("a.csv", f'k,x\n1,a\n2,"{long}"\n1,b\n'))
    assert result.values("x") == ["a", long, "b"]
