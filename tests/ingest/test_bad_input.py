"""Every kind of bad input gives one clear line, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snapshots import Ingest, leftovers

from vae_core.errors import InputError

GOOD = "age,city\n" + "".join(f"{20 + i % 50},city{i % 7}\n" for i in range(100))
MIXED = "id,age\n" + "".join(f"{i % 9},{'unknown' if i == 41 else i % 60}\n" for i in range(100))
RAGGED = GOOD.replace("23,city3\n", "23,city3,extra\n")


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_csv", ".csv"), content)
    return buffer.getvalue()


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


N = 30
NESTED = pa.table({"x": list(range(N)), "tags": [["a"]] * N})
STRUCT = pa.table({"x": list(range(N)), "place": [{"lat": 1.0}] * N})
BINARY_COLUMN = pa.table({"x": list(range(N)), "blob": [b"\0"] * N})
INFINITE = "x,y\n" + "".join(f"{i % 5},{'inf' if i == 12 else i / 7}\n" for i in range(N))

# name of the file, its content, options of the source, overrides of columns, what the line has to say
FILES: dict[str, tuple[str, str | bytes, dict[str, Any], dict[str, Any], list[str]]] = {
    "empty file": ("a.csv", "", {}, {}, ["a.csv", "empty"]),
    "blank file": ("a.csv", "\n \n", {}, {}, ["a.csv", "empty"]),
    "header only": ("a.csv", "x,y\n", {}, {}, ["header", "no rows"]),
    "header only, no line end": ("a.csv", "x,y", {}, {}, ["no rows"]),
    "one row": ("a.csv", "x,y\n1,2\n", {}, {}, ["only one row"]),
    "binary named csv": ("a.csv", bytes(range(256)) * 40, {}, {}, ["binary file"]),
    "image named csv": ("a.csv", b"\x89PNG\r\n" + bytes(2000), {}, {}, ["PNG", "not text"]),
    "parquet named csv": ("a.csv", parquet(pa.table({"x": [1, 2]})), {}, {}, ["Parquet", "source.format"]),
    "ragged rows": ("a.csv", RAGGED, {"max_rejected": 0.001}, {}, ["1 of 100 rows", "line 5", "3 fields where 2"]),
    "all rows ragged": ("a.csv", "a,b\n1,2,3\n1,2,3\n", {}, {}, ["2 of 2 rows", "line 2"]),
    "duplicate names": ("a.csv", "x,y,x\n1,2,3\n1,2,3\n", {}, {}, ["1 and 3", "'x'", "source.names"]),
    "empty name": ("a.csv", "x,,z\n1,2,3\n1,2,3\n", {}, {}, ["column 2 has no name"]),
    "mixed types": ("a.csv", MIXED, {}, {}, ["'age'", "row 42", "'unknown'", "null_values", "kind: categorical"]),
    "mixed types in a late block": (
        "a.csv",
        "id,age\n" + "".join(f"{i % 9},{'oops' if i == 800_000 else i % 60}\n" for i in range(800_001)),
        {},
        {},
        ["'age'", "row 800001", "'oops'"],
    ),
    "mixed types in JSON": (
        "a.jsonl",
        "".join(f'{{"age": {chr(34) + "old" + chr(34) if i == 50 else i % 9}, "k": "v{i % 3}"}}\n' for i in range(100)),
        {},
        {},
        ["'age'", "row 51", "'old'"],
    ),
    "JSON array": ("a.json", '[{"x": 1}]', {}, {}, ["JSON array", "one object a line"]),
    "JSON that isn't": ("a.jsonl", '{"x": 1}\nnope\n{"x": 2}\n', {}, {}, ["1 of 3 rows", "line 2", "not JSON"]),
    "JSON nested": ("a.jsonl", '{"x": 1, "y": [1]}\n' * 9, {}, {}, ["'y'", "nested", "drop"]),
    "unclosed quote": ("a.csv", 'x,y\n1,2\n1,"abc\n' + "1,2\n" * 99, {}, {}, ["quote isn't closed"]),
    "nested list": ("a.parquet", parquet(NESTED), {}, {}, ["'tags'", "nested", "schema.columns.tags.drop"]),
    "nested struct": ("a.parquet", parquet(STRUCT), {}, {}, ["'place'", "nested"]),
    "binary column": ("a.parquet", parquet(BINARY_COLUMN), {}, {}, ["'blob'", "isn't supported"]),
    "no rows in parquet": ("a.parquet", parquet(pa.table({"x": pa.array([], pa.int64())})), {}, {}, ["no rows"]),
    "cut parquet": ("a.parquet", parquet(pa.table({"x": list(range(999))}))[:-20], {}, {}, ["damaged or cut short"]),
    "text named parquet": ("a.parquet", GOOD, {}, {}, ["a.parquet", "damaged"]),
    "text named arrow": ("a.arrow", GOOD, {}, {}, ["a.arrow", "damaged"]),
    "infinity": ("a.csv", INFINITE, {}, {}, ["'y'", "infinite", "row 13"]),
    "only identifiers": (
        "a.csv",
        "id,name\n" + "".join(f"{i},user{i:04}\n" for i in range(N)),
        {},
        {},
        ["nothing to learn", "id: identifier"],
    ),
    "cut gzip": ("a.csv.gz", gzip.compress(GOOD.encode() * 50)[:-30], {}, {}, ["a.csv.gz", "cut short"]),
    "not a gzip": ("a.csv.gz", GOOD, {}, {}, ["not a gzip file"]),
    "damaged zip": ("a.csv.zip", zipped(a_csv=GOOD)[:-40], {}, {}, ["a.csv.zip", "damaged"]),
    "zip of several": ("a.zip", zipped(a_csv=GOOD, b_csv=GOOD), {}, {}, ["2 files", "a.csv, b.csv"]),
    "zip of none": ("a.zip", zipped(), {}, {}, ["a.zip"]),
    "unknown extension": ("a.xlsx", "hello", {}, {}, ["'.xlsx'", "source.format"]),
    "no extension": ("a", GOOD, {}, {}, ["no extension", "source.format"]),
    "unknown column": ("a.csv", GOOD, {}, {"agee": {"kind": "real"}}, ["'agee'", "did you mean 'age'"]),
    "unknown column dropped": ("a.csv", GOOD, {}, {"ctiy": {"drop": True}}, ["did you mean 'city'"]),
    "every column dropped": ("a.csv", GOOD, {}, {"age": {"drop": True}, "city": {"drop": True}}, ["every column"]),
    "text as time": ("a.csv", GOOD, {}, {"city": {"kind": "timestamp"}}, ["city", "impossible", "row 1", "'city0'"]),
    "text as number": ("a.csv", GOOD, {}, {"city": {"kind": "real"}}, ["impossible", "'city0'"]),
    "number as date": ("a.csv", GOOD, {}, {"age": {"kind": "date"}}, ["impossible", "int64"]),
    "number as boolean": ("a.csv", GOOD, {}, {"age": {"kind": "boolean"}}, ["impossible", "20"]),
    "constant that varies": ("a.csv", GOOD, {}, {"age": {"kind": "constant"}}, ["impossible", "differ"]),
    "gaussian text": ("a.csv", GOOD, {}, {"city": {"likelihood": "gaussian"}}, ["gaussian", "city", "categorical"]),
    "bad delimiter": ("a.csv", GOOD, {"delimiter": "||"}, {}, ["source.delimiter", "'||'"]),
    "bad encoding": ("a.csv", GOOD, {"encoding": "utf-99"}, {}, ["source.encoding", "utf-99"]),
    "wrong encoding": ("a.csv", GOOD.replace("c", "é").encode("cp1252"), {"encoding": "utf-8"}, {}, ["isn't utf-8"]),
    "too few names": ("a.csv", GOOD, {"names": ["a"]}, {}, ["source.names", "1 names", "2 fields"]),
}


def refused(snapshot: Ingest, tmp_path: Path, source: Any, says: list[str], **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        snapshot(source, **options)
    line = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in line
    for part in says:
        assert part in line, line
    assert leftovers(tmp_path / "store") == []
    return line


@pytest.mark.parametrize("case", FILES)
def test_files(case: str, snapshot: Ingest, write: Callable[..., Path], tmp_path: Path) -> None:
    name, content, options, columns, says = FILES[case]
    line = refused(snapshot, tmp_path, write(name, content), says, columns=columns, **options)
    assert name in line or "source." in line or "schema.columns" in line


def test_paths(snapshot: Ingest, write: Callable[..., Path], tmp_path: Path) -> None:
    write("flights.csv", GOOD)
    write("mix/a.csv", GOOD)
    write("mix/b.parquet", parquet(NESTED))
    write("differ/a.csv", GOOD)
    write("differ/b.csv", GOOD.replace("city", "town"))
    (tmp_path / "hollow").mkdir()
    write("lake/a.csv", GOOD)
    write("lake/_delta_log/0.json", "{}")
    for path, says in {
        tmp_path / "lake": ["Delta Lake", "deleted"],
        tmp_path / "lake/*.csv": ["Delta Lake", "deleted"],
        tmp_path / "flihgts.csv": ["no such file", "'flights.csv'"],
        tmp_path / "nowhere/a.csv": ["no such file", "no folder"],
        tmp_path / "hollow": ["holds no file"],
        tmp_path / "*.tsv": ["no file matches"],
        tmp_path / "mix": ["mixes formats", "a.csv is csv", "b.parquet is parquet"],
        tmp_path / "differ": ["b.csv", "age, town", "age, city", "same columns"],
        "nopackage_x:data/a.csv": ["'nopackage_x'", "isn't installed"],
        "sklearn:datasets/data/irs.csv": ["no such file", "datasets/data/iris.csv"],
        "sklearn:../../etc/passwd": ["no such file"],
        "http://user:hunter2@127.0.0.1:1/a.csv?token=hunter2": ["can't be fetched"],
        "gopher://127.0.0.1/a.csv": ["can't be fetched"],
    }.items():
        assert "hunter2" not in refused(snapshot, tmp_path, path, says)


def test_schemas_that_differ(snapshot: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"x": [1, 2**53 + 1], "y": [1, 2]}), folder / "a.parquet")
    for other, says in (
        (pa.table({"x": [1, 2]}), "no column 'y'"),
        (pa.table({"x": [1, 2], "y": [1, 2], "z": [1, 2]}), "the column 'z'"),
        (pa.table({"x": [1, 2], "y": ["1", "2"]}), "'y' as string"),
        (pa.table({"x": [1, 2], "y": [[1], [2]]}), "'y' as list"),
        (pa.table({"x": [1, 2], "y": [b"1", b"2"]}), "'y' as binary"),
        (pa.table({"x": [0.5, 1], "y": [1, 2]}), "a.parquet: has the column 'x' as int64, other files as double"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([1])], ["x", "x"]), "b.parquet: columns 1 and 2 are both named"),
    ):
        pq.write_table(other, folder / "b.parquet")
        refused(snapshot, tmp_path, folder, [says])


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"x": [1, "a", 2.5] * 9}), ["'x'", "mixed types"]),
        (pd.DataFrame([[1, 2]] * 9, columns=["x", "x"]), ["both named 'x'"]),
        (pd.DataFrame([[1, 2]] * 9, columns=["x", ""]), ["no name"]),
        (pd.DataFrame([[1, 2]] * 9, columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), ["2 levels"]),
        (pd.DataFrame({"x": [[1], [2]] * 9}), ["'x'", "nested"]),
        (pd.DataFrame({"x": pd.period_range("2020", periods=9, freq="M")}), ["'x'", "isn't supported"]),
        (pd.DataFrame({"x": [1.0, np.inf] * 9}), ["'x'", "infinite", "row 2"]),
        (pd.DataFrame({"x": []}), ["no rows"]),
        (pd.DataFrame(), ["no columns"]),
    ],
)
def test_frames(frame: pd.DataFrame, says: list[str], snapshot: Ingest, tmp_path: Path) -> None:
    refused(snapshot, tmp_path, frame, says)


def test_nan_where_nothing_may_be_missing(snapshot: Ingest, tmp_path: Path) -> None:
    schema = pa.schema([pa.field("x", pa.float64(), nullable=False)])
    refused(snapshot, tmp_path, pa.table({"x": [1.0, float("nan")]}, schema), ["'x'", "NaN"])


def test_queries(snapshot: Ingest, tmp_path: Path) -> None:
    from vae_core.config import SourceConfig

    database = tmp_path / "a.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE t (x, y)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(i % 5, "odd" if i == 70 else i) for i in range(100)])
    url = f"sqlite:///{database}"
    for address, query, says in (
        (url, "SELECT * FROM absent", ["no such table"]),
        (url, "SELEC", ["syntax error"]),
        (url, "SELECT x, x FROM t", ["both named 'x'"]),
        (url, "SELECT x FROM t WHERE x > 100", ["no rows"]),
        (url, "SELECT x, y FROM t", ["'y'", "'odd'", "row 71"]),
        (url, "DROP TABLE IF EXISTS u", ["SELECT"]),
        (f"sqlite:///{tmp_path}/missing.db", "SELECT 1", ["there is no file"]),
        ("postgresql://me:hunter2@127.0.0.1:1/db", "SELECT 1", ["me:***@127.0.0.1"]),
        ("nosuchdb://me:hunter2@host/db", "SELECT 1", ["nosuchdb"]),
        ("sqlite:///${VAESYNTH_NOT_SET}", "SELECT 1", ["VAESYNTH_NOT_SET", "isn't set"]),
        ("hunter2", "SELECT 1", ["the query"]),
    ):
        line = refused(snapshot, tmp_path, SourceConfig(query=query, url=address), says)
        assert "hunter2" not in line
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_file_that_may_not_be_read(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("a.csv", GOOD)
    path.chmod(0)
    script = (
        "import os, sys\n"
        "from vae_core.config import *; from vae_core.ingest import ingest; from vae_core.store import *\n"
        "if os.getuid() == 0: os.seteuid(65534)\n"  # root may read everything
        "try: ingest(SourceConfig(path=sys.argv[1]), SchemaConfig(), Store(sys.argv[2]), 'x')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", script, str(path), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SourceError")
    assert "permission denied" in done.stdout
    assert not (tmp_path / "store").exists()
