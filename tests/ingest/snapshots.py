"""A snapshot as tests look at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.schema import Column, Schema
from vae_core.store import Artifact


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as whoever comes after ingestion sees it: its files alone."""

    artifact: Artifact
    schema: Schema
    table: pa.Table

    def __getitem__(self, name: str) -> Column:
        return self.schema[name]

    def type(self, name: str) -> pa.DataType:
        return self.schema.arrow.field(name).type

    def values(self, name: str) -> list[Any]:
        return self.table.column(name).to_pylist()

    def rejected(self) -> list[dict[str, Any]]:
        return pq.read_table(self.artifact.file("rejected.parquet")).to_pylist()


Ingest = Callable[..., Snapshot]


def leftovers(root: Path) -> list[str]:
    """What a failed ingestion left in its store, locks aside."""
    return [str(path) for path in root.rglob("*") if path.is_file() and path.name != ".lock"]
