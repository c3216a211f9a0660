"""Datasets in folders by value: what pyarrow would write, in bounded memory, with the same bytes whatever happens."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from generation_runs import arguments, ended, start, until
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.config import GenerationConfig
from vae_core.errors import ConfigError
from vae_core.generation import BLOCK, Run, Sampler, Shard, generate
from vae_core.generation.partition import BUFFER, check_partitions, split
from vae_core.generation.shards import Folder
from vae_core.generation.verify import verify
from vae_core.generation.writer import ROW_GROUP, ShardWriter
from vae_core.store import Artifact, LocalPlace, Store

ROWS = 2 * BLOCK + 100


def config(**changes: object) -> GenerationConfig:
    base = {"rows": ROWS, "seed": 7, "rows_per_shard": BLOCK, "device": "cpu", "partition_by": ["origin", "carrier"]}
    return GenerationConfig.model_validate(base | {"workers": 1} | changes)


def digests(dataset: Artifact) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in dataset.manifest["files"].items()}


@pytest.fixture(scope="module")
def parted(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return generate(model, config(), Store(tmp_path_factory.mktemp("parted")))


@settings(deadline=None)
@given(st.data())
def test_folders_are_named_as_pyarrow_names_them(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
    rows = data.draw(st.integers(1, 20))
    draw = {"a b": text, "n": st.one_of(st.none(), st.integers(-5, 5)), "flag": st.one_of(st.none(), st.booleans())}
    columns = {name: data.draw(st.lists(values, min_size=rows, max_size=rows)) for name, values in draw.items()}
    types = {"a b": pa.string(), "n": pa.int32(), "flag": pa.bool_()}
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()} | {"i": range(rows)})
    if data.draw(st.booleans()):
        table = table.set_column(0, "a b", table["a b"].dictionary_encode())
    chosen = data.draw(st.lists(st.sampled_from(list(types)), min_size=1, max_size=3, unique=True))
    layout = ds.partitioning(pa.schema([(name, types[name]) for name in chosen]), flavor="hive")
    expected: dict[str, list[int]] = {}
    for row in table.to_pylist():
        each = [pc.field(name) == row[name] if row[name] is not None else pc.field(name).is_null() for name in chosen]
        both = each[0]
        for more in each[1:]:
            both = both & more
        expected.setdefault(layout.format(both)[0].strip("/"), []).append(row["i"])
    found = {folder: rows["i"].to_pylist() for folder, rows in split(table, chosen)}
    assert found == expected


def test_every_row_is_there_once_in_its_order(parted: Artifact, sampler: Sampler) -> None:
    assert verify(parted) == [] and len(parted.manifest["files"]) > 60
    expected = sampler.sample(ROWS, 7)
    for folder in {str(Path(name).parent) for name in parted.manifest["files"]}:
        values = dict(part.split("=") for part in folder.split("/"))
        files = sorted((parted.folder / folder).glob("*.parquet"))
        rows = pa.concat_tables(pq.ParquetFile(file).read() for file in files)
        here = [pc.equal(expected[name].cast(pa.string()), value) for name, value in values.items()]
        assert rows.equals(expected.filter(pc.and_(*here)).drop_columns(list(values)))


def test_missing_values_have_a_folder(tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.string()), ("x", pa.int64())])
    keys = ["a", None, "", "a b/c=%é", None, "null"] * 10
    run = Run("", "", 7, len(keys), BLOCK, "zstd", ("key",))
    writer = ShardWriter(Folder(LocalPlace(tmp_path), run), run.shards()[0], schema)
    writer.write(pa.table({"key": keys, "x": range(len(keys))}, schema=schema))
    writer.finish()
    assert (tmp_path / "key=__HIVE_DEFAULT_PARTITION__").is_dir()
    read = pq.read_table(tmp_path)
    assert dict(zip(read["x"].to_pylist(), read["key"].to_pylist(), strict=True)) == dict(enumerate(keys))


def test_readers_find_all_columns(parted: Artifact, sampler: Sampler) -> None:
    expected = sampler.sample(ROWS, 7)
    folder = parted.folder
    counts = expected.group_by("origin").aggregate([("distance", "sum")]).sort_by("origin")
    frame = pd.read_parquet(folder)
    assert set(frame.columns) == set(expected.column_names) and len(frame) == ROWS
    assert frame.groupby("origin", observed=True)["distance"].sum().tolist() == counts["distance_sum"].to_pylist()
    dataset = ds.dataset(folder, partitioning="hive")
    assert dataset.count_rows(filter=pc.field("origin") == "JFK") == expected["origin"].to_pylist().count("JFK")
    query = f"select origin, sum(distance) from read_parquet('{folder}/**/*.parquet', hive_partitioning=true)"
    assert [row[1] for row in duckdb.sql(query + " group by 1 order by 1").fetchall()] == [
        int(value) for value in counts["distance_sum"].to_pylist()
    ]
    lazy = pl.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
    polars = lazy.group_by("origin").agg(pl.col("distance").sum()).sort("origin").collect()
    assert polars["distance"].to_list() == counts["distance_sum"].to_pylist()


@pytest.mark.parametrize("change", [{"workers": 3}, {"workers": 2, "batch_size": 1000}])
def test_bytes_depend_on_neither_workers_nor_batch(
    model: Artifact, parted: Artifact, tmp_path: Path, change: dict[str, int]
) -> None:
    assert digests(generate(model, config(**change), Store(tmp_path))) == digests(parted)


def test_killed_and_resumed(model: Artifact, parted: Artifact, tmp_path: Path) -> None:
    output = tmp_path / "out"
    asked = arguments(model, output, ROWS, "--partition-by", "origin", "--partition-by", "carrier", workers=1)
    for _ in range(2):
        process = start(asked)
        until(process, lambda: any(output.rglob("*.parquet")))
        process.kill()
        process.communicate()
        for part in output.rglob("*.parquet"):
            name = part.relative_to(output).as_posix()
            assert LocalPlace(output).sha256(name) == digests(parted)[name]
    assert ended(start(asked)) == (0, "")
    assert digests(Artifact.load(output)) == digests(parted) and verify(Artifact.load(output)) == []
    assert not [name for name in LocalPlace(output).sizes() if ".tmp-" in name]


def test_few_files_are_open_and_few_rows_wait(tmp_path: Path) -> None:
    """Hundreds of partitions, rows at random: as many row groups as fit, two files open."""
    rows, levels, random = 6 * ROW_GROUP, 300, np.random.default_rng(0)

    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    schema = pa.schema([("key", pa.string()), ("x", pa.int64())])
    run = Run("", "", 0, rows, rows, "zstd", ("key",))
    writer = ShardWriter(Folder(LocalPlace(tmp_path), run), Shard(0, 0, rows), schema)
    before, most, names = opened(), 0, [f"k{i}" for i in range(levels)]
    for start_ in range(0, rows, ROW_GROUP):
        codes = pa.DictionaryArray.from_arrays(random.integers(0, levels, ROW_GROUP, np.int32), pa.array(names))
        writer.write(pa.table({"key": codes, "x": pa.array(np.arange(start_, start_ + ROW_GROUP))}))
        most = max(most, opened() - before)
    assert most <= 2
    writer.finish()
    files = list(tmp_path.rglob("*.parquet"))
    groups = sum(pq.read_metadata(file).num_row_groups for file in files)
    assert len(files) == levels and groups <= levels * (1 + rows // BUFFER)
    assert pq.read_table(tmp_path, columns=["x"])["x"].to_numpy().sum() == rows * (rows - 1) // 2


def test_row_groups_are_large_where_there_are_few_partitions(tmp_path: Path) -> None:
    rows = 16 * ROW_GROUP
    schema = pa.schema([("key", pa.int8()), ("x", pa.int64())])
    run = Run("", "", 0, rows, rows, "zstd", ("key",))
    writer = ShardWriter(Folder(LocalPlace(tmp_path), run), Shard(0, 0, rows), schema)
    for start_ in range(0, rows, ROW_GROUP):
        x = np.arange(start_, start_ + ROW_GROUP)
        writer.write(pa.table({"key": pa.array((x % 3).astype(np.int8)), "x": pa.array(x)}, schema=schema))
    writer.finish()
    for file in tmp_path.rglob("*.parquet"):
        footer = pq.read_metadata(file)
        sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        assert all(ROW_GROUP <= size <= 1 << 20 for size in sizes[:-1]), sizes


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["nope"], "no column 'nope'"),
        (["tailnum"], "would make up to 1,.* folders"),
        (["origin", "tailnum"], "would make up to"),
        (["origin", "origin"], "named twice"),
        (["distance"], "too many values"),
        (["dep_delay"], "is real"),
        (["air_time"], "is integer"),
        (["time_hour"], "is timestamp"),
        (["row"], "is identifier"),
        (["note"], "is text"),
    ],
)
def test_columns_that_make_no_sense_are_refused_in_a_line(
    model: Artifact, tmp_path: Path, columns: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        generate(model, config(partition_by=columns, output=str(tmp_path / "out")), Store(tmp_path))
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_columns_that_make_sense_are_taken(sampler: Sampler) -> None:
    check_partitions(sampler.codec, ["month", "origin", "carrier"])
