"""The folder of a dataset: which shards it has, which of them are finished, and whose it is.

    part-00042.parquet             a finished shard: it gets this name only when it is whole and on the disk
    .part-00042.parquet.tmp-…      one being written
    .records/run.json              what the folder is for, written first
    .records/part-00042.json       rows, bytes, sha256 of a finished shard, written after it
    manifest.json                  written last: the dataset is finished

The records are hidden, so that tools that read all files of a folder don't take them for data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vae_core.errors import ArtifactError, BusyError, ConfigError
from vae_core.generation.noise import BLOCK
from vae_core.store import Artifact, hash_file, write_json

_RUN = "run.json"


@dataclass(frozen=True)
class Shard:
    """Rows `first_row` … `first_row + rows - 1` of a dataset, which are one file."""

    index: int
    first_row: int
    rows: int

    @property
    def file(self) -> str:
        """Its name in the dataset's folder."""
        return f"part-{self.index:05d}.parquet"


@dataclass(frozen=True)
class Run:
    """What decides every byte of a dataset, library versions aside.

    Attributes:
        digest: of all the rest, and of the code's version.
        model: digest of the model.
        seed: of the noise.
        rows: of the whole dataset.
        rows_per_shard: a multiple of BLOCK.
        compression: of the Parquet pages.
    """

    digest: str
    model: str
    seed: int
    rows: int
    rows_per_shard: int
    compression: str

    def shards(self) -> list[Shard]:
        """Cut the rows into shards; a dataset without rows has one, so that its columns can be read."""
        size = self.rows_per_shard
        starts = range(0, max(self.rows, 1), size)
        return [Shard(i, start, min(size, self.rows - start)) for i, start in enumerate(starts)]


def whole_blocks(rows: int) -> int:
    """Round `rows` up to whole noise blocks."""
    return -(-rows // BLOCK) * BLOCK


class Folder:
    """A dataset's folder on a local disk."""

    def __init__(self, path: Path, run: Run) -> None:
        self.path = path
        self.run = run
        self._records = path / ".records"

    @contextmanager
    def lock(self, timeout: float = 24 * 3600.0) -> Iterator[None]:
        """Create the folder and keep other runs out of it; says so on stderr when it has to wait.

        Raises:
            BusyError: another run still held it after `timeout` seconds.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", is_singleton=True)
        try:
            lock.acquire(timeout=min(1.0, timeout))
        except Timeout:
            sys.stderr.write(f"waiting for another run that writes {self.path} …\n")
            try:
                lock.acquire(timeout=timeout - 1.0)
            except Timeout:
                raise BusyError(f"another run is writing {self.path}; try again when it is done") from None
        try:
            yield
        finally:
            lock.release()

    def finished(self) -> Artifact | None:
        """The dataset, when this run has already been finished here and all files have their sizes.

        Raises:
            ArtifactError: the folder holds something else.
        """
        if not (self.path / "manifest.json").exists():
            return None
        try:
            artifact = Artifact.load(self.path)
        except ArtifactError:
            if self._owner() == self.run.digest:
                return None  # a shard is missing or cut off: it is made again
            raise
        if artifact.digest != self.run.digest:
            raise ArtifactError(
                f"{self.path}: holds a finished dataset of another model, seed or configuration; choose another folder"
            )
        return artifact

    def prepare(self, *, resume: bool) -> None:
        """Make the folder ready for this run's shards; what a killed run left half-written is removed.

        Raises:
            ArtifactError: the folder belongs to another run.
            ConfigError: it holds an unfinished dataset and `resume` is off, or files of something else.
        """
        there = [path.name for path in self.path.iterdir() if path.name not in (".lock", self._records.name)]
        owner = self._owner()
        if owner is None and there:
            raise ConfigError(
                f"{self.path}: not empty, and not a dataset of vaesynth (it has {there[0]}); choose another folder"
            )
        if owner is not None and owner != self.run.digest:
            raise ArtifactError(
                f"{self.path}: holds an unfinished dataset of another model, seed or configuration; "
                "choose another folder, or delete this one"
            )
        if owner is not None and not resume:
            raise ConfigError(f"{self.path}: holds an unfinished dataset; go on with --resume, or delete the folder")
        for pattern in (".part-*.tmp-*", ".manifest.json.tmp-*", f"{self._records.name}/.*.tmp-*"):
            for leftover in self.path.glob(pattern):
                leftover.unlink()
        (self.path / "manifest.json").unlink(missing_ok=True)
        self._records.mkdir(exist_ok=True)
        write_json(self._records / _RUN, vars(self.run))

    def prepared(self) -> bool:
        """Whether the folder, as this process sees it, is ready for this run's shards."""
        return self._owner() == self.run.digest

    def sweep(self, shards: Sequence[Shard]) -> None:
        """Remove what killed writers left of `shards`."""
        for shard in shards:
            for leftover in self.path.glob(f".{shard.file}.tmp-*"):
                leftover.unlink(missing_ok=True)

    def _owner(self) -> str | None:
        """Digest of the run that this folder was made for; None when it wasn't made by a run at all."""
        data = _read(self._records / _RUN)
        if data is None:  # nothing but a beginning of `run.json`: a run was killed at its first step
            begun = self._records.is_dir() and {path.name.partition(".tmp-")[0] for path in self._records.iterdir()}
            return "unreadable" if begun and begun != {f".{_RUN}"} else None
        return str(data.get("digest"))

    def keep(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards whose files are whole: right run, rows, size and sha256. Records of the others are removed."""
        sound = []
        for shard in shards:
            record = _read(self._record(shard))
            if record is not None and self._sound(shard, record):
                sound.append(shard)
            else:
                self._record(shard).unlink(missing_ok=True)
        return sound

    def _sound(self, shard: Shard, record: dict[str, Any]) -> bool:
        path = self.path / shard.file
        expected = {"run": self.run.digest, "first_row": shard.first_row, "rows": shard.rows}
        if any(record.get(key) != value for key, value in expected.items()):
            return False
        return path.is_file() and path.stat().st_size == record.get("bytes") and hash_file(path) == record.get("sha256")

    def record(self, shard: Shard, size: int, sha256: str) -> None:
        """Write down that a shard is finished; its file is on the disk."""
        record = {
            "run": self.run.digest,
            "model": self.run.model,
            "seed": self.run.seed,
            "first_row": shard.first_row,
            "rows": shard.rows,
            "bytes": size,
            "sha256": sha256,
        }
        write_json(self._record(shard), record)

    def _record(self, shard: Shard) -> Path:
        return self._records / f"{Path(shard.file).stem}.json"

    def files(self, shards: Sequence[Shard]) -> dict[str, dict[str, Any]]:
        """The manifest's entries of the shards that are finished."""
        records = {shard.file: _read(self._record(shard)) for shard in shards}
        return {
            file: {key: record[key] for key in ("bytes", "sha256", "rows")}
            for file, record in records.items()
            if record is not None
        }


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
