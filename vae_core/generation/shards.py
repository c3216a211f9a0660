"""The folder of a dataset: which shards it has, which of them are finished, and whose it is.

    part-00042.parquet             a finished shard: it gets this name only when it is whole and on the disk
    origin=JFK/part-00042.parquet  its rows of one partition, likewise, where there are partitions
    .part-00042.parquet.tmp-…      one being written
    .records/run.json              what the folder is for, written first
    .records/part-00042.json       rows, bytes, sha256 of a finished shard, written after it
    _manifest.json                 written last: the dataset is finished

Records and manifest have names that tools which read all files of a folder don't take for data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vae_core.errors import ArtifactError, ConfigError
from vae_core.generation.noise import BLOCK
from vae_core.store import MANIFESTS, Artifact, Place, to_json

_RECORDS = ".records/"
_RUN = _RECORDS + "run.json"
_LOCK = ".lock"


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

    @property
    def record(self) -> str:
        """Name of what is written down about it."""
        return f"{_RECORDS}part-{self.index:05d}.json"


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
        partition_by: columns whose values name folders.
    """

    digest: str
    model: str
    seed: int
    rows: int
    rows_per_shard: int
    compression: str
    partition_by: tuple[str, ...] = ()

    def shards(self) -> list[Shard]:
        """Cut the rows into shards; a dataset without rows has one, so that its columns can be read."""
        size = self.rows_per_shard
        starts = range(0, max(self.rows, 1), size)
        return [Shard(i, start, min(size, self.rows - start)) for i, start in enumerate(starts)]


