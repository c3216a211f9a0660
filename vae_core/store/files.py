"""Files that are whole or absent: fsync, rename, sha256, and operating-system errors in one line."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from vae_core.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn an `OSError` about writing under `place` into a one-line `StorageError`.

    An error about another file (a source that is missing, say) passes as it is, for whoever reads that file to explain.

    Raises:
        StorageError: the disk is full, `place` is read-only, or something in its path is not a folder.
    """
    try:
        yield
    except OSError as error:
        ours = error.filename is not None and str(error.filename).startswith(str(place))
        if error.errno in _FULL:
            raise StorageError(
                f"no space left to write {place}: free some and run again (what was finished is kept)"
            ) from error
        if error.errno in _READ_ONLY and (ours or error.filename is None):
            raise StorageError(f"can't write {place}: it is read-only; choose another folder") from error
        if error.errno in _NOT_A_FOLDER and ours:
            raise StorageError(f"can't write {place}: a part of this path is not a folder") from error
        if ours or error.errno == errno.EIO:
            raise StorageError(f"can't write {place}: {error.strerror or error}") from error
        raise


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the content of `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """sha256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(data: Any) -> bytes:
    """`data` as a JSON file for people: indented, UTF-8, with a newline at its end."""
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, data: Any) -> None:
    """Replace `path` by `data` as JSON, atomically: readers see the old content or the new one, never half of it."""
    content = to_json(data)
    draft = local_draft(path.parent, path.name)
    try:
        draft.write(content)
        draft.commit()
    except BaseException:
        draft.discard()
        raise


class Draft:
    """A file being written, hashed on the way; it gets its name when it is whole, or never.

    Attributes:
        size: bytes written.
    """

    def __init__(self, file: FileIO, publish: Callable[[], None], drop: Callable[[], None]) -> None:
        """Take over `file`; `publish` gives it its name, `drop` removes what has none. Both find it open."""
        self._file, self._publish, self._drop = file, publish, drop
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        """Add bytes; what a discarded file is given is lost, so that a writer may empty its buffers."""
        view = memoryview(data).cast("B")
        count = len(view)
        if not self.closed:
            self._hash.update(view)
            self.size += count
            while view:
                view = view[self._file.write(view) :]
        return count

    def tell(self) -> int:
        """Bytes written."""
        return self.size

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: the end is `commit` or `discard`."""

    @property
    def closed(self) -> bool:
        """Whether it was committed or discarded."""
        return self._file.closed

    @property
    def sha256(self) -> str:
        """Of all that was written, hexadecimal."""
        return self._hash.hexdigest()

    def commit(self) -> None:
        """Give it its name; a file of that name is replaced."""
        self._publish()
        self._file.close()

    def discard(self) -> None:
        """Remove it, unless it was committed."""
        if not self.closed:
            self._drop()
            self._file.close()


def local_draft(folder: Path, name: str, *, create: bool = False) -> Draft:
    """Begin the file `name` of `folder`: hidden until it is whole and on the disk.

    The writer holds a lock on the hidden file. The operating system frees it when the process dies, so that `sweep`
    can tell what was left from what is being written.

    Args:
        folder: must exist.
        name: relative; its folder is made when the file gets its name.
        create: raise `FileExistsError` when a file has this name already, rather than replace it.
    """
    target = folder / name
    temporary, file = _begin(folder, target.name)

    def publish() -> None:
        os.fsync(file.fileno())
        if target.parent != folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        if create:
            target.hardlink_to(temporary)
            temporary.unlink()
        else:
            temporary.replace(target)
        for parent in (target.parent, *target.parent.parents):
            fsync_folder(parent)
            if parent == folder:
                break

    return Draft(file, publish, partial(temporary.unlink, missing_ok=True))


def _begin(folder: Path, name: str) -> tuple[Path, FileIO]:
    while True:
        path = folder / f".{name}.tmp-{uuid.uuid4().hex}"
        file = path.open("xb", buffering=0)
        with suppress(OSError):  # a file system without locks: then nothing is swept either
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if path.exists():
            return path, file
        file.close()  # it was swept between its creation and its lock


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing in `folder`; what a living one writes stays."""
    for path in folder.glob(".*.tmp-*"):
        with suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
