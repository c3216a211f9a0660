"""The store: where artifacts stand, how they are found, and how they come to be."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vae_core.config import nearest, valid_name
from vae_core.errors import ArtifactError, BusyError, StorageError
from vae_core.store import manifest as manifests
from vae_core.store.artifact import Artifact, record_files
from vae_core.store.files import fsync_folder, storage_errors, write_json

KINDS = ("snapshots", "models", "datasets")
_OWNER = ".owner"
_Artifacts = list[Artifact]  # inside the class, `list` is the method
_Names = list[str]


class Store:
    """Artifacts under one root folder. Nothing is created before the first write."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, kind: str, name: str, version: str) -> Path:
        """The folder of an artifact, whether it stands or not."""
        return self._home(kind, name) / valid_name(version)

    def _home(self, kind: str, name: str) -> Path:
        if kind not in KINDS:
            raise ArtifactError(f"unknown kind of artifact {kind!r}; {nearest(kind, list(KINDS))}")
        return self.root / kind / valid_name(name)

    # Reading

    def find(self, kind: str, name: str, version: str) -> Artifact | None:
        """The artifact when it is complete (its manifest is there, its files have the recorded sizes), else `None`."""
        try:
            return Artifact.load(self.path(kind, name, version))
        except ArtifactError:
            return None

    def list(self, kind: str) -> _Artifacts:
        """All complete artifacts of a kind, by name, oldest first."""
        return [artifact for name in self._names(kind) for artifact in self._versions(kind, name)]

    def open(self, kind: str, reference: str | Path) -> Artifact:
        """The artifact that `reference` means.

        `name` is the newest one, or the champion of the models where one was named; `name@version` takes a prefix of
        the version that is unique, or an alias; anything with a separator, starting with a dot, or naming a folder
        with a manifest is a path.

        Raises:
            ArtifactError: there is no such artifact, it is of another kind, or the prefix is ambiguous.
        """
        text = str(reference)
        finished = any((Path(text) / name).is_file() for name in manifests.MANIFESTS)
        if os.sep in text or "/" in text or text.startswith(".") or finished:
            artifact = Artifact.load(text)
            if artifact.kind != kind:
                raise ArtifactError(f"{text}: holds {artifact.kind}, not {kind}")
            return artifact
        name, at, version = text.partition("@")
        found = self._versions(kind, valid_name(name))
        if not found:
            names = self._names(kind)
            hint = nearest(name, names) if names else f"the store {self.root} has no {kind}"
            raise ArtifactError(f"no {kind} named {name!r}; {hint}")
        aliases = self.alias(name) if kind == "models" else {}
        version = aliases.get(version, version) if at else aliases.get("champion", "")
        matching = [artifact for artifact in found if artifact.version.startswith(version)]
        if not matching:
            versions = [artifact.version for artifact in found]
            raise ArtifactError(f"no version {version!r} in {kind} of {name!r}; {nearest(version, versions)}")
        if at and len(matching) > 1:
            versions = [artifact.version for artifact in matching]
            raise ArtifactError(f"version {version!r} of {name!r} is ambiguous: " + ", ".join(versions))
        return matching[-1]

    def _names(self, kind: str) -> _Names:
        """Names that have a complete artifact."""
        try:
            names = sorted(path.name for path in (self.root / kind).iterdir() if not path.name.startswith("."))
        except OSError:
            return []
        return [name for name in names if self._versions(kind, name)]

    def _versions(self, kind: str, name: str) -> _Artifacts:
        """Complete artifacts of a name, oldest first."""
        try:
            folders = [path for path in (self.root / kind / name).iterdir() if not path.name.startswith(".")]
        except OSError:
            return []
        found = [self.find(kind, name, folder.name) for folder in folders if folder.is_dir()]
        return sorted(
            (artifact for artifact in found if artifact is not None),
            key=lambda artifact: (str(artifact.manifest.get("created")), artifact.version),
        )

    # Writing

    @contextmanager
    def stage(self, kind: str, name: str, version: str, manifest: dict[str, Any]) -> Iterator[Path]:
        """Write a new artifact: put its files into the folder that this yields; it appears whole at the end.

        `manifest` gives the stage's own fields (inputs, config, digest, seed, rows, …) and may be completed inside the
        block. On an error nothing is left. When another process finished the same version first, its result stands.

        Raises:
            StorageError: the store can't be written: read-only, full, not a folder.
        """
        target = self.path(kind, name, version)
        with storage_errors(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target.parent)
            staging = target.parent / f".staging-{uuid.uuid4().hex}"
            staging.mkdir()
            owner = FileLock(staging / _OWNER)
            try:
                owner.acquire()
                yield staging
                files = record_files(staging)
                write_json(staging / manifests.MANIFEST, manifests.complete(kind, name, version, manifest, files))
                owner.release()
                (staging / _OWNER).unlink(missing_ok=True)
                self._publish(staging, target)
            finally:
                owner.release()
                shutil.rmtree(staging, ignore_errors=True)

    def _publish(self, staging: Path, target: Path) -> None:
        """Rename `staging` to `target`, unless a complete artifact stands there; a damaged one makes way."""
        for _ in range(3):
            try:
                staging.rename(target)
            except OSError:
                if self.find(target.parent.parent.name, target.parent.name, target.name):
                    return
                if not target.exists():
                    raise
                target.rename(target.parent / f".staging-{uuid.uuid4().hex}")
                continue
            fsync_folder(target.parent)
            return
        raise StorageError(f"can't write {target}: another run keeps writing it")

    @contextmanager
    def lock(self, kind: str, name: str, timeout: float = 3600.0) -> Iterator[None]:
        """Hold the right to write artifacts of one name; says so on stderr when it has to wait.

        The same thread may take it again inside the block. The operating system frees it when a process dies.

        Raises:
            BusyError: another run still held it after `timeout` seconds.
            StorageError: the store can't be written.
        """
        home = self._home(kind, name)
        with storage_errors(self.root):
            home.mkdir(parents=True, exist_ok=True)
            lock = FileLock(home / ".lock", is_singleton=True)
            try:
                lock.acquire(timeout=min(1.0, timeout))
            except Timeout:
                sys.stderr.write(f"waiting for another run that writes {kind}/{name} …\n")
                try:
                    lock.acquire(timeout=max(0.0, timeout - 1.0))
                except Timeout:
                    raise BusyError(
                        f"another run is writing {kind}/{name} (waited {timeout:.0f} s); try again when it is done"
                    ) from None
        try:
            with storage_errors(self.root):
                _sweep(home)
            yield
        finally:
            lock.release()

    def remove(self, artifact: Artifact) -> None:
        """Remove an artifact of this store: it is gone at once, and its files soon, even if this process is killed.

        Raises:
            StorageError: the store can't be written.
        """
        target = self.path(artifact.kind, artifact.name, artifact.version)
        with storage_errors(self.root):
            going = target.parent / f".staging-{uuid.uuid4().hex}"
            try:
                target.rename(going)
            except FileNotFoundError:  # another process removed it
                return
            fsync_folder(target.parent)
            shutil.rmtree(going, ignore_errors=True)  # what stays is swept later

    # Aliases

    def alias(self, name: str) -> dict[str, str]:
        """The aliases of a model, `{alias: version}`.

        Raises:
            ArtifactError: `aliases.json` isn't what `set_alias` writes.
        """
        path = self._home("models", name) / "aliases.json"
        try:
            aliases = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except ValueError:
            aliases = None
        if not isinstance(aliases, dict) or not all(isinstance(version, str) for version in aliases.values()):
            raise ArtifactError(f"{path}: not a JSON object of versions; delete it and name the champion again")
        return aliases

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let `alias` (such as `champion`) mean `version` of the model `name` from now on.

        Raises:
            ArtifactError: there is no such version.
        """
        if self.find("models", name, version) is None:
            raise ArtifactError(f"no version {version!r} in models of {name!r}")
        path = self._home("models", name) / "aliases.json"
        with storage_errors(self.root), FileLock(path.with_name(".aliases.lock"), is_singleton=True):
            write_json(path, self.alias(name) | {valid_name(alias): version})


def _sweep(home: Path) -> None:
    """Remove what killed runs left in `home`.

    A living stage holds the lock file in its staging folder, and the operating system frees that lock when the process
    dies; a folder without one is between two steps of its life unless it is old.
    """
    for staging in home.glob(".staging-*"):
        owner = staging / _OWNER
        try:
            if not owner.exists():
                if time.time() - staging.stat().st_mtime > 3600:
                    shutil.rmtree(staging, ignore_errors=True)
                continue
            with FileLock(owner, timeout=0):
                shutil.rmtree(staging, ignore_errors=True)
        except (Timeout, OSError):
            continue
