"""The result of a SQL query, through SQLAlchemy.

A query is run once: its rows are spooled to a temporary file in Arrow's format, since a second run may give others, and
the digest has to be known before anything is written to the store.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.types as pt

from vae_core.config import SourceConfig
from vae_core.errors import ConfigError, MissingDependencyError, SourceError
from vae_core.ingest.faults import one_line
from vae_core.ingest.folders import Scratch
from vae_core.ingest.readers.base import MixedColumn, Rejected, Wishes
from vae_core.ingest.types import check_names, is_text, join

_ROWS = 20_000
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class SqlReader:
    """Runs a query and reads its rows."""

    def __init__(self, config: SourceConfig, wishes: Wishes, scratch: Scratch) -> None:
        self.label = "the query"
        self.rejected: deque[Rejected] = deque()
        self.notes: list[str] = []
        self.columns: list[str] = []
        self._config = config
        self._wishes = wishes
        self._spool: Path = scratch() / "query"
        self._schema: pa.Schema | None = None
        self._mixed: set[str] = set()

    def digest(self) -> str:
        """sha256 of the rows. Runs the query."""
        hashed = hashlib.sha256()
        for table in self.tables():
            for batch in table.to_batches():
                hashed.update(batch.serialize())
        return hashed.hexdigest()

    def tables(self) -> Iterator[pa.Table]:
        """All rows; see `Reader.tables`."""
        if self._schema is None:
            self._schema = self._fetch()
        mixed = {name: MixedColumn(name) for name in self._mixed - self._wishes.text}
        with pa.memory_map(str(self._spool)) as source:
            while source.tell() < source.size():
                with pa.ipc.open_stream(source) as stream:
                    for batch in stream:
                        table = pa.Table.from_batches([batch]).cast(self._schema)
                        for name, column in mixed.items():
                            column.add(table.column(name))
                        yield table
        for column in mixed.values():
            column.check(self.label)

    def _fetch(self) -> pa.Schema:
        """Run the query into the spool: a stream for each stretch of rows with the same types."""
        try:
            import sqlalchemy
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError:
            raise MissingDependencyError("a SQL source needs SQLAlchemy: pip install 'vaesynth[cpu]'") from None
        assert self._config.url is not None
        assert self._config.query is not None
        url = _expanded(self._config.url)
        password = None
        try:
            address = sqlalchemy.make_url(url)
            password = address.password
            self.label = f"the query on {address.render_as_string(hide_password=True)}"
            if address.get_backend_name() == "sqlite":
                _check_exists(address.database or ":memory:", self.label)
            engine = sqlalchemy.create_engine(address)
            try:
                with engine.connect().execution_options(stream_results=True, yield_per=_ROWS) as connection:
                    result = connection.execute(sqlalchemy.text(self._config.query))
                    if not result.returns_rows:
                        raise SourceError(f"{self.label}: the query returns no rows; it has to be a SELECT")
                    return self._write(list(result.keys()), result.partitions(_ROWS))
            finally:
                engine.dispose()
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError):
                reason = f"the database driver {error.name!r} isn't installed"
            else:
                reason = one_line(getattr(error, "orig", None) or str(error).partition("\n")[0])
            if password:
                reason = reason.replace(password, "***")
            raise SourceError(f"{self.label}: {reason}") from None

    def _write(self, names: list[str], partitions: Iterator[Sequence[Sequence[Any]]]) -> pa.Schema:
        check_names(names, self.label, "; rename it with AS")
        self.columns = names
        wanted = [(i, name) for i, name in enumerate(names) if name not in self._wishes.dropped]
        types: dict[str, pa.DataType] = dict.fromkeys((name for _, name in wanted), pa.null())
        writer: pa.ipc.RecordBatchStreamWriter | None = None
        schema = pa.schema([])
        with self._spool.open("wb") as file:
            for rows in partitions:
                arrays = [self._array(name, [row[i] for row in rows]) for i, name in wanted]
                batch = pa.record_batch(arrays, names=list(types))
                for name, array in zip(types, arrays, strict=True):
                    joined = join(types[name], array.type)
                    if is_text(joined) and not all(is_text(t) or pt.is_null(t) for t in (types[name], array.type)):
                        self._mixed.add(name)
                    types[name] = joined
                if writer is None or not batch.schema.equals(schema):
                    if writer is not None:
                        writer.close()
                    writer, schema = pa.ipc.new_stream(file, batch.schema), batch.schema
                writer.write_batch(batch)
            if writer is None:
                raise SourceError(f"{self.label}: the query gives no rows")
            writer.close()
        return pa.schema(types.items())

    def _array(self, name: str, values: list[Any]) -> pa.Array:
        """One column of a stretch of rows; strings where the database gave several types."""
        if any(isinstance(value, UUID) for value in values):
            values = [None if value is None else str(value) for value in values]
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            self._mixed.add(name)
            return pa.array([None if value is None else str(value) for value in values])


def _check_exists(database: str, label: str) -> None:
    """SQLite makes an empty database of a mistyped name; refuse it instead."""
    if database != ":memory:" and not database.startswith("file:") and not Path(database).is_file():
        raise SourceError(f"{label}: there is no file {database}")


def _expanded(url: str) -> str:
    """`url` with `${NAME}` read from the environment.

    Raises:
        ConfigError: a variable isn't set.
    """

    def value(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise ConfigError(f"source.url: the environment variable {match[1]} isn't set") from None

    return _VARIABLE.sub(value, url)
