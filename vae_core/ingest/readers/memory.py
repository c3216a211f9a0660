"""Tables in memory: a pandas DataFrame, an Arrow table, and what hands its rows to Arrow as one."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa

from vae_core.errors import SourceError
from vae_core.ingest.faults import one_line
from vae_core.ingest.readers.base import Rejected, Wishes
from vae_core.ingest.types import check_names

_ROWS = 1 << 17


class TableReader:
    """An Arrow table, read in slices."""

    def __init__(
        self,
        table: pa.Table,
        label: str = "the table",
        notes: list[str] | None = None,
        columns: list[str] | None = None,
    ) -> None:
        self.label = label
        self.rejected: deque[Rejected] = deque()
        self.notes = notes or []
        self.columns = columns or table.schema.names
        self._table = table

    def digest(self) -> str:
        """sha256 of the schema and the values."""
        hashed = hashlib.sha256()
        for table in self.tables():
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            hashed.update(sink.getvalue())
        return hashed.hexdigest()

    def tables(self) -> Iterator[pa.Table]:
        """All rows; see `Reader.tables`."""
        for start in range(0, max(1, len(self._table)), _ROWS):
            yield self._table.slice(start, _ROWS)


@runtime_checkable
class ArrowStream(Protocol):
    """What hands its rows to Arrow (PyCapsule interface): a pyarrow Table, a polars DataFrame, a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """An ArrowArrayStream, in a capsule."""


def stream_reader(source: ArrowStream) -> TableReader:
    """Read a table in memory.

    Raises:
        SourceError: it is none.
    """
    if not isinstance(source, ArrowStream):
        raise SourceError(
            f"a {type(source).__name__} is no table: give a pandas or polars DataFrame, a pyarrow Table, or a path"
        )
    return TableReader(pa.table(source))


def frame_reader(frame: pd.DataFrame, wishes: Wishes) -> TableReader:
    """Read a DataFrame so that the output's pandas dtypes are those of the frame.

    Raises:
        SourceError: names repeat, a column holds several types, or values that Arrow has no type for.
    """
    label = "the DataFrame"
    notes = []
    columns = [str(name) for name in frame.columns]
    if frame.columns.nlevels > 1:
        raise SourceError(f"{label}: columns have {frame.columns.nlevels} levels; give them one name each")
    check_names(columns, label)
    if not (isinstance(frame.index, pd.RangeIndex) and frame.index.name is None):
        notes.append(f"{label}'s index is left out; reset_index() makes it a column")
    frame = frame.drop(columns=[name for name in frame.columns if str(name) in wishes.dropped])
    for name in frame.columns:
        if frame[name].dtype == object:
            frame = _one_type(frame, name, label, as_text=str(name) in wishes.text)
    try:
        return TableReader(pa.Table.from_pandas(frame, preserve_index=False), label, notes, columns)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SourceError(f"{label}: can't be read as an Arrow table: {one_line(error)}") from None


def _one_type(frame: pd.DataFrame, name: Any, label: str, *, as_text: bool) -> pd.DataFrame:
    """Refuse a column of objects of several types; numbers that the user calls levels become strings."""
    present = frame[name].dropna()
    types = Counter(type(value) for value in present)
    if len(types) < 2 or all(issubclass(kind, int | float) and kind is not bool for kind in types):
        return frame
    if as_text:
        return frame.assign(**{name: frame[name].map(str, na_action="ignore")})
    try:
        pa.array(present, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        usual = types.most_common(1)[0][0]
        missing = frame[name].isna()
        row = next(i for i, value in enumerate(frame[name]) if not missing.iloc[i] and type(value) is not usual)
        odd = frame[name].iloc[row]
        raise SourceError(
            f"{label}: mixed types in column {name!r}: most values are {usual.__name__}, row {row + 1} has "
            f"{str(odd)[:40]!r}; convert the column, or set schema.columns.{name}.kind: categorical"
        ) from None
    return frame
