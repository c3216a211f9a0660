"""One Parquet file: row groups in order, pages with checksums, text encoded from its codes.

String columns arrive as dictionaries and are encoded from their codes; the file's `ARROW:schema` names the source's
types, so a reader gets strings back. The bytes depend on the rows and library versions alone: the caller says what a
row group is, and the metadata holds no date.
"""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.generation.noise import BLOCK
from vae_core.generation.shards import Run, Shard

ROW_GROUP = 16 * BLOCK
_LEVELS = {"zstd": 1}
PACKED = "DELTA_BINARY_PACKED"


def is_packed(type_: pa.DataType) -> bool:
    """Whether a column is written in as many bits as the differences of its values need, before compression.

    That leaves the compressor little to do: most integers take a third to a half of the time, at about the bytes; those
    that are nearly always 0 gain nothing. Times stay as they are: an hour is 3.6e9 microseconds, and packed they take
    twice the bytes. pyarrow packs no other type.
    """
    return bool(pa.types.is_integer(type_) or pa.types.is_date(type_))


class ParquetFile:
    """A Parquet file that is being written."""

    def __init__(self, file: Any, run: Run, shard: Shard, schema: pa.Schema, *, buffer: bool = True) -> None:
        """Write to `file`, which is left open.

        Args:
            file: takes bytes.
            run: what the file is made for.
            shard: likewise.
            schema: that readers get back.
            buffer: gather small writes; costs 1 MB.
        """
        self._file, self._run, self._shard, self._schema = file, run, shard, schema
        self._buffer = buffer
        self._writer: Any = None
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Add one row group."""
        if self._writer is None:
            self._open(table.schema)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self.rows += table.num_rows

    def _open(self, physical: pa.Schema) -> None:
        self._sink: Any = pa.PythonFile(self._file, mode="w")
        if self._buffer:
            self._sink = pa.BufferedOutputStream(self._sink, 1 << 20)
        self._writer = pq.ParquetWriter(
            self._sink,
            physical,
            compression=self._run.compression,
            compression_level=_LEVELS.get(self._run.compression),
            use_dictionary=[field.name for field in physical if pa.types.is_dictionary(field.type)],
            column_encoding={field.name: PACKED for field in physical if is_packed(field.type)},
            write_page_checksum=True,
            store_schema=False,
        )

    def finish(self) -> None:
        """Write what ends the file."""
        if self._writer is None:
            self.write(self._schema.empty_table())
        self._writer.add_key_value_metadata(self._metadata())
        self.close()

    def close(self) -> None:
        """Let go of the file, wherever it is."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()

    def _metadata(self) -> dict[str, str]:
        source = {key.decode(): value.decode() for key, value in (self._schema.metadata or {}).items()}
        return source | {
            "ARROW:schema": base64.b64encode(self._schema.serialize().to_pybytes()).decode("ascii"),
            "vaesynth.synthetic": "true",
            "vaesynth.model": self._run.model,
            "vaesynth.seed": str(self._run.seed),
            "vaesynth.shard": str(self._shard.index),
            "vaesynth.first_row": str(self._shard.first_row),
        }
