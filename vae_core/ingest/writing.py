"""The pass over a source that writes a snapshot's files, counts what the columns hold, and keeps what is malformed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from vae_core.config import SchemaConfig
from vae_core.errors import SourceError
from vae_core.ingest.ahead import ahead
from vae_core.ingest.infer import nothing_to_learn
from vae_core.ingest.overrides import Overrides, without_columns
from vae_core.ingest.profile import ColumnProfile
from vae_core.ingest.readers import Reader, Rejected
from vae_core.ingest.types import (
    TypesWidened,
    check_names,
    check_types,
    is_text,
    recast,
    without_dictionaries_of_views,
    without_views,
)
from vae_core.progress import Progress
from vae_core.schema import Schema
from vae_core.store import to_json

DATA = "data/part-00000.parquet"
REJECTED = "rejected.parquet"
SCHEMA = "schema.json"
_ROW_GROUP = 1 << 15  # rows that wait for more are written when all else is done: so they are few
_ROW_GROUP_BYTES = 64 << 20


def write(
    reader: Reader,
    begun: Iterator[pa.Table] | None,
    config: SchemaConfig,
    folder: Path,
    max_rejected: float,
    progress: Progress,
) -> tuple[Schema, int]:
    """Write `data/`, `schema.json` and, where rows are malformed, `rejected.parquet` into `folder`.

    Args:
        reader: of the source.
        begun: its tables, where reading them has begun.
        config: the user's word on columns.
        folder: where the files are written.
        max_rejected: the share of malformed rows that is accepted.
        progress: told the rows written.

    Returns:
        The schema, and how many rows were malformed.

    Raises:
        SourceError: the source can't be read as a table, or nothing in it can be learned.
        ConfigError: the overrides don't fit the source.
    """
    while True:
        try:
            with ExitStack() as stack:
                tables = begun or stack.enter_context(ahead(reader.tables()))
                return _write_once(reader, tables, config, folder, max_rejected, progress)
        except TypesWidened:
            begun = None
            progress(0, note="types widened, reading again")


def _write_once(
    reader: Reader,
    tables: Iterator[pa.Table],
    config: SchemaConfig,
    folder: Path,
    max_rejected: float,
    progress: Progress,
) -> tuple[Schema, int]:
    profiles: list[ColumnProfile] = []
    nans: dict[str, int] = {}
    rows = 0
    with ExitStack() as stack:
        data = stack.enter_context(_DataFile(folder / DATA))
        thread = stack.enter_context(ThreadPoolExecutor(1, "vaesynth-parquet"))
        refused = stack.enter_context(_RejectedRows(folder / REJECTED))
        pending: Future[None] | None = None
        for read in tables:
            refused.take(reader)
            if not profiles:
                kept, overrides = _checked(read.schema, reader, config)
            table = recast(read.select(kept), without_dictionaries_of_views)
            table = _without_nans(overrides.apply(table), reader.label, nans)
            if not profiles:
                arrow = table.schema.with_metadata(
                    without_columns(table.schema.metadata, set(reader.columns) - set(kept))
                )
            table = recast(table, without_views)
            if not profiles:
                profiles = [
                    ColumnProfile(field, reader.label, levels=overrides.is_categorical(field.name))
                    for field in table.schema
                ]
            before, pending = pending, thread.submit(data.add, table.replace_schema_metadata(arrow.metadata))
            for profile, column in zip(profiles, table.columns, strict=True):
                profile.add(column)
            if before is not None:
                before.result()
            rows += len(table)
            progress(rows)
        if pending is not None:
            pending.result()
        refused.take(reader)
    refused.check(reader.label, rows, max_rejected)
    if rows < 2:
        raise SourceError(f"{reader.label}: has {'only one row' if rows else 'no rows'}; a distribution needs many")
    columns = tuple(overrides.column(profile) for profile in profiles)
    if nothing_to_learn([column.kind for column in columns]):
        listed = ", ".join(f"{column.name}: {column.kind}" for column in columns[:8]) + (
            ", …" if len(columns) > 8 else ""
        )
        raise SourceError(
            f"{reader.label}: there is nothing to learn, no column has a distribution ({listed}); "
            "if one should have, set its schema.columns.<name>.kind"
        )
    notes = [*reader.notes, *(f"{count:,} NaN in column {name!r} are read as missing" for name, count in nans.items())]
    if refused.count:
        notes.append(f"{reader.label}: {refused.count:,} malformed rows are kept aside in {REJECTED}")
    schema = Schema(arrow, columns, rows, tuple(notes))
    (folder / SCHEMA).write_bytes(to_json(schema.to_dict()))  # the store syncs all files of the folder at the end
    return schema, refused.count


def _checked(schema: pa.Schema, reader: Reader, config: SchemaConfig) -> tuple[list[str], Overrides]:
    """The names of the columns that are kept, and the user's word on them."""
    if not schema.names and not reader.columns:
        raise SourceError(f"{reader.label}: has no columns")
    check_names(schema.names, reader.label)
    names = [name for name in schema.names if not (name in config.columns and config.columns[name].drop)]
    kept = pa.schema([schema.field(name) for name in names])
    overrides = Overrides(config, kept, reader.columns)
    if not names:
        raise SourceError(f"{reader.label}: every column is dropped")
    check_types(kept, reader.label)
    return names, overrides


