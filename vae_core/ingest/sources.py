"""Where rows come from, made into local files: paths, folders, globs, URLs, files of installed packages."""

from __future__ import annotations

import base64
import difflib
import errno
import importlib.util
import itertools
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import pyarrow as pa

from vae_core.config import SourceConfig
from vae_core.errors import SourceError
from vae_core.store import hash_file, redact

FORMATS = {
    ".csv": "csv",
    ".txt": "csv",
    ".data": "csv",
    ".dat": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
_COMPRESSED = {".gz": "gzip", ".gzip": "gzip", ".zip": "zip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}
_COMPRESSION_MAGIC = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PACKAGE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?!//)(.+)")
_GLOB = re.compile(r"[*?\[]")
_LAKES = {"_delta_log": "Delta Lake", ".hoodie": "Apache Hudi"}

Scratch = Callable[[], Path]
"""Gives a folder for temporary files, made when it is first asked for and removed after ingestion."""


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


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Turn the errors of a damaged, missing or forbidden file into a one-line `SourceError`."""
    try:
        yield
    except FileNotFoundError:
        raise SourceError(f"{label}: no such file") from None
    except PermissionError:
        raise SourceError(f"{label}: can't be read: permission denied") from None
    except IsADirectoryError:
        raise SourceError(f"{label}: is a folder, not a file") from None
    except zipfile.BadZipFile as error:
        raise SourceError(f"{label}: damaged zip archive: {one_line(error)}") from None
    except (OSError, EOFError, zlib.error, pa.ArrowException, NotImplementedError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SourceError(f"{label}: can't be read, it is damaged or cut short: {one_line(error)}") from None


def one_line(error: object) -> str:
    """The message of an error on one line, without credentials."""
    text = " ".join(str(error).split())
    return str(redact(text if len(text) <= 300 else text[:300] + "…"))


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


def find_files(config: SourceConfig, scratch: Scratch) -> list[SourceFile]:
    """The files that `config.path` means, sorted by name, all of one format.

    Raises:
        SourceError: there is none, one can't be read, or they are of several formats.
    """
    assert config.path is not None
    with reading(redact(config.path)):
        located = _locate(config.path, scratch)
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


_Located = tuple[Path, str, tuple[str, ...]]  # path, label, folders below the one that was given


def _locate(path: str, scratch: Scratch) -> list[_Located]:
    """The files that `path` means, on the local disk."""
    if _URL.match(path):
        scheme = path.partition("://")[0].lower()
        if scheme in ("http", "https"):
            return [(_download(path, scratch() / "download"), redact(path.partition("?")[0]), ())]
        if scheme != "file":
            return _fetch(path, scratch)
        path = urllib.request.url2pathname(urllib.parse.urlsplit(path).path)
    local = Path(path).expanduser()
    if local.is_file():
        return [(local, path, ())]
    if local.is_dir():
        _check_plain((entry.name for entry in local.iterdir()), path)
        found = _visible(local.rglob("*"), local)
        if not found:
            raise SourceError(f"{path}: the folder holds no file")
        return found
    package = _PACKAGE.fullmatch(path)
    if package and not local.exists():
        return [(_package_file(package[1], package[2]), path, ())]
    if _GLOB.search(path) and not local.exists():
        parts = local.parts
        plain = next(k for k, part in enumerate(parts) if _GLOB.search(part))
        base = Path(*parts[:plain])
        _check_plain((entry.name for entry in base.iterdir()) if base.is_dir() else (), str(base))
        found = _visible(base.glob(str(Path(*parts[plain:]))), base)
        if not found:
            raise SourceError(f"{path}: no file matches")
        return found
    if local.exists():
        raise SourceError(f"{path}: is neither a file nor a folder")
    raise SourceError(f"{path}: no such file; {_near(local)}")


def _visible(paths: Iterator[Path], base: Path) -> list[_Located]:
    """Files that hold data: not hidden, not the marks that other systems leave (`_SUCCESS`, `.crc`)."""
    return [
        (path, str(path), path.relative_to(base).parts[:-1])
        for path in sorted(paths)
        if path.is_file() and _shown(path.relative_to(base).parts)
    ]


def _check_plain(markers: Iterable[str], label: str) -> None:
    """Refuse a folder whose files are only a part of a table's truth.

    Raises:
        SourceError: one of `markers`, the names in the folder, says so.
    """
    for marker in markers:
        if marker in _LAKES:
            raise SourceError(
                f"{label}: is a table of {_LAKES[marker]}, whose files hold rows that were deleted, too; "
                "write the rows to be learned as plain Parquet"
            )


def _shown(parts: Sequence[str]) -> bool:
    return not any(part.startswith((".", "_")) for part in parts)


def _near(path: Path) -> str:
    """A hint for a mistyped path."""
    parent = path.parent
    if not parent.is_dir():
        return f"there is no folder {parent} either"
    try:
        names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    except PermissionError:
        return f"the folder {parent} can't be listed"
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return f"{parent} holds " + (", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing")


def _package_file(package: str, name: str) -> Path:
    """A file that an installed package ships. The package itself isn't imported: its code may not even run."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(f"{package}:{name}: the package {package!r} isn't installed; install it with pip")
    folders = [Path(location) for location in spec.submodule_search_locations]
    for folder in folders:
        candidate = (folder / name).resolve()
        if candidate.is_relative_to(folder.resolve()) and candidate.is_file():
            return candidate
    shipped = sorted(
        path.relative_to(folder).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in FORMATS or path.suffix in _COMPRESSED
    )
    close = difflib.get_close_matches(name, shipped, n=1, cutoff=0.3)
    hint = f"did you mean {close[0]!r}?" if close else f"it ships {', '.join(shipped[:5]) or 'no data files'}"
    raise SourceError(f"{package}:{name}: the package has no such file; {hint}")


@contextmanager
def _fetching(label: str) -> Iterator[None]:
    """Turn what a server or the network says into a one-line `SourceError`."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise SourceError(f"{label}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise SourceError(f"{label}: can't be fetched: {one_line(error.reason)}") from None
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"{label}: can't be fetched: {one_line(error)}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SourceError(f"{label}: can't be fetched: {one_line(error)}") from None


def _download(url: str, target: Path) -> Path:
    """Copy what `url` gives into `target`, which keeps the URL's suffixes."""
    parts = urllib.parse.urlsplit(url)
    target = target.with_name(PurePosixPath(parts.path).name or "download")
    with _fetching(redact(url.partition("?")[0])):
        host = parts.netloc.rpartition("@")[2]
        request = urllib.request.Request(parts._replace(netloc=host, fragment="").geturl())
        if parts.username is not None:
            login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        with urllib.request.urlopen(request, timeout=60) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
    return target


def _fetch(url: str, scratch: Scratch) -> list[_Located]:
    """Copy a file, a folder or what a glob matches from a storage that pyarrow knows (s3://, gs://, hdfs://)."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    label = redact(url.partition("?")[0]).rstrip("/")
    with _fetching(label):
        if url.lower().startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in url:
            url += ("&" if "?" in url else "?") + "retry_limit_seconds=60"  # it is a quarter of an hour otherwise
        filesystem, path = fs.FileSystem.from_uri(url)
        kind = filesystem.get_file_info(path).type
        base = PurePosixPath(path)
        if kind == fs.FileType.File:
            names = [path]
            base = base.parent
        elif kind == fs.FileType.Directory:
            names = ArrowFSWrapper(filesystem).find(path)
            _check_plain((PurePosixPath(name).relative_to(base).parts[0] for name in names), label)
        else:
            names = ArrowFSWrapper(filesystem).glob(path) if _GLOB.search(path) else []
            if not names:
                raise SourceError(f"{label}: no such file or folder")
            base = PurePosixPath(*itertools.takewhile(lambda part: not _GLOB.search(part), base.parts))
        below = sorted(name for name in names if _shown(PurePosixPath(name).relative_to(base).parts))
        if not below:
            raise SourceError(f"{label}: the folder holds no file")
        located: list[_Located] = []
        for name in below:
            inner = PurePosixPath(name).relative_to(base)
            target = scratch() / "fetched" / str(len(located)) / inner.name
            target.parent.mkdir(parents=True)
            with filesystem.open_input_stream(name, compression=None) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            located.append(
                (target, label if len(below) == 1 else f"{url.partition('://')[0]}://{name}", inner.parts[:-1])
            )
    return located


def _identify(path: Path, label: str, wanted: str, scratch: Scratch) -> SourceFile:
    """Tell compression from the first bytes and the format from the suffix."""
    with path.open("rb") as file:
        head = file.read(8)
    if not head:
        raise SourceError(f"{label}: the file is empty")
    compression = next((kind for magic, kind in _COMPRESSION_MAGIC.items() if head.startswith(magic)), None)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        named = _COMPRESSED[suffixes.pop()]
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
