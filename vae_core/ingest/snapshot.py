"""From a source to a snapshot in the store."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from vae_core.config import SchemaConfig, SourceConfig, valid_name
from vae_core.ingest.ahead import ahead
from vae_core.ingest.readers import ArrowStream, FilesReader, open_reader
from vae_core.ingest.writing import write
from vae_core.progress import Progress, silent
from vae_core.store import Artifact, Store, digest_of, redact, version_of
from vae_core.store.manifest import libraries

_STAGE = "ingest/5"


def ingest(
    source: SourceConfig | pd.DataFrame | ArrowStream,
    schema: SchemaConfig,
    store: Store,
    name: str,
    progress: Progress = silent,
) -> Artifact:
    """Read a source into a snapshot; the standing one is returned when neither data nor configuration changed.

    Args:
        source: where the rows are, or a table in memory.
        schema: overrides of what is inferred.
        store: holds the snapshot.
        name: of the snapshot.
        progress: told the rows written.

    Returns:
        A snapshot: `data/*.parquet`, `schema.json`, and `rejected.parquet` where rows were malformed.

    Raises:
        SourceError: the source can't be read as a table, or nothing in it can be learned.
        ConfigError: the overrides don't fit the source.
        StorageError: the store can't be written.
    """
    valid_name(name)
    with ExitStack() as folders, ExitStack() as stack:

        @cache
        def scratch() -> Path:
            return Path(folders.enter_context(TemporaryDirectory(prefix="vaesynth-")))

        reader = open_reader(source, schema, scratch, progress)
        # Files are mostly new: their first rows are read while they are hashed.
        begun = stack.enter_context(ahead(reader.tables())) if isinstance(reader, FilesReader) else None
        fields: dict[str, Any] = {
            "inputs": {"source": reader.digest()},
            "config": redact(
                {
                    "stage": _STAGE,
                    "code": libraries().get("vaesynth", ""),
                    "source": _options(source),
                    "schema": schema.model_dump(mode="json", exclude_defaults=True),
                }
            ),
        }
        version = version_of(digest_of({"inputs": fields["inputs"], "config": fields["config"]}))
        if standing := store.find("snapshots", name, version):
            return standing
        with store.lock("snapshots", name):
            if standing := store.find("snapshots", name, version):
                return standing
            with store.stage("snapshots", name, version, fields) as folder:
                limit = source.max_rejected if isinstance(source, SourceConfig) else 0.0
                found, rejected = write(reader, begun, schema, folder, limit, progress)
                fields |= {"source": reader.label, "rows": found.rows, "rejected": rejected, "notes": list(found.notes)}
    return store.open("snapshots", f"{name}@{version}")


def _options(source: SourceConfig | pd.DataFrame | ArrowStream) -> dict[str, Any]:
    """What decides how the source's bytes are read; where they lie doesn't."""
    if not isinstance(source, SourceConfig):
        return {"table": type(source).__module__.partition(".")[0]}
    return source.model_dump(mode="json", exclude={"path", "url"}, exclude_defaults=True) | (
        {"header": source.header} if "header" in source.model_fields_set else {}
    )
