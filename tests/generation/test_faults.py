"""What goes wrong around a generation: the disk, a worker, memory, files that somebody changed. Each is one line, and
what was finished stays.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from generation_runs import (
    SEED,
    arguments,
    assert_stopped_clean,
    ended,
    manifest,
    parts,
    paused,
    start,
    tree,
)

from vae_core.cli import call
from vae_core.config import GenerationConfig
from vae_core.errors import ArtifactError
from vae_core.generation import BLOCK, generate
from vae_core.store import Artifact, Store

SHARDS = 12
ROWS = (SHARDS - 1) * BLOCK + 100


@pytest.fixture(scope="module")
def whole(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run leaves."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    assert call(arguments(model, folder, ROWS)) == 0
    return folder


@pytest.fixture
def mountable() -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs Linux user namespaces, to mount a small disk without being root")


# Everything happens inside one namespace: the disk is gone when the shell ends, so what is on it is copied out.
SMALL_DISK = """
set -u
mount -t tmpfs -o size=500k tmpfs "$DISK" || exit 99
"$@" 2>"$OUT/told"; echo $? >"$OUT/code"
cp -a "$DISK/out" "$OUT/full"
mount -o remount,size=50m "$DISK" || exit 99
"$@" --resume 2>/dev/null; echo $? >"$OUT/code-resumed"
cp -a "$DISK/out" "$OUT/resumed"
"""
READ_ONLY = """
mount -t tmpfs tmpfs "$DISK" && mkdir "$DISK/out" && mount -o remount,ro "$DISK" || exit 99
"$@"
"""


def in_namespace(script: str, disk: Path, out: Path) -> list[str]:
    return ["unshare", "-Urm", "env", f"DISK={disk}", f"OUT={out}", "sh", "-c", script, "sh"]


@pytest.mark.usefixtures("mountable")
def test_on_a_full_disk_the_finished_files_stay_and_are_used_when_there_is_room(
    model: Artifact, whole: Path, tmp_path: Path
) -> None:
    (disk := tmp_path / "disk").mkdir()
    ended(start(arguments(model, disk / "out", ROWS), *in_namespace(SMALL_DISK, disk, tmp_path)))
    told = [line for line in (tmp_path / "told").read_text().splitlines() if line.startswith("error: ")]
    assert (tmp_path / "code").read_text().strip() == "2"
    assert len(told) == 1 and told[0].startswith(f"error: no space left to write {disk / 'out'}"), told
    assert "Traceback" not in (tmp_path / "told").read_text()
    assert 0 < assert_stopped_clean(tmp_path / "full", tree(whole)) < SHARDS
    assert (tmp_path / "code-resumed").read_text().strip() == "0"
    assert tree(tmp_path / "resumed") == tree(whole)
    kept = [part.stat().st_mtime_ns for part in parts(tmp_path / "full")]
    assert kept == [(tmp_path / "resumed" / part.name).stat().st_mtime_ns for part in parts(tmp_path / "full")]


@pytest.mark.usefixtures("mountable")
def test_a_read_only_disk_is_one_line(model: Artifact, tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    code, told = ended(start(arguments(model, disk / "out", ROWS), *in_namespace(READ_ONLY, disk, tmp_path)))
    assert code == 2 and told == f"error: can't write {disk / 'out'}: it is read-only; choose another folder"


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux, to limit a process that runs")
@pytest.mark.parametrize("limit", [0, 1, 50_000])
def test_a_file_that_may_not_grow_is_a_full_disk(model: Artifact, whole: Path, tmp_path: Path, limit: int) -> None:
    # Needs no mount. The limit comes when some files are finished, as a quota does.
    folder = tmp_path / "out"
    process = paused(arguments(model, folder, ROWS), folder, SHARDS)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    process.send_signal(signal.SIGCONT)
    code, told = ended(process)
    assert code == 2 and told.startswith(f"error: no space left to write {folder}") and len(told.splitlines()) == 1
    assert 2 <= assert_stopped_clean(folder, tree(whole)) < SHARDS
    assert call(arguments(model, folder, ROWS, "--resume")) == 0
    assert tree(folder) == tree(whole)


def test_a_worker_that_cannot_load_the_model_ends_the_run_and_keeps_what_is_finished(
    copy: Artifact, whole: Path, tmp_path: Path
) -> None:
    config = GenerationConfig.model_validate(
        {"rows": ROWS, "seed": SEED, "rows_per_shard": BLOCK, "device": "cpu", "output": str(tmp_path / "out")}
    )
    decoder, sound = copy.folder / "decoder.onnx", (copy.folder / "decoder.onnx").read_bytes()

    def stop(done: float, total: float | None = None, note: str = "") -> None:
        if done >= 3 * BLOCK:
            raise KeyboardInterrupt

    def corrupt(done: float, total: float | None = None, note: str = "") -> None:
        # Told first when the main thread has its decoder and the second worker hasn't.
        decoder.write_bytes(sound[:-1] + b"x")

    with pytest.raises(KeyboardInterrupt, match="--resume"):
        generate(copy, config.model_copy(update={"workers": 1}), Store(tmp_path), progress=stop)
    finished = assert_stopped_clean(tmp_path / "out", tree(whole))
    assert finished >= 3
    with pytest.raises(ArtifactError, match="was changed"):
        generate(copy, config.model_copy(update={"workers": 2}), Store(tmp_path), progress=corrupt)
    assert assert_stopped_clean(tmp_path / "out", tree(whole)) >= finished
    decoder.write_bytes(sound)
    generate(copy, config, Store(tmp_path))
    assert tree(tmp_path / "out") == tree(whole)


def truncate(folder: Path, other: Path) -> None:
    os.truncate(folder / "part-00003.parquet", 1000)


def flip(folder: Path, other: Path) -> None:
    data = bytearray((folder / "part-00001.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "part-00001.parquet").write_bytes(data)


def remove_part(folder: Path, other: Path) -> None:
    (folder / "part-00002.parquet").unlink()


def exchange(folder: Path, other: Path) -> None:
    shutil.copy(folder / "part-00000.parquet", folder / "part-00004.parquet")


def exchange_with_record(folder: Path, other: Path) -> None:
    exchange(folder, other)
    shutil.copy(folder / ".records/part-00000.json", folder / ".records/part-00004.json")


def foreign_run(folder: Path, other: Path) -> None:
    for name in ("part-00002.parquet", ".records/part-00002.json"):
        shutil.copy(other / name, folder / name)


def remove_record(folder: Path, other: Path) -> None:
    (folder / ".records/part-00002.json").unlink()


def foreign_record(folder: Path, other: Path) -> None:
    shutil.copy(other / ".records/part-00002.json", folder / ".records/part-00002.json")


def half_a_record(folder: Path, other: Path) -> None:
    os.truncate(folder / ".records/part-00002.json", 100)


def leftovers(folder: Path, other: Path) -> None:
    (folder / ".part-00000.parquet.tmp-0").write_bytes(b"half")
    (folder / ".records/.part-00000.json.tmp-0").write_bytes(b"{")


DATA: list[Callable[[Path, Path], None]] = [truncate, flip, remove_part, exchange, exchange_with_record, foreign_run]
RECORDS: list[Callable[[Path, Path], None]] = [remove_record, foreign_record, half_a_record, leftovers]


@pytest.fixture(scope="module")
def other(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the same model and another seed."""
    folder = tmp_path_factory.mktemp("other") / "out"
    assert call(arguments(model, folder, ROWS, "--seed", "8")) == 0
    return folder