def whole_blocks(rows: int) -> int:
    """Round `rows` up to whole noise blocks."""
    return -(-rows // BLOCK) * BLOCK


class Folder:
    """A dataset's folder or prefix: made of what can be sent to another process.

    Attributes:
        place: where it is.
        run: what it is made for.
    """

    def __init__(self, place: Place, run: Run) -> None:
        self.place = place
        self.run = run
        self._damaged = False

    @property
    def path(self) -> str:
        """Its path or address, for people."""
        return str(self.place)

    def lock(self, shards: Sequence[Shard]) -> AbstractContextManager[None]:
        """Create the folder and let another process that makes the same `shards` wait until this one is done.

        Processes with other shards work beside this one; where they overlap, both write the same bytes.
        """
        every = len(shards) == len(self.run.shards())
        return self.place.lock(_LOCK if every else f"{_LOCK}-{shards[0].index}-{shards[-1].index + 1}")

    def finished(self) -> Artifact | None:
        """The dataset, when this run has already been finished here and all files have their sizes.

        Raises:
            ArtifactError: the folder holds something else.
        """
        if not any(self.place.read(name) is not None for name in MANIFESTS):
            return None
        try:
            artifact = Artifact.load(self.place)
        except ArtifactError:
            if self._owner() == self.run.digest:
                self._damaged = True  # a shard is missing or cut off: it is made again
                return None
            raise
        if artifact.digest != self.run.digest:
            raise ArtifactError(
                f"{self.place}: holds a finished dataset of another model, seed or configuration; "
                "choose another folder, or one with {version} in its name"
            )
        self.place.sweep()
        return artifact

    def prepare(self, *, resume: bool) -> None:
        """Make the folder ready for this run's shards; what a killed run left half-written is removed.

        Raises:
            ArtifactError: the folder belongs to another run.
            ConfigError: it holds an unfinished dataset and `resume` is off, or files of something else.
        """
        self.place.sweep()
        # Listed before the owner is read: other runs may begin here now, and write nothing before their owner.
        there = [name for name in self.place.sizes() if not name.startswith(_LOCK) and not _begun(name)]
        owner = self._owner()
        if owner is None:
            if foreign := [name for name in there if not name.startswith(_RECORDS)]:
                raise ConfigError(
                    f"{self.place}: not empty, and not a dataset of vaesynth (it has {foreign[0]}); "
                    "choose another folder"
                )
            # Two runs may come here at the same time: the one that creates this file owns the folder.
            if not there and self.place.create(_RUN, to_json(vars(self.run))):
                return
            owner, resume = self._owner(), True
        if owner != self.run.digest:
            raise ArtifactError(
                f"{self.place}: holds an unfinished dataset of another model, seed or configuration; "
                "choose another folder, or delete this one"
            )
        if not resume:
            raise ConfigError(f"{self.place}: holds an unfinished dataset; go on with --resume, or delete the folder")
        if self._damaged:
            for name in MANIFESTS:
                self.place.remove(name)

    def prepared(self) -> bool:
        """Whether the folder, as this process sees it, is ready for this run's shards."""
        return self._owner() == self.run.digest

    def _owner(self) -> str | None:
        """Digest of the run that this folder was made for; None where that isn't written down."""
        data = _json(self.place, _RUN)
        return None if data is None else str(data.get("digest"))

    def keep(self, shards: Sequence[Shard]) -> list[Shard]:
        """The shards whose files are whole: right run, rows, size and sha256. Records of damaged ones are removed."""
        sound = []
        for shard, record in self._records(shards):
            if record is None:
                continue  # nothing is removed: another run may have written one by now
            if all(self.place.stands(n, e["bytes"], e["sha256"]) for n, e in record.items()):
                sound.append(shard)
            else:
                self.place.remove(shard.record)
        return sound

    def record(self, shard: Shard, files: dict[str, dict[str, Any]]) -> None:
        """Write down that a shard is finished; its files are there.

        Args:
            shard: which.
            files: name → bytes, sha256 and rows.
        """
        record = {
            "run": self.run.digest,
            "model": self.run.model,
            "seed": self.run.seed,
            "first_row": shard.first_row,
            "rows": shard.rows,
            "files": files,
        }
        self.place.write(shard.record, to_json(record))

    def _records(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, dict[str, dict[str, Any]] | None]]:
        """Each shard with the files that its record names; None where there is no record of this run."""
        with ThreadPoolExecutor(8) as pool:  # a request each, where the records are far away
            records = pool.map(partial(_json, self.place), [shard.record for shard in shards])
            for shard, record in zip(shards, records, strict=True):
                expected = {"run": self.run.digest, "first_row": shard.first_row, "rows": shard.rows}
                ours = record is not None and all(record.get(key) == value for key, value in expected.items())
                files = record.get("files") if record is not None and ours else None
                yield shard, files if isinstance(files, dict) else None

    def look(self, shards: Sequence[Shard]) -> tuple[dict[str, dict[str, Any]], list[Shard]]:
        """What is there of `shards`: the manifest's entries of their files, and those that aren't finished."""
        sizes, there, missing = self.place.sizes(), {}, []
        for shard, files in self._records(shards):
            if files is not None and all(sizes.get(name) == entry["bytes"] for name, entry in files.items()):
                there.update(files)
            else:
                missing.append(shard)
        return there, missing


def run_of(place: Place) -> Run | None:
    """What a place was made for; None where no run has begun there, or one of another version."""
    try:
        run = Run(**(_json(place, _RUN) or {}))
    except TypeError:
        return None
    return replace(run, partition_by=tuple(run.partition_by))


def ranges(shards: Sequence[Shard]) -> str:
    """Numbers of shards as `--shards` takes them: `40:60, 80:81`."""
    bounds: list[list[int]] = []
    for shard in shards:
        if bounds and bounds[-1][1] == shard.index:
            bounds[-1][1] += 1
        else:
            bounds.append([shard.index, shard.index + 1])
    return ", ".join(f"{start}:{stop}" for start, stop in bounds)


def _begun(name: str) -> bool:
    """Whether this is a file that is being written."""
    hidden = name.rpartition("/")[2]
    return hidden.startswith(".") and ".tmp-" in hidden


def _json(place: Place, name: str) -> dict[str, Any] | None:
    """A JSON object, or None where there is none."""
    try:
        data = json.loads(place.read(name) or b"")
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
