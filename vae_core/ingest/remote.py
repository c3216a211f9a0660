"""Copies of a source's files that are elsewhere: behind an address, in a bucket."""

from __future__ import annotations

import base64
import errno
import itertools
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import pyarrow as pa

from vae_core.errors import SourceError
from vae_core.ingest.faults import one_line
from vae_core.ingest.folders import GLOB, Located, Scratch, check_plain, shown
from vae_core.progress import Progress, silent
from vae_core.store import redact


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


def download(url: str, target: Path, progress: Progress = silent) -> Path:
    """Copy what `url` gives into `target`, which keeps the URL's suffixes; `progress` gets notes of the megabytes."""
    parts = urllib.parse.urlsplit(url)
    target = target.with_name(PurePosixPath(parts.path).name or "download")
    with _fetching(redact(url.partition("?")[0])):
        host = parts.netloc.rpartition("@")[2]
        request = urllib.request.Request(parts._replace(netloc=host, fragment="").geturl())
        if parts.username is not None:
            login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        with urllib.request.urlopen(request, timeout=60) as stream:
            _copy(stream, target, int(stream.headers.get("Content-Length", 0)), progress)
    return target


def fetch(url: str, scratch: Scratch, progress: Progress = silent) -> list[Located]:
    """Copy a file, a folder or what a glob matches from a storage that pyarrow knows (s3://, gs://, hdfs://).

    `progress` gets notes of the megabytes.
    """
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
            check_plain((PurePosixPath(name).relative_to(base).parts[0] for name in names), label)
        else:
            names = ArrowFSWrapper(filesystem).glob(path) if GLOB.search(path) else []
            if not names:
                raise SourceError(f"{label}: no such file or folder")
            base = PurePosixPath(*itertools.takewhile(lambda part: not GLOB.search(part), base.parts))
        below = sorted(name for name in names if shown(PurePosixPath(name).relative_to(base).parts))
        if not below:
            raise SourceError(f"{label}: the folder holds no file")
        located: list[Located] = []
        for name in below:
            inner = PurePosixPath(name).relative_to(base)
            target = scratch() / "fetched" / str(len(located)) / inner.name
            target.parent.mkdir(parents=True)
            with filesystem.open_input_file(name) as stream:
                _copy(stream, target, stream.size(), progress, f"file {len(located) + 1} of {len(below)}, ")
            located.append(
                (target, label if len(below) == 1 else f"{url.partition('://')[0]}://{name}", inner.parts[:-1])
            )
    return located


def _copy(stream: IO[bytes], target: Path, size: int, progress: Progress, before: str = "") -> None:
    """Write all of `stream` to `target`, and say how much of `size` bytes (0: unknown) has come.

    Raises:
        ConnectionError: the stream ended before that, which a reader of a response isn't told by itself.
    """
    of = f" of {size / 1e6:,.0f}" if size else ""
    copied = 0
    with target.open("wb") as file:
        while block := stream.read(1 << 20):
            copied += file.write(block)
            progress(0, note=f"{before}{copied / 1e6:,.0f}{of} MB fetched")
    if copied < size:
        raise ConnectionError(f"the connection ended after {copied:,} of {size:,} bytes")
