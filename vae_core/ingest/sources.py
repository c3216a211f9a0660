"""The files that rows come from: how each is packed, and of which format it is."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import pyarrow as pa

from vae_core.config import SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest.faults import reading
from vae_core.ingest.folders import Scratch
from vae_core.ingest.formats import COMPRESSED, COMPRESSION_MAGIC, FORMATS
from vae_core.ingest.locate import locate
from vae_core.progress import Progress, silent
from vae_core.store import hash_file, redact


@dataclass(frozen=True)
class SourceFile:
    """One file on the local disk.

    Attributes:
        path: where its bytes are.
        label: what the user knows it as; no credentials.
        format: a key of the table of readers.
        compression: `None`, or how the bytes are packed.
        scratch: gives a folder for temporary files.
        folders: names of those that it lies in, below the one that the user gave.
    """

    path: Path
    label: str
    format: str
    compression: str | None
    scratch: Scratch
    folders: tuple[str, ...] = ()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The unpacked bytes, as a stream.

        Raises:
            SourceError: the archive is damaged, or holds several files.
        """
        if self.compression is None:
            with self.path.open("rb", buffering=0) as file:
                yield cast(BinaryIO, file)
        elif self.compression == "zip":
            with zipfile.ZipFile(self.path) as archive, archive.open(only_member(archive, self.label)) as member:
                yield cast(BinaryIO, member)
        else:
            with pa.CompressedInputStream(pa.OSFile(str(self.path)), self.compression) as stream:
                yield cast(BinaryIO, stream)

    def unpacked(self) -> Path:
        """A file with the unpacked bytes, for formats that are read out of order."""
        if self.compression is None:
            return self.path
        target = self.scratch() / f"{abs(hash(self.path))}.{self.format}"
        if not target.exists():
            with self.open() as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
        return target

    def stamp(self) -> tuple[int, int]:
        """Size and time of the last change: when they differ, the file was written to."""
        with reading(self.label):
            status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def digest(self) -> str:
        """sha256 of the file's bytes as they are on disk."""
        with reading(self.label):
            return hash_file(self.path)


def only_member(archive: zipfile.ZipFile, label: str) -> str:
    """The name of the one file in a zip archive.

    Raises:
        SourceError: there is none, or there are several.
    """
    names = [
        info.filename
        for info in archive.infolist()
        if not info.is_dir()
        and not info.filename.startswith("__MACOSX/")
        and not PurePosixPath(info.filename).name.startswith(".")
    ]
    if len(names) == 1:
        return names[0]
    if not names:
        raise SourceError(f"{label}: the zip archive holds no file")
    listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    raise SourceError(f"{label}: the zip archive holds {len(names)} files ({listed}); unpack it and name one")


def find_files(config: SourceConfig, scratch: Scratch, progress: Progress = silent) -> list[SourceFile]:
    """The files that `config.path` means, sorted by name, all of one format.

    Raises:
        SourceError: there is none, one can't be read, or they are of several formats.
    """
    assert config.path is not None
    with reading(redact(config.path)):
        located = locate(config.path, scratch, progress)
    files = []
    for path, label, folders in located:
        with reading(label):
            files.append(replace(_identify(path, label, config.format, scratch), folders=folders))
    formats = {file.format: file.label for file in files}
    if len(formats) > 1:
        (one, a), (other, b) = list(formats.items())[:2]
        raise SourceError(
            f"{redact(config.path)}: mixes formats: {a} is {one}, {b} is {other}; give a glob of one of them"
        )
    return files


def _identify(path: Path, label: str, wanted: str, scratch: Scratch) -> SourceFile:
    """Tell compression from the first bytes and the format from the suffix."""
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise SourceError(f"{label}: the file is empty")
    compression = next((kind for magic, kind in COMPRESSION_MAGIC.items() if head.startswith(magic)), None)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        named = COMPRESSED[suffixes.pop()]
        if compression != named:
            raise SourceError(f"{label}: is not a {named} file, or it is damaged")
    if compression == "zip":
        with zipfile.ZipFile(path) as archive:
            member = PurePosixPath(only_member(archive, label))
            suffixes = [member.suffix.lower()] if member.suffix else suffixes
    if wanted != "auto":
        return SourceFile(path, label, wanted, compression, scratch)
    known = FORMATS.get(suffixes[-1]) if suffixes else None
    if known is None:
        what = f"the extension {suffixes[-1]!r} isn't known" if suffixes else "the name has no extension"
        formats = ", ".join(dict.fromkeys(FORMATS.values()))
        raise SourceError(f"{label}: {what}; set source.format to one of {formats}")
    return SourceFile(path, label, known, compression, scratch)
