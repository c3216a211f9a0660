"""Files that are whole or absent: fsync, rename, sha256, and operating-system errors in one line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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


def write_json(path: Path, data: Any) -> None:
    """Replace `path` by `data` as JSON, atomically: readers see the old content or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def content(folder: Path) -> dict[str, Path]:
    """The files of an artifact under `folder`, by relative path: all but the manifest and hidden files at its top."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not relative.parts[0].startswith(".") and str(relative) != "manifest.json":
            found[relative.as_posix()] = path
    return found
