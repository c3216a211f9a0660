"""Tables in many files: what folders say belongs to the rows, and a bucket is read like a folder."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import csv, feather, fs
from snapshots import Ingest

from vae_core.config import SchemaConfig, SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest import ingest
from vae_core.store import Store

TABLE = pa.table(
    {
        "n": [i % 17 for i in range(200)],
        "year": [2023 + i % 2 for i in range(200)],
        "place": [None if i % 9 == 0 else f"a/b {i % 3}=ü" for i in range(200)],
        "code": [f"0{i % 2}" for i in range(200)],
    }
)
KEYS = ["year", "place", "code"]


def hive(table: pa.Table, folder: Path | str, keys: list[str], filesystem: fs.FileSystem | None = None) -> None:
    """What pyarrow writes, as Spark and DuckDB do."""
    schema = pa.schema([table.schema.field(key) for key in keys])
    partitioning = ds.HivePartitioning(schema, segment_encoding="uri")
    ds.write_dataset(table, folder, format="parquet", partitioning=partitioning, filesystem=filesystem)


def same_rows(one: pa.Table, other: pa.Table) -> bool:
    order = [(name, "ascending") for name in one.column_names]
    return bool(one.sort_by(order).equals(other.select(one.column_names).sort_by(order)))


def test_a_partitioned_folder_is_the_table(tmp_path: Path, snapshot: Ingest) -> None:
    hive(TABLE, tmp_path / "table", KEYS)
    found = snapshot(tmp_path / "table").table
    assert found.column_names == ["n", *KEYS]
    assert found.schema.field("year").type == pa.int64() and found.schema.field("code").type == pa.string()
    assert same_rows(found, TABLE)
    glob = snapshot(tmp_path / "table/year=2024/*/*/*.parquet").table
    assert glob.column_names == ["n", "place", "code"]  # the year was chosen


WORD = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\0"), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.none() | WORD | st.integers(-9999, 9999).map(str), min_size=2, max_size=8).filter(any))
def test_any_value_comes_back_from_its_folders_name(values: list[str | None]) -> None:
    table = pa.table({"n": range(len(values)), "key": pa.array(values, pa.string())})
    with TemporaryDirectory() as folder:
        hive(table, f"{folder}/table", ["key"])
        made = ingest(SourceConfig(path=f"{folder}/table"), SchemaConfig(), Store(f"{folder}/store"), "table")
        found = pq.read_table(made.folder / "data").sort_by("n").column("key")
        assert [None if value is None else str(value) for value in found.to_pylist()] == values


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_folders_of_text_files_too(tmp_path: Path, snapshot: Ingest, suffix: str) -> None:
    for year in (2023, 2024):
        part = TABLE.filter(pa.array([each == year for each in TABLE["year"].to_pylist()])).select(["n"])
        target = tmp_path / f"table/year={year}/part.{suffix}"
        target.parent.mkdir(parents=True)
        if suffix == "csv":
            csv.write_csv(part, target)
        else:
            part.to_pandas().to_json(target, orient="records", lines=True)
    assert same_rows(snapshot(tmp_path / "table").table, TABLE.select(["n", "year"]))


def test_what_the_files_say_themselves_and_what_nobody_wants(tmp_path: Path, snapshot: Ingest) -> None:
    for year in (1, 2):
        (tmp_path / f"table/n={year}/year={year}").mkdir(parents=True)
        pq.write_table(TABLE.select(["n"]), tmp_path / f"table/n={year}/year={year}/part.parquet")
    found = snapshot(tmp_path / "table").table
    assert found.column_names == ["n", "year"] and len(set(found["n"].to_pylist())) == 17
    assert snapshot(tmp_path / "table", {"year": {"drop": True}}).table.column_names == ["n"]


def test_moving_rows_to_another_folder_is_another_source(tmp_path: Path, snapshot: Ingest) -> None:
    (tmp_path / "table/year=1").mkdir(parents=True)
    pq.write_table(TABLE.select(["n"]), tmp_path / "table/year=1/part.parquet")
    one = snapshot(tmp_path / "table")
    (tmp_path / "table/year=1").rename(tmp_path / "table/year=2")
    assert snapshot(tmp_path / "table").artifact.version != one.artifact.version


def test_folders_that_say_different_things_are_refused(tmp_path: Path, snapshot: Ingest) -> None:
    for folder in ("year=1", "month=1"):
        (tmp_path / "table" / folder).mkdir(parents=True)
        pq.write_table(TABLE.select(["n"]), tmp_path / "table" / folder / "part.parquet")
    with pytest.raises(SourceError, match=r"name 'year', those of .*month=1.* 'month'"):
        snapshot(tmp_path / "table")


NUMBERS = st.lists(st.none() | st.integers(-300, 300), min_size=2, max_size=4)


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.tuples(NUMBERS, st.booleans()), min_size=1, max_size=4), suffix=st.booleans())
def test_a_column_has_the_type_that_holds_what_it_is_in_each_file(
    parts: list[tuple[list[int | None], bool]], suffix: bool
) -> None:
    whole = pa.table(
        {
            "n": pa.array([n for some, _ in parts for n in some], pa.int16()),
            "half": pa.array([n and n / 2 for some, _ in parts for n in some], pa.float64()),
        }
    )
    assume(len(set(whole["n"].to_pylist()) - {None}) > 1)  # or there is nothing to learn
    with TemporaryDirectory() as folder:
        start = 0
        for k, (some, turned) in enumerate(parts):
            part = whole.slice(start, len(some))
            start += len(some)
            for index, name in enumerate(part.column_names):
                part = part.set_column(index, name, narrowed(part[name]))
            part = part.select(["half", "n"] if turned and k else ["n", "half"])
            Path(f"{folder}/table").mkdir(exist_ok=True)
            if suffix:
                pq.write_table(part, f"{folder}/table/{k}.parquet")
            else:
                feather.write_feather(part, f"{folder}/table/{k}.arrow")
        made = ingest(SourceConfig(path=f"{folder}/table"), SchemaConfig(), Store(f"{folder}/store"), "table")
        found = pq.read_table(made.folder / "data")
        assert found.to_pydict() == whole.to_pydict()


@pytest.mark.parametrize(("one", "other"), [([Decimal("0.1"), Decimal("0.3")], [0.1, 0.3]), (["a", "b"], [b"a", b"b"])])
def test_types_of_which_neither_holds_the_other_are_refused(
    tmp_path: Path, snapshot: Ingest, one: list[Any], other: list[Any]
) -> None:
    (tmp_path / "table").mkdir()
    for name, values in {"a": one, "b": other}.items():
        pq.write_table(pa.table({"x": values, "n": [1, 2]}), tmp_path / f"table/{name}.parquet")
    with pytest.raises(SourceError, match=r"b.parquet: has the column 'x' as \w+, other files as "):
        snapshot(tmp_path / "table")


def narrowed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As some writer that knows these rows alone would type them."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))])
    for kind in (pa.int8(), pa.int16()):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket on a real S3 server on loopback, and an environment to reach it."""
    moto_server = pytest.importorskip("moto.server")
    running = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for key, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    name = "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/{name}", method="PUT")).read()
    yield name
    running.stop()


