import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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


@pytest.mark.parametrize("change", [{"workers": 2}, {"workers": 3, "batch_size": 1000}, {"batch_size": 64}])
def test_bytes_depend_on_neither_workers_nor_batch(
    model: Artifact, whole: Artifact, tmp_path: Path, change: dict[str, int]
) -> None:
    other = generate(model, config(**change), Store(tmp_path))
    assert contents(other.folder) == contents(whole.folder)
    assert (other.digest, other.manifest["files"]) == (whole.digest, whole.manifest["files"])


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


def truncate(folder: Path) -> None:
    with (folder / "part-00003.parquet").open("r+b") as file:
        file.truncate(1000)


def flip(folder: Path) -> None:
    data = bytearray((folder / "part-00001.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "part-00001.parquet").write_bytes(data)


DAMAGE: list[Callable[[Path], object]] = [
    truncate,
    flip,
    lambda folder: (folder / ".records" / "part-00002.json").unlink(),
    lambda folder: (folder / ".records" / "part-00002.json").write_text("{"),
    lambda folder: (folder / "part-00000.parquet").unlink(),
    lambda folder: (folder / ".part-00000.parquet.tmp-0").write_bytes(b"half"),
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("finished", [False, True])
def test_damage_is_made_good(
    model: Artifact, whole: Artifact, tmp_path: Path, damage: Callable[[Path], object], finished: bool
) -> None:
    folder = generate(model, config(), Store(tmp_path)).folder
    kept = folder / "part-00004.parquet"
    before = kept.stat().st_mtime_ns
    damage(folder)
    changed = damage is flip and finished
    if not finished:
        (folder / "_manifest.json").unlink()
    if changed:  # sizes are right, so only the sha256 tells
        assert Artifact.load(folder).verify() == ["part-00001.parquet was changed"]
        return
    again = generate(model, config(), Store(tmp_path))
    assert contents(again.folder) == contents(whole.folder) and again.verify() == []
    assert kept.stat().st_mtime_ns == before
    if not finished:
        assert not list(folder.glob(".part-*"))


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


SCRIPT = """
import sys, json
from pathlib import Path
from vae_core.config import GenerationConfig
from vae_core.errors import VaesynthError
from vae_core.generation import generate
from vae_core.store import Artifact, Store
try:
    generate(Artifact.load(Path(sys.argv[1])), GenerationConfig.model_validate(json.loads(sys.argv[2])), Store("store"),
             progress=lambda done, total=None, note="": print(done, flush=True))
except VaesynthError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def start(model: Artifact, settings: GenerationConfig, *wrap: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*wrap, sys.executable, "-c", SCRIPT, str(model.folder), settings.model_dump_json()]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd
    )


def until_rows(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    while not process.stdout.readline().startswith(tuple("123456789")):
        assert process.poll() is None, process.stderr and process.stderr.read()


def test_killed_anywhere_and_resumed_it_ends_with_the_same_bytes(
    model: Artifact, whole: Artifact, tmp_path: Path
) -> None:
    settings, delays = config(output=str(tmp_path / "out"), workers=2), random.Random(0)
    for _ in range(3):
        process = start(model, settings)
        until_rows(process)
        time.sleep(delays.uniform(0, 0.05))
        process.kill()
        process.communicate()
        for path in (tmp_path / "out").glob("*.parquet"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == contents(whole.folder)[path.name]
        if (tmp_path / "out" / "_manifest.json").exists():
            break
    assert contents(generate(model, settings, Store(tmp_path)).folder) == contents(whole.folder)


def test_sigterm_finishes_what_it_began_and_says_how_to_go_on(model: Artifact, tmp_path: Path) -> None:
    settings = config(rows=200 * BLOCK, output=str(tmp_path / "out"), workers=2)
    process = start(model, settings)
    until_rows(process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "--resume" in output
    records = [json.loads(p.read_text()) for p in (tmp_path / "out" / ".records").glob("part-*.json")]
    parts = contents(tmp_path / "out")
    assert 0 < len(records) == len(parts) < 200 and {f["sha256"] for r in records for f in r["files"].values()} == set(
        parts.values()
    )
    assert not (tmp_path / "out" / "_manifest.json").exists() and not list((tmp_path / "out").glob(".part-*"))


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


def test_two_processes_on_one_folder_write_it_once(model: Artifact, whole: Artifact, tmp_path: Path) -> None:
    settings = config(output=str(tmp_path / "out"), workers=1)
    processes = [start(model, settings) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=120)
    assert [process.returncode for process in processes] == [0, 0]
    assert contents(tmp_path / "out") == contents(whole.folder) and Artifact.load(tmp_path / "out").verify() == []


@pytest.mark.parametrize(("options", "message"), [("size=300k", "no space left"), ("ro", "read-only")])
def test_a_full_or_read_only_disk_gives_one_line_and_nothing_half_written(
    model: Artifact, options: str, message: str
) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs Linux user namespaces to mount a small disk")
    mount = f'd=$(mktemp -d) && mount -t tmpfs -o {options} tmpfs "$d" && cd "$d" && "$@"; code=$?; '
    mount += 'find "$d" -name "*.tmp-*" -o -name _manifest.json | sed s/^/LEFT:/; exit $code'
    process = start(model, config(output="out", workers=2), "unshare", "-Urm", "sh", "-c", mount, "sh")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and message in output and "LEFT:" not in output, output + errors
    assert errors == ""


def test_a_file_that_pyarrow_is_still_writing_has_no_final_name(model: Artifact, tmp_path: Path) -> None:
    seen = []

    def progress(done: float, total: float | None = None, note: str = "") -> None:
        seen.append({path.name for path in (tmp_path / "out").glob("*.parquet")})
        for name in seen[-1]:
            pq.read_metadata(tmp_path / "out" / name)

    generate(model, config(output=str(tmp_path / "out"), workers=2), Store(tmp_path), progress=progress)
    assert len(seen) > 3
