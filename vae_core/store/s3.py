"""A prefix of an S3 bucket as a place for an artifact's files.

An object appears when its upload is complete, and not before, so a file is written to a nameless local file first and
uploaded when it is whole. pyarrow's stream is given it in one piece: a stream that is left in the middle would complete
its upload with what it had. What pyarrow has no request for, to create an object only where there is none
(`If-None-Match: *`), obstore does. Nobody locks anything: whoever writes an object again writes the same bytes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from vae_core.errors import ConfigError, MissingDependencyError, StorageError, UnreachableError
from vae_core.store.files import Draft, storage_errors

_CHUNK = 8 << 20
_TIMEOUTS = {"connect_timeout": 10.0, "request_timeout": 60.0}
_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|INVALID_CLIENT_TOKEN|status 40[13]|AccessDenied|40[13] "
)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket")
_REDIRECT = re.compile(r"PERMANENT_REDIRECT|PermanentRedirect|status 301|AUTHORIZATION_HEADER_MALFORMED")
_GONE = re.compile(r"NETWORK_CONNECTION|REQUEST_TIMEOUT|curlCode|error sending request|SERVICE_UNAVAILABLE|SLOW_DOWN")


@dataclass(frozen=True)
class _Access:
    """What the environment says about S3."""

    key: str
    secret: str
    token: str | None
    region: str
    endpoint: str | None

    @classmethod
    def of_environment(cls) -> _Access:
        """Read the usual variables.

        Raises:
            ConfigError: there are no credentials.
        """
        get = os.environ.get
        key, secret = get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")
        if not key or not secret:
            raise ConfigError(
                "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where "
                "there is one) in the environment"
            )
        endpoint = get("AWS_ENDPOINT_URL_S3") or get("AWS_ENDPOINT_URL") or None
        if endpoint is not None and (urlsplit(endpoint).scheme not in ("http", "https") or "@" in endpoint):
            raise ConfigError("AWS_ENDPOINT_URL must be an address such as http://host:9000, without credentials")
        region = get("AWS_REGION") or get("AWS_DEFAULT_REGION") or "us-east-1"
        return cls(key, secret, get("AWS_SESSION_TOKEN") or None, region, endpoint)


@dataclass(frozen=True)
class S3Place:
    """Objects of a bucket whose keys begin with a prefix.

    Attributes:
        bucket: its name.
        prefix: without a slash at its ends; empty for the whole bucket.
    """

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return "s3://" + self._base

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Place, (self.bucket, self.prefix)  # credentials stay in the environment of each process

    @property
    def _base(self) -> str:
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    @cached_property
    def filesystem(self) -> fs.S3FileSystem:
        """Of pyarrow."""
        access = _Access.of_environment()
        endpoint = urlsplit(access.endpoint) if access.endpoint else None
        return fs.S3FileSystem(
            access_key=access.key,
            secret_key=access.secret,
            session_token=access.token,
            region=access.region,
            endpoint_override=endpoint.netloc + endpoint.path.rstrip("/") if endpoint else None,
            scheme=endpoint.scheme if endpoint else "https",
            allow_delayed_open=True,  # a small object takes one request, not three
            **_TIMEOUTS,
        )

    @cached_property
    def _creator(self) -> Any:
        try:
            from obstore.store import S3Store
        except ImportError:
            raise MissingDependencyError("s3:// needs obstore: pip install 'vaesynth[s3]'") from None
        access = _Access.of_environment()
        given = {"aws_endpoint": access.endpoint, "aws_session_token": access.token}
        optional: Any = {key: value for key, value in given.items() if value}
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            access_key_id=access.key,
            secret_access_key=access.secret,
            region=access.region,
            client_options={"allow_http": True, "connect_timeout": "10s"},
            retry_config={"max_retries": 3},
            config=optional,
        )

    def exists(self) -> bool:
        """Whether there is anything under the prefix.

        Raises:
            StorageError: there is no such bucket.
        """
        with self.errors():
            if self.sizes():
                return True
            if self.filesystem.get_file_info(self.bucket).type == fs.FileType.NotFound:
                raise StorageError(f"{self}: there is no bucket {self.bucket!r}; create it, or check the address")
            return False

    def sizes(self) -> dict[str, int]:
        """Bytes of every object, by its name under the prefix."""
        with self.errors():
            selector = fs.FileSelector(self._base, recursive=True, allow_not_found=True)
            found = self.filesystem.get_file_info(selector)
        cut = len(self._base) + 1
        return {info.path[cut:]: info.size for info in found if info.type == fs.FileType.File}

    def read(self, name: str) -> bytes | None:
        """Content of a small object; `None` where there is none."""
        with self.errors():
            try:
                with self.filesystem.open_input_stream(self._path(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def open(self, name: str) -> Any:
        """An object to read from anywhere in it."""
        with self.errors():
            return self.filesystem.open_input_file(self._path(name))

    def sha256(self, name: str) -> str:
        """Of an object's content, hexadecimal."""
        digest = hashlib.sha256()
        with self.errors(), self.filesystem.open_input_stream(self._path(name)) as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def stands(self, name: str, size: int, sha256: str) -> bool:
        """Whether the object has the size; an object is put whole, and the record of its digest after it."""
        with self.errors():
            return bool(self.filesystem.get_file_info(self._path(name)).size == size)

    def create(self, name: str, data: bytes) -> bool:
        """Put a small object, unless one of that name is there: then nothing changes, and this is false."""
        with self.errors():
            creator = self._creator
            import obstore
            from obstore.exceptions import AlreadyExistsError

            try:
                obstore.put(creator, name, data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """Put a small object."""
        self._upload(name, pa.py_buffer(data))

    def _upload(self, name: str, data: Any) -> None:
        with self.errors():
            stream = self.filesystem.open_output_stream(self._path(name), buffer_size=0)
            stream.write(data)
            stream.close()
            size = self.filesystem.get_file_info(self._path(name)).size
        if size != data.size:
            raise StorageError(f"can't write {self}: {name} has {size} bytes there, of {data.size}; run again")

    def draft(self, name: str) -> Draft:
        """Begin an object of any size, in a local file that vanishes with the process."""
        file: Any = self.scratch()

        def publish() -> None:
            empty = os.fstat(file.fileno()).st_size == 0
            self._upload(name, pa.py_buffer(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))

        return Draft(file, publish, lambda: None)

    def scratch(self) -> BinaryIO:
        """A nameless file in the folder for temporary files."""
        with self.errors():
            return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self.errors():
            try:
                self.filesystem.delete_file(self._path(name))
            except FileNotFoundError:
                return

    def sweep(self) -> None:
        """Do nothing: what wasn't complete never had a name."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Lock nothing: two that write the same thing write the same bytes."""
        return nullcontext()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Tell errors of the server, and of the disk that holds what isn't uploaded yet, in one line."""
        try:
            with storage_errors(Path(tempfile.gettempdir())):
                yield
        except (FileNotFoundError, FileExistsError) as error:
            if not _NO_BUCKET.search(str(error)):
                raise
            raise self._told(str(error)) from error
        except Exception as error:
            if "AWS Error" not in str(error) and not type(error).__module__.startswith("obstore"):
                raise
            raise self._told(str(error)) from error

    def _told(self, text: str) -> StorageError:
        if _NO_BUCKET.search(text):
            return StorageError(f"{self}: there is no bucket {self.bucket!r}; create it, or check the address")
        if _GONE.search(text):
            where = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "S3"
            line = f"{self}: {where} doesn't answer; run again when it does (what was finished is kept)"
            return UnreachableError(line)
        if _REDIRECT.search(text):
            return StorageError(f"{self}: the bucket is in another region; set AWS_REGION to it")
        if _DENIED.search(text):
            return StorageError(f"{self}: access denied; check AWS_ACCESS_KEY_ID and what its user may do there")
        return StorageError(f"{self}: {' '.join(text.split())[:300]}")
