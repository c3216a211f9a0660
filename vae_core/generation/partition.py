"""Rows by the value of some columns, in Hive's layout: `origin=JFK/part-00042.parquet`.

The files of a shard are written side by side, a row group at a time, into one scratch file, and copied out of it when
they are complete: so two files are open, however many partitions there are, and at most BUFFER rows wait for a row
group to be full. All of this depends on the shard's rows alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.codec import Codec
from vae_core.codec.forms import Form
from vae_core.codec.orders import among
from vae_core.codec.parts import Part
from vae_core.config import nearest
from vae_core.errors import ConfigError
from vae_core.generation.parquet import ROW_GROUP, ParquetFile
from vae_core.generation.shards import Folder, Shard

MAX_PARTITIONS = 1024
BUFFER = 4 * ROW_GROUP
NULL = "__HIVE_DEFAULT_PARTITION__"
_COPY = 8 << 20


def check_partitions(codec: Codec, columns: Sequence[str]) -> None:
    """Make sure that `columns` can name folders, and not too many of them.

    Raises:
        ConfigError: no such column, none is left for the files, or it has too many values.
    """
    names, count = codec.schema.arrow.names, 1
    for name in columns:
        if name not in names:
            raise ConfigError(f"partition_by: no column {name!r}; {nearest(name, names)}")
        if name.startswith(("_", ".")) or set(name) & set("/=%\\") or not name.isprintable():
            raise ConfigError(f"partition_by: column {name!r} can't name a folder that readers of Parquet understand")
        values = _values(codec, names.index(name))
        count *= len(values)
        folders = [f"{name}={_text(value)}" for value in values]
        if long := [folder for folder in folders if len(folder.encode()) > 255]:
            raise ConfigError(
                f"partition_by: column {name!r} has a value too long for a folder's name: {long[0][:60]}…"
            )
        if f"{name}={NULL}" in folders:
            raise ConfigError(f"partition_by: column {name!r} has the value {NULL}, which means missing")
    if len(set(columns)) < len(columns):
        raise ConfigError("partition_by: a column is named twice")
    if len(columns) == len(names):
        raise ConfigError("partition_by: no column is left for the files; name fewer")
    if count > MAX_PARTITIONS:
        raise ConfigError(
            f"partition_by: {' and '.join(map(repr, columns))} would make up to {count:,} folders; use columns "
            f"with at most {MAX_PARTITIONS:,} values (combinations of them, where there are several)"
        )


def _values(codec: Codec, column: int) -> list[str]:
    """All values that the model gives a column, as text."""
    name, form = codec.schema.columns[column].name, codec.forms[column]
    kind = codec.schema.columns[column].kind.value
    if not isinstance(form, Form):
        raise ConfigError(f"partition_by: column {name!r} is {kind}: it isn't learned, or is another in every row")
    plain = form.type.value_type if pa.types.is_dictionary(form.type) else form.type
    usable = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_date, pa.types.is_string, pa.types.is_large_string)
    own = [part for part in codec.parts if part.column == column]
    if not any(test(plain) for test in usable) or len(own) != 1 or not isinstance(own[0], Part):
        raise ConfigError(f"partition_by: column {name!r} is {kind} ({form.type}); use one with few distinct values")
    columns = among(column, codec.orders)
    sources = [part.leaves for part in codec.parts if part.column in columns and isinstance(part, Part)]
    if any(leaves.positioned for leaves in sources) or any(relation.column == column for relation in codec.relations):
        raise ConfigError(f"partition_by: column {name!r} is {kind} with too many values; use one with few")
    values = pa.concat_arrays(
        [form.join([leaves.decode(np.flatnonzero(leaves.allowed))], [leaves], None) for leaves in sources]
    )
    return [str(value) for value in values.unique().cast(pa.string()).to_pylist()]


def _text(value: str | None) -> str:
    return NULL if value is None else quote(value, safe="")


def split(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each folder that has some, in their order and without `columns`; folders in the order of values."""
    key = np.zeros(table.num_rows, np.int64)
    levels = []
    for name in columns:
        array = table[name].combine_chunks()
        if not pa.types.is_dictionary(array.type):
            array = pc.dictionary_encode(array)
        levels.append([*array.dictionary.cast(pa.string()).to_pylist(), None])
        codes = array.indices.cast(pa.int64()).fill_null(len(levels[-1]) - 1).to_numpy(zero_copy_only=False)
        key = key * len(levels[-1]) + codes
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    rest = table.drop_columns(list(columns)).take(pa.array(order))
    for of_folder, start, stop in zip(keys.tolist(), starts, [*starts[1:], len(order)], strict=True):
        folders, left = [], of_folder
        for name, of_column in zip(reversed(columns), reversed(levels), strict=True):
            left, code = divmod(left, len(of_column))
            folders.append(f"{name}={_text(of_column[code])}")
        yield "/".join(reversed(folders)), rest.slice(start, stop - start)


