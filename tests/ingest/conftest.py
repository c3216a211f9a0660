from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snapshots import Ingest, Snapshot

from vae_core.config import SchemaConfig, SourceConfig, parse
from vae_core.ingest import ingest
from vae_core.schema import Schema
from vae_core.store import Store


@pytest.fixture
def snapshot(tmp_path: Path) -> Ingest:
    """Ingest a file, or a table in memory, into a store of the test's own."""

    def run(source: Any, columns: dict[str, Any] | None = None, **options: Any) -> Snapshot:
        if isinstance(source, str | Path):
            source = parse(SourceConfig, {"path": str(source)} | options)
        overrides = parse(SchemaConfig, {"columns": columns or {}})
        artifact = ingest(source, overrides, Store(tmp_path / "store"), "data")
        assert artifact.verify() == []
        schema = Schema.from_dict(json.loads(artifact.file("schema.json").read_text(encoding="utf-8")))
        table = pq.read_table(artifact.folder / "data")
        for index, field in enumerate(schema.arrow):  # Parquet keeps dictionaries of strings only
            if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(table.column(index).type):
                table = table.set_column(index, field.name, table.column(index).dictionary_encode())
        table = table.cast(schema.arrow)
        assert len(table) == schema.rows == artifact.manifest["rows"]
        for name, column in zip(table.column_names, schema.columns, strict=True):
            assert table.column(name).null_count == column.nulls
        return Snapshot(artifact, schema, table)

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file into the test's folder."""

    def run(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return run
