"""Copies of a source's files that are elsewhere: behind an address, in a bucket."""

from __future__ import annotations

import base64
import errno
import itertools
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pyarrow as pa

from vae_core.errors import SourceError
from vae_core.ingest.faults import one_line
from vae_core.ingest.folders import GLOB, Located, Scratch, check_plain, shown
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


def download(url: str, target: Path) -> Path:
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


def fetch(url: str, scratch: Scratch) -> list[Located]:
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
            with filesystem.open_input_stream(name, compression=None) as stream, target.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            located.append(
                (target, label if len(below) == 1 else f"{url.partition('://')[0]}://{name}", inner.parts[:-1])
            )
    return located