def _without_nans(table: pa.Table, label: str, nans: dict[str, int]) -> pa.Table:
    """NaN made missing, as pandas has it; counted by column in `nans`."""
    for index, field in enumerate(table.schema):
        if not pt.is_floating(field.type):
            continue
        column = table.column(index)
        found = pc.is_nan(column)
        if not (count := pc.sum(found).as_py()):
            continue
        if not field.nullable:
            raise SourceError(f"{label}: column {field.name!r} is declared to have no missing values and holds NaN")
        nans[field.name] = nans.get(field.name, 0) + count
        table = table.set_column(index, field, pc.if_else(found, pa.scalar(None, field.type), column))
    return table


class _DataFile:
    """The Parquet file of a snapshot, written in row groups that bound memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> _DataFile:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if not failed:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        self._waiting.append(table)
        rows = sum(map(len, self._waiting))
        if rows >= _ROW_GROUP or sum(waiting.nbytes for waiting in self._waiting) >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table, self._waiting = pa.concat_tables(self._waiting), []
        if self._writer is None:
            self._path.parent.mkdir(exist_ok=True)
            # Writing costs half as much as parsing, so each column gets what is quick for it: differences for whole
            # numbers, dictionaries where values repeat. Statistics serve nobody: a snapshot is read whole.
            whole = [field.name for field in table.schema if _is_whole(field.type)]
            repetitive = [name for name in table.schema.names if name not in whole and _repeats(table.column(name))]
            packed = {field.name for field in table.schema if is_text(field.type)}.union(repetitive)
            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                use_dictionary=repetitive,
                column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
                compression={name: "lz4" if name in packed else "none" for name in table.schema.names},
                write_statistics=False,
            )
        self._writer.write_table(table, row_group_size=max(1, len(table)))


def _is_whole(found: pa.DataType) -> bool:
    """Whether Parquet keeps values of a type as whole numbers."""
    return bool(pt.is_integer(found) or pt.is_temporal(found))


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether values repeat enough for a dictionary; those of a dictionary type keep theirs."""
    sample = column.slice(0, 20_000)
    return pt.is_dictionary(column.type) or len(sample.unique()) <= len(sample) / 2


class _RejectedRows:
    """The file of malformed rows; there is none when there are none."""

    _SCHEMA = pa.schema({"file": pa.string(), "line": pa.int64(), "fault": pa.string(), "text": pa.string()})

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._first: Rejected | None = None
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        path.unlink(missing_ok=True)

    def __enter__(self) -> _RejectedRows:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def take(self, reader: Reader) -> None:
        """Write what the reader has set aside since the last time."""
        rows = [reader.rejected.popleft() for _ in range(len(reader.rejected))]
        if not rows:
            return
        self.count += len(rows)
        self._first = self._first or rows[0]
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, self._SCHEMA)
        self._writer.write_table(pa.Table.from_pylist([vars(row) for row in rows], self._SCHEMA))

    def check(self, label: str, rows: int, limit: float) -> None:
        """Refuse the source when too many rows are malformed.

        Raises:
            SourceError: names the first of them.
        """
        if self._first is None or self.count <= limit * (rows + self.count):
            return
        first = self._first
        place = f"line {first.line}" if first.file == label else f"line {first.line} of {first.file}"
        raise SourceError(
            f"{label}: {self.count:,} of {rows + self.count:,} rows are malformed, more than source.max_rejected = "
            f"{limit:g} allows; the first is {place}: {first.fault}"
        )
