"""Files that others like: their size, row groups, encodings, statistics, checksums, and who reads them."""

from __future__ import annotations

import os
import struct
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

from vae_core.config import GenerationConfig
from vae_core.generation import BLOCK, Sampler, generate
from vae_core.generation.parquet import ROW_GROUP, ParquetFile
from vae_core.generation.plan import rows_per_shard
from vae_core.generation.shards import Run
from vae_core.store import Artifact, Store

ROWS = ROW_GROUP + 5000


@pytest.fixture(scope="module")
def written(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    config = GenerationConfig(rows=ROWS, seed=7, device="cpu", workers=2, rows_per_shard=ROW_GROUP)
    return generate(model, config, Store(tmp_path_factory.mktemp("written")))


def test_what_is_in_the_files(written: Artifact, model: Artifact, flights: pa.Table) -> None:
    footer = pq.read_metadata(written.folder / "part-00000.parquet")
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [ROW_GROUP]
    assert 128 << 10 <= ROW_GROUP <= 1 << 20
    text = {"carrier", "tailnum", "origin"}
    for i, name in enumerate(flights.schema.names):
        column = footer.row_group(0).column(i)
        assert column.compression == "ZSTD" and column.statistics.null_count is not None
        assert column.statistics.has_min_max or name == "note"
        if name in text:
            assert set(column.encodings) <= {"PLAIN", "RLE", "RLE_DICTIONARY"} and "RLE_DICTIONARY" in column.encodings
        else:  # integers are packed; times, floats and what is written as it comes are not
            packed = name in {"month", "air_time", "distance"}
            assert set(column.encodings) == {"DELTA_BINARY_PACKED" if packed else "PLAIN", "RLE"}
    said = {key.decode(): value.decode() for key, value in footer.metadata.items() if key.startswith(b"vaesynth")}
    assert said == {
        "vaesynth.synthetic": "true",
        "vaesynth.model": model.digest,
        "vaesynth.seed": "7",
        "vaesynth.shard": "0",
        "vaesynth.first_row": "0",
    }


def test_a_flipped_byte_in_a_page_is_found_by_its_checksum(written: Artifact, tmp_path: Path) -> None:
    data = bytearray((written.folder / "part-00000.parquet").read_bytes())
    column = pq.read_metadata(written.folder / "part-00000.parquet").row_group(0).column(6)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    (tmp_path / "part.parquet").write_bytes(data)
    with pytest.raises(OSError, match=r"checksum|CRC"):
        pq.read_table(tmp_path / "part.parquet", page_checksum_verification=True)


def test_the_folder_that_is_printed_can_be_read(written: Artifact, sampler: Sampler) -> None:
    folder, expected = written.folder, sampler.sample(ROWS, 7)
    assert {path.name for path in folder.iterdir()} > {".records", "_manifest.json", "part-00000.parquet"}
    pd.testing.assert_frame_equal(pd.read_parquet(folder), expected.to_pandas())
    assert pq.read_table(folder).equals(expected)
    assert ds.dataset(folder).to_table().equals(expected)
    assert duckdb.sql(f"select count(*), sum(distance) from read_parquet('{folder}')").fetchall() == [
        (ROWS, sum(expected["distance"].to_pylist()))
    ]
    assert duckdb.sql(f"select count(*) from '{folder}/*.parquet'").fetchall() == [(ROWS,)]
    assert pl.read_parquet(f"{folder}/*.parquet")["tailnum"].to_list() == expected["tailnum"].to_pylist()


NUMBERS = {
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "date32": pa.date32(),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_packed_numbers_are_read_by_all(name: str, tmp_path: Path) -> None:
    """Also the extremes of a type, whose differences overflow it; nulls; and a page of one value."""
    type_ = NUMBERS[name]
    bits = 16 if "date" in name else type_.bit_width  # dates that every reader knows
    low, high = (0, 2**bits - 1) if name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    drawn = np.random.default_rng(0).integers(low, high, 5000, np.dtype(f"{'u' if low == 0 else 'i'}{bits // 8}"))
    plain = pa.array([low, high, None, low, high, high, *drawn.tolist()], pa.int32() if "date" in name else type_)
    values = plain.cast(type_)
    path, run = tmp_path / "numbers.parquet", Run("", "", 0, len(values), len(values), "zstd")
    groups = [values.slice(0, 1), values.slice(1)]
    with path.open("wb") as sink:
        file = ParquetFile(sink, run, run.shards()[0], pa.schema({"n": type_}))
        for group in groups:
            file.write(pa.table({"n": group}))
        file.finish()
    footer = pq.read_metadata(path)
    for group, chunk in enumerate(groups):
        column = footer.row_group(group).column(0)
        assert set(column.encodings) == {"DELTA_BINARY_PACKED", "RLE"}
        known = chunk.drop_null()
        assert (column.statistics.min, column.statistics.max) == (pc.min(known).as_py(), pc.max(known).as_py())
    expected = values.to_pylist()
    assert pq.read_table(path)["n"].combine_chunks().equals(values)
    assert pd.read_parquet(path, dtype_backend="pyarrow")["n"].tolist()[3:] == expected[3:]
    assert [value for (value,) in duckdb.sql(f"select n from '{path}'").fetchall()] == expected
    assert pl.read_parquet(path)["n"].cast(pl.Date if "date" in name else pl.Int128).to_list() == expected


def test_hugging_face_reads_the_folder(written: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(written.folder), split="train", cache_dir=str(tmp_path))
    assert loaded.num_rows == ROWS and loaded["origin"][:3] == pq.read_table(written.folder)["origin"][:3].to_pylist()


def test_a_shard_is_a_file_of_about_256_megabytes(sampler: Sampler, model: Artifact) -> None:
    config = GenerationConfig(rows=10**9)
    size = rows_per_shard(sampler, config)
    assert size % ROW_GROUP == 0 and size == rows_per_shard(Sampler(model, batch_size=500), config)
    assert size == rows_per_shard(sampler, config.model_copy(update={"seed": 3, "rows": 2 * 10**9}))
    assert rows_per_shard(sampler, GenerationConfig(rows=1000)) % BLOCK == 0  # not measured: one file anyway


def test_the_measure_tells_the_size_of_the_file(sampler: Sampler, model: Artifact, tmp_path: Path) -> None:
    """What a row takes in one row group is what it takes in many, so a shard of the default size has 100 to 500 MB."""
    size = rows_per_shard(sampler, GenerationConfig(rows=10**9))
    config = GenerationConfig(rows=4 * ROW_GROUP, device="cpu", workers=2, seed=5)
    file = generate(model, config, Store(tmp_path)).folder / "part-00000.parquet"
    assert 100e6 < file.stat().st_size / (4 * ROW_GROUP) * size < 500e6
    with file.open("rb") as handle:
        handle.seek(-8, os.SEEK_END)
        length, magic = struct.unpack("<I4s", handle.read())
    assert magic == b"PAR1" and length < 100_000
