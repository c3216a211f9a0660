"""One artifact: an immutable folder that knows what it holds."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock

from vae_core.errors import ArtifactError
from vae_core.store import manifest as manifests
from vae_core.store.files import fsync_file, fsync_folder, hash_file, storage_errors, to_json, write_json
from vae_core.store.place import LocalPlace, Place, place_of


@dataclass
class Artifact:
    """A finished artifact. Equality of `digest` means equality of everything that produced it."""

    place: Place
    manifest: dict[str, Any]

    @classmethod
    def load(cls, where: Path | str | Place) -> Artifact:
        """Read the artifact at `where`; the files' sizes are checked, their content is not (see `check`).

        Raises:
            ArtifactError: no whole manifest is there, or a file is missing or of another size.
        """
        place = place_of(where) if isinstance(where, Path | str) else where
        artifact = cls(place, manifests.read(place))
        sizes = place.sizes()
        for name, entry in artifact.manifest["files"].items():
            if name not in sizes:
                raise ArtifactError(f"{place}: {name} is missing; delete the folder and make it again")
            if sizes[name] != entry["bytes"]:
                raise ArtifactError(
                    f"{place}: {name} was changed: {sizes[name]} bytes, its manifest says {entry['bytes']}"
                )
        return artifact

    @classmethod
    def finish(
        cls, place: Place, identity: tuple[str, str, str], fields: dict[str, Any], files: dict[str, Any]
    ) -> Artifact:
        """Complete a dataset that was written in place, by its manifest; one that is there already stands.

        Args:
            place: where it is.
            identity: kind, name, version.
            fields: the stage's own fields (inputs, config, digest, seed, rows, …).
            files: relative path → bytes and sha256.

        Raises:
            StorageError: the place can't be written.
        """
        with place.errors():
            manifest = manifests.complete(*identity, fields, files)
            if place.create(manifests.DATASET_MANIFEST, to_json(manifest)):
                return cls(place, manifest)
        return cls.load(place)

    @classmethod
    def unfinished(
        cls, place: Place, identity: tuple[str, str, str], fields: dict[str, Any], files: dict[str, Any]
    ) -> Artifact:
        """What is there of an artifact that others will finish; nothing is written. The arguments are `finish`'s."""
        return cls(place, manifests.complete(*identity, fields, files))

    @property
    def folder(self) -> Path:
        """The local folder.

        Raises:
            ArtifactError: it is in a bucket.
        """
        if not isinstance(self.place, LocalPlace):
            raise ArtifactError(f"{self.place}: copy it to a local folder first")
        return self.place.path

    @property
    def kind(self) -> str:
        """`snapshots`, `models` or `datasets`."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """The name that the user gave."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The folder's name: the first digits of the digest."""
        return str(self.manifest["version"])

    @property
    def digest(self) -> str:
        """sha256 of all that produced the artifact."""
        return str(self.manifest["digest"])

    def file(self, name: str) -> Path:
        """The path of one recorded file.

        Raises:
            ArtifactError: the artifact has no such file.
        """
        if name not in self.manifest["files"]:
            raise ArtifactError(f"{self.folder}: it has no {name}")
        return self.folder / name

    def verify(self) -> list[str]:
        """Recompute every sha256. Returns the faults (missing, changed or extra files), none for a sound artifact."""
        there = _content(self.place.sizes())
        recorded = self.manifest["files"]
        faults = [f"{name} is missing" for name in recorded if name not in there]
        faults += [f"{name} was changed" for name in recorded if name in there and not self._sound(name, there[name])]
        return faults + [f"{name} is not in the manifest" for name in there if name not in recorded]

    def check(self, *names: str) -> None:
        """Recompute the sha256 of the named files, all of them by default.

        Raises:
            ArtifactError: a file is missing or its content isn't what the manifest says.
        """
        for name in names or tuple(self.manifest["files"]):
            path = self.file(name)
            if not path.is_file():
                raise ArtifactError(f"{self.folder}: {name} is missing")
            if not self._sound(name, path.stat().st_size):
                raise ArtifactError(f"{self.folder}: {name} was changed on disk since it was made; make it again")

    def _sound(self, name: str, size: int) -> bool:
        entry = self.manifest["files"][name]
        return bool(size == entry["bytes"] and self.place.sha256(name) == entry["sha256"])

    @contextmanager
    def extend(self, stage: str, config: dict[str, Any], fields: dict[str, Any]) -> Iterator[Path]:
        """Add files to the artifact: write them into the folder that this yields; they appear together at the end.

        `fields` may be completed inside the block; they are recorded under `manifest["stages"][stage]` with `config`.
        A crash leaves the artifact sound: while files are exchanged, the manifest doesn't list the ones that change,
        nor the stage, which is then simply done again.

        Raises:
            StorageError: the folder can't be written.
        """
        with storage_errors(self.folder):
            staging = self.folder / f".staging-{uuid.uuid4().hex}"
            staging.mkdir()
            try:
                yield staging
                files = record_files(staging)
                with FileLock(self.folder / ".lock", is_singleton=True):
                    self._publish(stage, staging, files, config, fields)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def _publish(
        self, stage: str, staging: Path, files: dict[str, Any], config: dict[str, Any], fields: dict[str, Any]
    ) -> None:
        # Another stage may have extended the artifact meanwhile: its record is kept.
        current = manifests.read(self.place)
        if files.keys() & current["files"].keys():
            current["files"] = {name: entry for name, entry in current["files"].items() if name not in files}
            current["stages"].pop(stage, None)
            write_json(self.folder / manifests.MANIFEST, current)
        for name in files:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(target)
            fsync_folder(target.parent)
        current["files"] = dict(sorted((current["files"] | files).items()))
        done = {"config": config, "files": sorted(files), "created": datetime.now(UTC).isoformat()}
        current["stages"][stage] = manifests.redact(done | {"libraries": manifests.libraries()} | fields)
        write_json(self.folder / manifests.MANIFEST, current)
        self.manifest = current


def record_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file under `folder`, each fsynced with its folder."""
    sizes = _content(LocalPlace(folder).sizes())
    with ThreadPoolExecutor(4, "vaesynth-fsync") as threads:  # the disk's waiting overlaps with the hashing
        synced = threads.map(fsync_file, [folder / name for name in sizes])
        named = threads.map(fsync_folder, [Path(inner) for inner, _, _ in os.walk(folder)])
        files = {name: {"bytes": size, "sha256": hash_file(folder / name)} for name, size in sizes.items()}
        for _ in chain(synced, named):  # raises what a thread raised
            pass
    return files


def _content(sizes: dict[str, int]) -> dict[str, int]:
    """The files that make up an artifact: all but the manifest and what is hidden."""
    return {name: size for name, size in sizes.items() if not name.startswith(".") and name not in manifests.MANIFESTS}
