"""One shard as a Parquet file: row groups in order, a sha256 on the way, a final name only when it is whole.

String columns arrive as dictionaries and are encoded from their codes; the file's `ARROW:schema` names the source's
types, so a reader gets strings back. The bytes depend on the rows and library versions alone: row groups have a fixed
size, and the metadata holds no date.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.generation.noise import BLOCK
from vae_core.generation.shards import Folder, Shard

ROW_GROUP = 16 * BLOCK
_LEVELS = {"zstd": 1}


@dataclass
class ShardWriter:
    """Writes one shard. Not thread-safe; use as a context manager, so that nothing half-written is left."""

    folder: Folder
    shard: Shard
    schema: pa.Schema

    def __post_init__(self) -> None:
        self._file = self.folder.place.draft(self.shard.file)
        self._writer: Any = None
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        """Add one row group: ROW_GROUP rows, fewer only at the shard's end."""
        if self._writer is None:
            self._open(table.schema)
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._rows += table.num_rows

    def _open(self, physical: pa.Schema) -> None:
        compression = self.folder.run.compression
        self._sink = pa.BufferedOutputStream(pa.PythonFile(self._file, mode="w"), 1 << 20)
        self._writer = pq.ParquetWriter(
            self._sink,
            physical,
            compression=compression,
            compression_level=_LEVELS.get(compression),
            use_dictionary=[field.name for field in physical if pa.types.is_dictionary(field.type)],
            write_page_checksum=True,
            store_schema=False,
        )

    def finish(self) -> None:
        """Complete the file, give it its final name, and record it."""
        if self._rows != self.shard.rows:
            raise AssertionError(f"{self.shard.file}: {self._rows} rows written of {self.shard.rows}")
        if self._writer is None:
            self.write(self.schema.empty_table())
        self._writer.add_key_value_metadata(self._metadata())
        self._writer.close()
        self._sink.close()
        self._file.commit()
        entry = {"bytes": self._file.size, "sha256": self._file.sha256, "rows": self._rows}
        self.folder.record(self.shard, {self.shard.file: entry})

    def _metadata(self) -> dict[str, str]:
        run = self.folder.run
        source = {key.decode(): value.decode() for key, value in (self.schema.metadata or {}).items()}
        return source | {
            "ARROW:schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode("ascii"),
            "vaesynth.synthetic": "true",
            "vaesynth.model": run.model,
            "vaesynth.seed": str(run.seed),
            "vaesynth.shard": str(self.shard.index),
        }

    def discard(self) -> None:
        """Remove what isn't finished."""
        self._file.discard()
        with suppress(OSError, pa.ArrowException):
            if self._writer is not None:
                self._writer.close()