@pytest.mark.parametrize("damage", [*DATA, *RECORDS])
def test_an_unfinished_dataset_is_repaired_by_resuming(
    model: Artifact, whole: Path, other: Path, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    folder = shutil.copytree(whole, tmp_path / "out")
    manifest(folder).unlink()
    kept = folder / "part-00005.parquet"
    written = kept.stat().st_mtime_ns
    damage(folder, other)
    assert call(["verify", str(folder)]) == 2
    assert call(arguments(model, folder, ROWS, "--resume")) == 0
    assert tree(folder) == tree(whole)
    assert kept.stat().st_mtime_ns == written, "a sound file was made again"


@pytest.mark.parametrize("damage", DATA)
def test_damage_to_a_finished_dataset_is_one_line_of_verify_and_made_good_as_it_says(
    model: Artifact,
    whole: Path,
    other: Path,
    tmp_path: Path,
    damage: Callable[[Path, Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(whole, tmp_path / "out")
    damage(folder, other)
    before, after = tree(whole), tree(folder)
    changed = next(name for name in sorted(before) if name.endswith(".parquet") and before[name] != after.get(name))
    capsys.readouterr()
    assert call(["verify", str(folder)]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and told.startswith(f"error: {folder}: ") and changed in told
    (folder / changed).unlink(missing_ok=True)
    assert call(arguments(model, folder, ROWS, "--resume")) == 0
    assert call(["verify", str(folder)]) == 0
    assert tree(folder) == tree(whole)


@pytest.mark.parametrize("damage", RECORDS)
def test_a_finished_dataset_needs_its_records_no_more(
    whole: Path, other: Path, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    folder = shutil.copytree(whole, tmp_path / "out")
    damage(folder, other)
    assert call(["verify", str(folder)]) == 0


@pytest.mark.parametrize("name", ["part-00099.parquet", "part-00099.parquet.bak", "letter.txt"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_foreign_file_is_named_by_verify(
    model: Artifact, whole: Path, tmp_path: Path, name: str, finished: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(whole, tmp_path / "out")
    (folder / name).write_text("dear")
    if not finished:
        manifest(folder).unlink()
        assert call(arguments(model, folder, ROWS, "--resume")) == 0
    capsys.readouterr()
    assert call(["verify", str(folder)]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and f"{name} is not in the manifest" in told
    assert (folder / name).read_text() == "dear"


def test_a_folder_of_another_run_is_refused_and_stays_as_it_is(
    model: Artifact, whole: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for finished in (True, False):
        folder = shutil.copytree(other, tmp_path / f"out-{finished}")
        if not finished:
            manifest(folder).unlink()
        before = tree(folder)
        capsys.readouterr()
        assert call(arguments(model, folder, ROWS, "--resume")) == 2
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 1 and "of another model, seed or configuration" in told
        assert tree(folder) == before
