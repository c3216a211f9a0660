"""Formats that carry their own Arrow schema: Parquet, Arrow IPC (files, streams, Feather)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.errors import SourceError
from vae_core.ingest.readers.base import FilesReader
from vae_core.ingest.sources import reading

_ROWS = 1 << 16


class _ColumnarReader(FilesReader):
    """Reads files that have the same schema, batch by batch."""

    def _tables(self) -> Iterator[pa.Table]:
        first: pa.Schema | None = None
        for file in self._files:
            with reading(file.label):
                for table in self._read(file.unpacked()):
                    if first is None:
                        first = table.schema
                        self._names = self._names or first.names
                    if not table.schema.equals(first):
                        raise SourceError(f"{file.label}: {_difference(table.schema, first, self._files[0].label)}")
                    yield self._whole(file, table.replace_schema_metadata(first.metadata))

    @abstractmethod
    def _read(self, path: Path) -> Iterator[pa.Table]: ...


class ParquetReader(_ColumnarReader):
    """Parquet files, of which a batch of rows is decoded at a time."""

    def _read(self, path: Path) -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as file:
            self._names = file.schema_arrow.names
            wanted = [name for name in self._names if name not in self._wishes.dropped]
            schema = pa.schema([file.schema_arrow.field(name) for name in wanted], file.schema_arrow.metadata)
            # A column of structs has several leaves, which are asked for together by the name of the column.
            for batch in file.iter_batches(_ROWS, columns=wanted):
                yield pa.Table.from_batches([batch]).select(wanted).cast(schema)
            if not file.metadata.num_rows:
                yield schema.empty_table()


class ArrowReader(_ColumnarReader):
    """Arrow IPC files (Feather version 2) and streams, of which the disk's pages are used in place."""

    def _read(self, path: Path) -> Iterator[pa.Table]:
        with path.open("rb") as file:
            head = file.read(6)
        if head.startswith(b"FEA1"):
            raise SourceError(f"{path.name}: Feather version 1 isn't supported; save it as version 2 or as Parquet")
        with pa.memory_map(str(path)) as source:
            if head == b"ARROW1":
                with pa.ipc.open_file(source) as reader:
                    for index in range(reader.num_record_batches):
                        yield from _slices(reader.get_batch(index))
                    if not reader.num_record_batches:
                        yield reader.schema.empty_table()
            else:
                with pa.ipc.open_stream(source) as stream:
                    for batch in stream:
                        yield from _slices(batch)


def _slices(batch: pa.RecordBatch) -> Iterator[pa.Table]:
    table = pa.Table.from_batches([batch])
    for start in range(0, max(1, len(table)), _ROWS):
        yield table.slice(start, _ROWS)


def _difference(schema: pa.Schema, first: pa.Schema, label: str) -> str:
    """What tells two schemas apart, in words."""
    for name in first.names:
        if name not in schema.names:
            return f"has no column {name!r}, {label} has; files read together need the same columns"
    for name in schema.names:
        if name not in first.names:
            return f"has the column {name!r}, {label} hasn't; files read together need the same columns"
    for theirs in first:
        ours = schema.field(theirs.name)
        if not ours.equals(theirs):
            return (
                f"has the column {ours.name!r} as {_described(ours)}, {label} as {_described(theirs)}; "
                "files read together need the same columns"
            )
    return f"has its columns in another order than {label}; files read together need the same columns"


def _described(field: pa.Field) -> str:
    return f"{field.type}" if field.nullable else f"{field.type} without missing values"
