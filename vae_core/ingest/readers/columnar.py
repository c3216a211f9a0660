"""Formats that carry their own Arrow schema: Parquet, Arrow IPC (files, streams, Feather)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from vae_core.errors import SourceError
from vae_core.ingest.faults import reading
from vae_core.ingest.readers.base import FilesReader
from vae_core.ingest.sources import SourceFile
from vae_core.ingest.types import check_names, is_text

_ROWS = 1 << 16


class _ColumnarReader(FilesReader):
    """Reads files that have the same columns, batch by batch."""

    def _tables(self) -> Iterator[pa.Table]:
        """Rows of small files are given together: each table costs as much as some thousand rows."""
        waiting: list[pa.Table] = []
        rows = 0
        for table in self._each():
            waiting.append(table)
            rows += len(table)
            if rows >= _ROWS:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting, rows = [], 0
        if waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    def _each(self) -> Iterator[pa.Table]:
        schema = self._common()
        for file in self._files:
            with reading(file.label):
                for table in self._read(file.unpacked(), schema.names):
                    try:
                        same = table.select(schema.names).cast(schema)
                    except pa.ArrowInvalid:  # a whole number that no float is equal to
                        raise SourceError(
                            f"{file.label}: {_difference(table.schema, schema, self._files[0].label)}"
                        ) from None
                    yield self._whole(file, same)

    def _common(self) -> pa.Schema:
        """The columns that are read, each of the narrowest type that holds what it is in every file."""
        common: pa.Schema | None = None
        for file in self._files:
            with reading(file.label):
                whole = self._schema(file.unpacked())
            check_names(whole.names, file.label)
            self._names = self._names or whole.names
            schema = pa.schema([field for field in whole if field.name not in self._wishes.dropped], whole.metadata)
            common = schema if common is None else self._joined(file, schema, common)
        assert common is not None
        return common

    def _joined(self, file: SourceFile, schema: pa.Schema, common: pa.Schema) -> pa.Schema:
        """`common`, wide enough for the `schema` of one more file."""
        if schema.equals(common):
            return common
        if set(schema.names) == set(common.names):
            with suppress(pa.ArrowException):
                wide = pa.unify_schemas([common, schema], promote_options="permissive")
                if not any(_loses(field.type, wide.field(field.name).type) for field in (*common, *schema)):
                    return wide
        raise SourceError(f"{file.label}: {_difference(schema, common, self._files[0].label)}")

    @abstractmethod
    def _schema(self, path: Path) -> pa.Schema: ...

    @abstractmethod
    def _read(self, path: Path, wanted: list[str]) -> Iterator[pa.Table]: ...


class ParquetReader(_ColumnarReader):
    """Parquet files, of which a batch of rows is decoded at a time."""

    def _schema(self, path: Path) -> pa.Schema:
        return pq.read_schema(path)

    def _read(self, path: Path, wanted: list[str]) -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as file:
            # A column of structs has several leaves, which are asked for together by the name of the column.
            for batch in file.iter_batches(_ROWS, columns=wanted):
                yield pa.Table.from_batches([batch])
            if not file.metadata.num_rows:
                yield file.schema_arrow.empty_table()


class ArrowReader(_ColumnarReader):
    """Arrow IPC files (Feather version 2) and streams, of which the disk's pages are used in place."""

    def _schema(self, path: Path) -> pa.Schema:
        with self._opened(path) as reader:
            return reader.schema

    def _read(self, path: Path, wanted: list[str]) -> Iterator[pa.Table]:
        with self._opened(path) as reader:
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                for index in range(reader.num_record_batches):
                    yield from _slices(reader.get_batch(index))
                if not reader.num_record_batches:
                    yield reader.schema.empty_table()
            else:
                for batch in reader:
                    yield from _slices(batch)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader]:
        with path.open("rb") as file:
            head = file.read(6)
        if head.startswith(b"FEA1"):
            raise SourceError(f"{path.name}: Feather version 1 isn't supported; save it as version 2 or as Parquet")
        with pa.memory_map(str(path)) as source:
            opened = pa.ipc.open_file(source) if head == b"ARROW1" else pa.ipc.open_stream(source)
            with opened as reader:
                yield reader


def _slices(batch: pa.RecordBatch) -> Iterator[pa.Table]:
    table = pa.Table.from_batches([batch])
    for start in range(0, max(1, len(table)), _ROWS):
        yield table.slice(start, _ROWS)


def _loses(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Whether Arrow widens a type to one that can't say all of it: decimals to floats, text to bytes."""
    return (pt.is_decimal(narrow) and not pt.is_decimal(wide)) or (is_text(narrow) and not is_text(wide))


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
                f"has the column {ours.name!r} as {_described(ours)}, other files as {_described(theirs)}; "
                "files read together need the same columns"
            )
    return f"has numbers that {label} can't hold; files read together need the same columns"


def _described(field: pa.Field) -> str:
    return f"{field.type}" if field.nullable else f"{field.type} without missing values"