def test_a_bucket_is_read_like_a_folder(bucket: str, tmp_path: Path, snapshot: Ingest) -> None:
    remote, path = fs.FileSystem.from_uri(f"s3://{bucket}/lake/table")
    hive(TABLE, path, KEYS, remote)
    with remote.open_output_stream(f"{path}/_SUCCESS") as mark:
        mark.write(b"")
    hive(TABLE, tmp_path / "table", KEYS)
    local = snapshot(tmp_path / "table")
    there = snapshot(f"s3://{bucket}/lake/table")
    assert there.artifact.manifest["files"] == local.artifact.manifest["files"]
    assert there.artifact.version == local.artifact.version
    one = snapshot(f"s3://{bucket}/lake/table/year=2023/*/*/*.parquet").table
    assert one.column_names == ["n", "place", "code"] and 0 < len(one) < len(TABLE)
    single = next(info.path for info in remote.get_file_info(fs.FileSelector(path, recursive=True)) if info.size)
    assert snapshot(f"s3://{single}").table.column_names == ["n"]
    with remote.open_output_stream(f"{path}/_delta_log/0.json") as log:
        log.write(b"{}")
    with pytest.raises(SourceError, match="Delta Lake"):
        snapshot(f"s3://{bucket}/lake/table")
    for missing in (f"s3://{bucket}/nothing", f"s3://{bucket}/lake/*.csv"):
        with pytest.raises(SourceError, match="no such file or folder"):
            snapshot(missing)
