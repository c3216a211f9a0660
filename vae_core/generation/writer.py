"""One shard, as one Parquet file or as one a partition: names are given, and the record written, when it is whole."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from vae_core.generation.parquet import ROW_GROUP, ParquetFile
from vae_core.generation.partition import Partitions
from vae_core.generation.shards import Folder, Shard

__all__ = ["ROW_GROUP", "ShardWriter"]


class _Files(Protocol):
    """The files of a shard."""

    def write(self, table: pa.Table) -> None: ...

    def finish(self) -> dict[str, dict[str, Any]]: ...

    def discard(self) -> None: ...


@dataclass
class ShardWriter:
    """Writes one shard. Not thread-safe; what isn't finished must be discarded, so that nothing half-written is left.

    Attributes:
        folder: where to.
        shard: which.
        schema: the source's.
    """

    folder: Folder
    shard: Shard
    schema: pa.Schema

    def __post_init__(self) -> None:
        kind = Partitions if self.folder.run.partition_by else _OneFile
        self._files: _Files = kind(self.folder, self.shard, self.schema)
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        """Add the next ROW_GROUP rows, fewer only at the shard's end."""
        self._files.write(table)
        self._rows += table.num_rows

    def finish(self) -> None:
        """Complete the files, give them their names, and record them."""
        if self._rows != self.shard.rows:
            raise AssertionError(f"{self.shard.file}: {self._rows} rows written of {self.shard.rows}")
        self.folder.record(self.shard, self._files.finish())

    def discard(self) -> None:
        """Remove what isn't finished."""
        self._files.discard()


class _OneFile:
    def __init__(self, folder: Folder, shard: Shard, schema: pa.Schema) -> None:
        self._name = shard.file
        self._draft = folder.place.draft(shard.file)
        self._parquet = ParquetFile(self._draft, folder.run, shard, schema)

    def write(self, table: pa.Table) -> None:
        self._parquet.write(table)

    def finish(self) -> dict[str, dict[str, Any]]:
        self._parquet.finish()
        self._draft.commit()
        return {self._name: {"bytes": self._draft.size, "sha256": self._draft.sha256, "rows": self._parquet.rows}}

    def discard(self) -> None:
        self._draft.discard()
        with suppress(OSError, pa.ArrowException):
            self._parquet.close()
