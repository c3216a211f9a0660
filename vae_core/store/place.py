"""Where the files of an artifact are: a local folder, or a prefix of an S3 bucket."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from filelock import FileLock, Timeout

from vae_core.config import checked_output
from vae_core.errors import BusyError, ConfigError
from vae_core.store.files import Draft, hash_file, local_draft, storage_errors, sweep


class Place(Protocol):
    """A folder of files that are whole or absent. It can be pickled; names are relative, with `/`."""

    def __str__(self) -> str:
        """Its path or address, as a user would give it."""

    def exists(self) -> bool:
        """Whether there is such a place."""

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, hidden ones too."""

    def read(self, name: str) -> bytes | None:
        """Content of a small file; `None` where there is none."""

    def open(self, name: str) -> Any:
        """A file to read from anywhere in it: what pyarrow.parquet takes."""

    def sha256(self, name: str) -> str:
        """Of a file's content, hexadecimal."""

    def stands(self, name: str, size: int, sha256: str) -> bool:
        """Whether a file that was recorded with this size and digest can be kept."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file, unless one of that name is there: then nothing changes, and this is false."""

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a small file."""

    def draft(self, name: str) -> Draft:
        """Begin a file of any size, which appears when it is whole."""

    def scratch(self) -> BinaryIO:
        """A nameless file of this machine, for what is on its way here; it vanishes with the process."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def sweep(self) -> None:
        """Remove what killed processes were writing."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Make the place, and do not let two processes of a machine do the same work at the same time."""

    def errors(self) -> AbstractContextManager[None]:
        """Tell errors of the storage in one line."""


def place_of(where: str | Path) -> Place:
    """The place that a path or an address means.

    Raises:
        ConfigError: an address that isn't `s3://bucket/prefix`.
    """
    if isinstance(where, str) and "://" in where:
        try:
            bucket, prefix = checked_output(where)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        from vae_core.store.s3 import S3Place

        return S3Place(bucket, prefix)
    return LocalPlace(Path(where).expanduser())


@dataclass(frozen=True)
class LocalPlace:
    """A folder of this machine, or one that it mounts.

    Attributes:
        path: of the folder.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """Whether there is such a folder."""
        return self.path.is_dir()

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, hidden ones too."""
        found: dict[str, int] = {}
        for path in sorted(self.path.rglob("*")):
            try:
                if path.is_file():
                    found[path.relative_to(self.path).as_posix()] = path.stat().st_size
            except FileNotFoundError:
                continue  # another process gave it its name meanwhile
        return found

    def read(self, name: str) -> bytes | None:
        """Content of a small file; `None` where there is none."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, name: str) -> Path:
        """The path."""
        return self.path / name

    def sha256(self, name: str) -> str:
        """Of a file's content, hexadecimal."""
        return hash_file(self.path / name)

    def stands(self, name: str, size: int, sha256: str) -> bool:
        """Whether the file has the size and the content."""
        path = self.path / name
        return path.is_file() and path.stat().st_size == size and hash_file(path) == sha256

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file, unless one of that name is there: then nothing changes, and this is false."""
        try:
            self._put(name, data, create=True)
        except FileExistsError:
            return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a small file."""
        self._put(name, data, create=False)

    def _put(self, name: str, data: bytes, *, create: bool) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = local_draft(target.parent, target.name, create=create)
        try:
            draft.write(data)
            draft.commit()
        finally:
            draft.discard()

    def draft(self, name: str) -> Draft:
        """Begin a file of any size: hidden at the folder's top until it is whole."""
        return local_draft(self.path, name)

    def scratch(self) -> BinaryIO:
        """A nameless file on the same disk."""
        return cast(BinaryIO, tempfile.TemporaryFile(dir=self.path, buffering=0))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes were writing, at the top and in hidden folders."""
        for folder in (self.path, *(path for path in self.path.glob(".*") if path.is_dir())):
            sweep(folder)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Make the folder and hold a lock in it; says so on stderr when it has to wait.

        Raises:
            BusyError: another process held it for a day.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / name, is_singleton=True)
        try:
            lock.acquire(timeout=1.0)
        except Timeout:
            sys.stderr.write(f"waiting for another run that writes {self.path} …\n")
            try:
                lock.acquire(timeout=24 * 3600.0)
            except Timeout:
                raise BusyError(f"another run is writing {self.path}; try again when it is done") from None
        try:
            yield
        finally:
            lock.release()

    def errors(self) -> AbstractContextManager[None]:
        """Tell a full disk, a read-only folder and the like in one line."""
        return storage_errors(self.path)
