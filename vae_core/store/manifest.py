"""The manifest of an artifact: what it is, what it was made from, and the sha256 of each of its files."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from vae_core.errors import ArtifactError
from vae_core.store.place import Place

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
DATASET_MANIFEST = "_manifest.json"  # readers of Parquet folders take a name without a `_` or `.` before it for data
MANIFESTS = (MANIFEST, DATASET_MANIFEST)
_LIBRARIES = (
    "vaesynth",
    "numpy",
    "pandas",
    "pyarrow",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "safetensors",
)
# scheme://user:password@host. A password may itself hold "@" or "/", so everything up to the last "@" goes.
_URL_PASSWORD = re.compile(r"([A-Za-z][\w+.-]*://[^\s:/@]*):\S*@")
_PARAMETER = re.compile(r"([?&;](?:password|passwd|pwd|sslpassword|secret|token|[\w-]*_key|signature)=)[^&;\s]*", re.I)
_SECRET_KEY = re.compile(r"(^|_)(password|passwd|pwd|secret|token|api_?key|access_?key)$", re.I)


def digest_of(data: Any) -> str:
    """sha256, hexadecimal, of `data` as canonical JSON: sorted keys, no spaces."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def version_of(digest: str) -> str:
    """The version that names an artifact's folder: the first 12 hexadecimal digits of its digest."""
    return digest[:12]


def redact(data: Any) -> Any:
    """Copy JSON-able `data` with credentials replaced by `***`.

    Covers passwords in URLs, secret URL parameters, and the values of keys such as `password` or `api_key`.
    """
    if isinstance(data, str):
        return _PARAMETER.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", data))
    if isinstance(data, dict):
        return {
            key: "***" if isinstance(value, str) and _SECRET_KEY.search(str(key)) else redact(value)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [redact(value) for value in data]
    return data


def complete(kind: str, name: str, version: str, fields: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
    """A whole manifest from a stage's own `fields` (inputs, config, seed, rows, …) and the record of its files."""
    recorded: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "name": name,
        "version": version,
        "digest": digest_of({"inputs": fields.get("inputs", {}), "config": redact(fields.get("config", {}))}),
        "created": datetime.now(UTC).isoformat(),
        "inputs": {},
        "config": {},
        "seed": None,
        "rows": None,
        "stages": {},
    }
    recorded |= redact(fields)
    recorded |= {"libraries": libraries(), "commit": commit(), "files": dict(sorted(files.items()))}
    return recorded


def read(place: Place) -> dict[str, Any]:
    """Read and check the manifest in `place`.

    Raises:
        ArtifactError: there is none, it isn't a manifest, or a newer vaesynth wrote it.
        StorageError: the place doesn't answer.
    """
    try:
        found = ((name, text) for name in MANIFESTS if (text := place.read(name)) is not None)
        path, text = next(((f"{place}/{name}", text) for name, text in found), (None, b""))
        if path is None:
            what = f"has no {MANIFEST}: it is not a finished artifact" if place.exists() else "no such artifact"
            raise ArtifactError(f"{place}: {what}")
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path}: not JSON; the artifact is damaged, delete {place} and make it again") from None
    except OSError as error:
        raise ArtifactError(f"{place}: {error.strerror}") from None
    format_version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(format_version, int):
        raise ArtifactError(f"{path}: not a manifest of vaesynth")
    if format_version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format {format_version} is newer than this vaesynth reads ({FORMAT_VERSION}); upgrade vaesynth"
        )
    if not _well_formed(data):
        raise ArtifactError(f"{path}: not a whole manifest of vaesynth")
    return dict(data)


def _well_formed(data: dict[str, Any]) -> bool:
    """Whether the fields that every reader relies on are there; a recorded file lies inside the artifact."""
    files = data.get("files")
    if not isinstance(files, dict) or not all(isinstance(data.get(k), str) for k in ("kind", "name", "version")):
        return False
    for name, entry in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not isinstance(entry, dict):
            return False
        if not isinstance(entry.get("bytes"), int) or not isinstance(entry.get("sha256"), str):
            return False
    return isinstance(data.get("digest"), str) and isinstance(data.get("stages"), dict)


@functools.cache
def libraries() -> dict[str, str]:
    """Versions of the installed libraries that a result depends on; nothing is imported."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str | None:
    """The git commit of the running code, when it runs from a checkout."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
