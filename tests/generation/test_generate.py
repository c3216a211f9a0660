import hashlib
import itertools
import threading
import time
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_core.config import GenerationConfig
from vae_core.errors import ArtifactError, ConfigError, StorageError
from vae_core.generation import BLOCK, Run, Sampler, generate
from vae_core.store import Artifact, Store

ROWS = 5 * BLOCK + 100
ROOT = Path(__file__).parents[2]


def config(**changes: object) -> GenerationConfig:
    settings = {"rows": ROWS, "seed": 7, "rows_per_shard": BLOCK, "device": "cpu"} | changes
    return GenerationConfig.model_validate(settings)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


def read(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet"))).combine_chunks()


@pytest.fixture(scope="session")
def whole(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return generate(model, config(workers=1), Store(tmp_path_factory.mktemp("whole")))


@given(st.integers(0, 10**10), st.integers(1, 10**8))
def test_shards_cover_every_row_once(rows: int, size: int) -> None:
    per_shard = -(-size // BLOCK) * BLOCK
    rows = min(rows, 2000 * per_shard)
    shards = Run("", "", 0, rows, per_shard, "zstd").shards()
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert shards[0].first_row == 0 and sum(shard.rows for shard in shards) == rows
    assert all(a.first_row + a.rows == b.first_row for a, b in itertools.pairwise(shards))
    assert all(shard.first_row % BLOCK == 0 and shard.rows == per_shard for shard in shards[:-1])


def test_a_dataset_is_what_it_says(whole: Artifact, model: Artifact, sampler: Sampler, flights: pa.Table) -> None:
    assert whole.kind == "datasets" and whole.name == "flights" and whole.verify() == []
    assert whole.manifest["rows"] == ROWS and whole.manifest["seed"] == 7
    assert whole.manifest["inputs"] == {"model": model.digest}
    assert sorted(contents(whole.folder)) == [f"part-{i:05d}.parquet" for i in range(6)]
    assert read(whole.folder).equals(sampler.sample(ROWS, 7), check_metadata=True)
    visible = {path.name for path in whole.folder.iterdir() if not path.name.startswith(".")}
    assert visible == set(contents(whole.folder)) | {"_manifest.json"}
    metadata = pq.read_metadata(whole.folder / "part-00002.parquet").metadata
    expected = {"synthetic": "true", "model": model.digest, "seed": "7", "shard": "2"}
    assert {key: metadata[f"vaesynth.{key}".encode()].decode() for key in expected} == expected


def test_an_output_may_be_named_after_the_dataset(model: Artifact, tmp_path: Path) -> None:
    where = str(tmp_path / "{name}" / "of-{version}")
    one, other = (
        generate(model, config(rows=BLOCK, seed=seed, output=where), Store(tmp_path / "store")) for seed in (1, 2)
    )
    assert one.folder == tmp_path / "flights" / f"of-{one.version}" != other.folder
    assert one.verify() == other.verify() == []
    with pytest.raises(ValueError, match=r"\{vesion\} is no placeholder; did you mean 'version'"):
        config(output="s3://bucket/{vesion}")


@pytest.mark.parametrize("size", [1, 2 * BLOCK + 1, 10**9])
def test_rows_do_not_depend_on_the_shards(model: Artifact, whole: Artifact, tmp_path: Path, size: int) -> None:
    other = generate(model, config(rows_per_shard=size, workers=2), Store(tmp_path))
    assert read(other.folder).equals(read(whole.folder))


def test_one_shard_of_several_row_groups_is_written_in_order(model: Artifact, sampler: Sampler, tmp_path: Path) -> None:
    rows = 16 * BLOCK + 5000
    settings = config(rows=rows, rows_per_shard=10**9, output=str(tmp_path / "out"))
    folder = generate(model, settings.model_copy(update={"workers": 3}), Store(tmp_path)).folder
    metadata = pq.read_metadata(folder / "part-00000.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [16 * BLOCK, 5000]
    assert read(folder).equals(sampler.sample(rows, 7))


def test_one_row_group_is_work_for_several_threads(
    model: Artifact, sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them at work at once: each waits for the others before it goes on."""
    together, encoded, waited = threading.Barrier(3, timeout=60), Sampler.encoded, threading.local()

    def waiting(self: Sampler, *arguments: int) -> pa.Table:
        if not hasattr(waited, "once"):
            waited.once = together.wait()
        return encoded(self, *arguments)

    monkeypatch.setattr(Sampler, "encoded", waiting)
    rows = 16 * BLOCK - 1000
    folder = generate(model, config(rows=rows, rows_per_shard=10**9, workers=3), Store(tmp_path)).folder
    monkeypatch.undo()
    assert pq.read_metadata(folder / "part-00000.parquet").num_row_groups == 1
    assert read(folder).equals(sampler.sample(rows, 7))


def test_fewer_rows_are_a_prefix(model: Artifact, whole: Artifact, tmp_path: Path) -> None:
    fewer = generate(model, config(rows=12_345), Store(tmp_path))
    assert read(fewer.folder).equals(read(whole.folder).slice(0, 12_345))


def test_no_rows_still_have_columns(model: Artifact, flights: pa.Table, tmp_path: Path) -> None:
    assert read(generate(model, config(rows=0), Store(tmp_path)).folder).equals(flights.schema.empty_table())


def test_readers_get_the_sources_types(whole: Artifact, flights: pa.Table) -> None:
    paths = sorted(whole.folder.glob("*.parquet"))
    assert pq.read_schema(paths[0]).equals(flights.schema, check_metadata=True)
    pq.read_table(paths[0], page_checksum_verification=True)
    frame = pd.read_parquet(paths[0])
    assert frame.dtypes.equals(flights.to_pandas().dtypes) and len(frame) == BLOCK
    glob = str(whole.folder / "*.parquet")
    tailnums = read(whole.folder)["tailnum"].to_pylist()
    counted = duckdb.sql(f"select count(*), count(tailnum) from '{glob}'").fetchall()
    assert counted == [(ROWS, sum(value is not None for value in tailnums))]
    assert pl.read_parquet(glob)["tailnum"].to_list() == tailnums
    column = pq.read_metadata(paths[0]).row_group(0).column(flights.schema.names.index("tailnum"))
    assert "RLE_DICTIONARY" in column.encodings and column.statistics.has_min_max and column.compression == "ZSTD"


def test_progress_ends_at_all_rows_and_a_second_run_is_immediate(model: Artifact, tmp_path: Path) -> None:
    told: list[float] = []

    def progress(done: float, total: float | None = None, note: str = "") -> None:
        assert total == ROWS
        told.append(done)

    first = generate(model, config(workers=2), Store(tmp_path), "mine", progress)
    assert told == sorted(told) and told[-1] == ROWS and first.name == "mine"
    began = time.monotonic()
    again = generate(model, config(), Store(tmp_path), "mine", progress)
    assert again.manifest == first.manifest and time.monotonic() - began < 2
    assert Store(tmp_path).open("datasets", "mine").digest == first.digest


def test_what_belongs_to_something_else_is_refused(model: Artifact, tmp_path: Path) -> None:
    store, output = Store(tmp_path), str(tmp_path / "out")
    folder = generate(model, config(rows=100, output=output), store).folder
    with pytest.raises(ArtifactError, match="finished dataset of another"):
        generate(model, config(rows=100, seed=8, output=output), store)
    (folder / "_manifest.json").unlink()
    with pytest.raises(ArtifactError, match="unfinished dataset of another"):
        generate(model, config(rows=100, seed=8, output=output), store)
    with pytest.raises(ConfigError, match="--resume"):
        generate(model, config(rows=100, output=output, resume=False), store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="not empty"):
        generate(model, config(rows=100, output=str(tmp_path / "mine")), store)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a folder"):
        generate(model, config(rows=100, output=str(tmp_path / "file")), store)


def test_a_changed_model_makes_no_folder(copy: Artifact, tmp_path: Path) -> None:
    (copy.folder / "decoder.onnx").write_bytes((copy.folder / "decoder.onnx").read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="was changed"):
        generate(copy, config(output=str(tmp_path / "out")), Store(tmp_path))
    assert not (tmp_path / "out").exists()


def test_an_interrupt_leaves_whole_shards_only(model: Artifact, tmp_path: Path) -> None:
    def progress(done: float, total: float | None = None, note: str = "") -> None:
        if done > 0:
            raise KeyboardInterrupt

    settings = config(output=str(tmp_path / "out"), workers=2)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        generate(model, settings, Store(tmp_path), progress=progress)
    assert not list((tmp_path / "out").glob(".part-*")) and not (tmp_path / "out" / "_manifest.json").exists()
    assert len(contents(tmp_path / "out")) > 0
    assert generate(model, settings, Store(tmp_path)).verify() == []


def test_a_file_that_pyarrow_is_still_writing_has_no_final_name(model: Artifact, tmp_path: Path) -> None:
    seen = []

    def progress(done: float, total: float | None = None, note: str = "") -> None:
        seen.append({path.name for path in (tmp_path / "out").glob("*.parquet")})
        for name in seen[-1]:
            pq.read_metadata(tmp_path / "out" / name)

    generate(model, config(output=str(tmp_path / "out"), workers=2), Store(tmp_path), progress=progress)
    assert len(seen) > 3