@dataclass
class _Sheet:
    """One file of a shard while it is written: where its bytes are in the scratch file. A file for pyarrow."""

    scratch: BinaryIO
    extents: list[tuple[int, int]] = field(default_factory=list)
    waiting: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    closed: bool = False
    file: ParquetFile | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        count = len(view)
        if self.scratch.closed:
            return count
        start = self.scratch.tell()
        while view:
            view = view[self.scratch.write(view) :]
        self.size += count
        self.extents.append((start, count))
        return count

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: the scratch file goes on."""

    @property
    def buffered(self) -> int:
        return sum(table.num_rows for table in self.waiting)


class Partitions:
    """The files of one shard, one a folder."""

    def __init__(self, folder: Folder, shard: Shard, schema: pa.Schema) -> None:
        """Begin a shard of rows of `schema`, the source's."""
        self._folder, self._shard, self._columns = folder, shard, folder.run.partition_by
        fields = [each for each in schema if each.name not in self._columns]
        self._schema = pa.schema(fields, schema.metadata)
        self._scratch = folder.place.scratch()
        self._sheets: dict[str, _Sheet] = {}

    def write(self, table: pa.Table) -> None:
        """Take rows, and write the row groups that are full."""
        for folder, rows in split(table, self._columns):
            self._sheets.setdefault(folder, _Sheet(self._scratch)).waiting.append(rows)
        waiting = sorted(self._sheets.values(), key=lambda sheet: -sheet.buffered)  # stable: the same for the same rows
        total = sum(sheet.buffered for sheet in waiting)
        for sheet in waiting:
            if sheet.buffered < ROW_GROUP and total <= BUFFER:
                break
            total -= sheet.buffered
            self._put(sheet)

    def _put(self, sheet: _Sheet) -> None:
        table = pa.concat_tables(sheet.waiting).unify_dictionaries()
        sheet.waiting.clear()
        if sheet.file is None:
            sheet.file = ParquetFile(sheet, self._folder.run, self._shard, self._schema, buffer=False)
        sheet.file.write(table)
        sheet.rows += table.num_rows

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete all files and give them their names; returns name → bytes, sha256 and rows."""
        files = {}
        for folder, sheet in sorted(self._sheets.items()):
            if sheet.waiting:
                self._put(sheet)
            assert sheet.file is not None
            sheet.file.finish()
            name = f"{folder}/{self._shard.file}"
            draft = self._folder.place.draft(name)
            try:
                for start, count in sheet.extents:
                    draft.write(os.pread(self._scratch.fileno(), count, start))
                draft.commit()
            finally:
                draft.discard()
            files[name] = {"bytes": draft.size, "sha256": draft.sha256, "rows": sheet.rows}
        self._scratch.close()
        return files

    def discard(self) -> None:
        """Forget what isn't finished."""
        self._scratch.close()
        for sheet in self._sheets.values():
            with suppress(OSError, pa.ArrowException):
                if sheet.file is not None:
                    sheet.file.close()
