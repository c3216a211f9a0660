"""What the user says about columns: checked against the columns there are, and applied to their values."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_core.config import SchemaConfig, nearest
from vae_core.errors import ConfigError
from vae_core.ingest.infer import infer_kind
from vae_core.ingest.profile import MAX_LEVELS, ColumnProfile
from vae_core.ingest.types import is_text
from vae_core.schema import Column, Kind
from vae_core.text_forms import kind_of

_GAUSSIAN = (Kind.REAL, Kind.INTEGER, Kind.DECIMAL, Kind.DURATION)
_OWN_TYPE: dict[Kind, Callable[[pa.DataType], bool]] = {
    Kind.BOOLEAN: pt.is_boolean,
    Kind.INTEGER: pt.is_integer,
    Kind.REAL: pt.is_floating,
    Kind.DECIMAL: pt.is_decimal,
    Kind.TIMESTAMP: pt.is_timestamp,
    Kind.DATE: pt.is_date,
    Kind.TIME: pt.is_time,
    Kind.DURATION: pt.is_duration,
}
# Kinds that values of another type can be read as: which types, and the Arrow types to try in turn.
_READ_AS: dict[Kind, tuple[tuple[Callable[[pa.DataType], bool], ...], tuple[pa.DataType, ...]]] = {
    Kind.BOOLEAN: ((is_text, pt.is_integer), (pa.bool_(),)),
    Kind.INTEGER: ((is_text, pt.is_floating, pt.is_decimal), (pa.int64(),)),
    Kind.REAL: ((is_text, pt.is_integer, pt.is_decimal), (pa.float64(),)),
    Kind.TIMESTAMP: ((is_text, pt.is_date), (pa.timestamp("us"), pa.timestamp("us", "UTC"))),
    Kind.DATE: ((is_text, pt.is_timestamp), (pa.date32(),)),
    Kind.TIME: ((is_text,), (pa.time64("us"),)),
}


class Overrides:
    """The user's word on columns, bound to the schema that a source has.

    Raises:
        ConfigError: a column isn't there, or can't be of the kind that is asked for.
    """

    def __init__(self, config: SchemaConfig, schema: pa.Schema, available: list[str]) -> None:
        for name in config.columns:
            if name not in available:
                raise ConfigError(f"schema.columns: the source has no column {name!r}; {nearest(name, available)}")
        self._config = config.columns
        self._casts: dict[str, tuple[pa.DataType, ...]] = {}
        self._row = 0
        for name, column in config.columns.items():
            if column.drop or column.kind is None or column.kind not in _OWN_TYPE:
                continue
            found = _plain(schema.field(name).type)
            if _OWN_TYPE[column.kind](found) or pt.is_null(found):
                continue
            accepted, targets = _READ_AS.get(column.kind, ((), ()))
            if not any(check(found) for check in accepted):
                raise ConfigError(_impossible(name, column.kind, f"its values are of type {found}"))
            self._casts[name] = targets

    def is_categorical(self, name: str) -> bool:
        """Whether the user says that a column's values are levels."""
        return name in self._config and self._config[name].kind is Kind.CATEGORICAL

    def apply(self, table: pa.Table) -> pa.Table:
        """The rows with values cast to the kinds that were asked for.

        Raises:
            ConfigError: a value can't be; the message names its row.
        """
        for name in self._casts:
            index = table.schema.get_field_index(name)
            column = self._cast(name, table.column(index))
            table = table.set_column(index, table.schema.field(index).with_type(column.type), column)
        self._row += len(table)
        return table

    def _cast(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        targets = self._casts[name]
        kind = self._config[name].kind
        assert kind is not None
        column = column.cast(_plain(column.type))
        if is_text(column.type):
            column = pc.utf8_trim_whitespace(column)
            if kind in (Kind.INTEGER, Kind.REAL):
                column = pc.replace_substring_regex(column, r"^\+", "")
        for target in targets:
            if (cast := _cast(column, target)) is not None:
                self._casts[name] = (target,)  # a column has one type: what fits the first values must fit all
                return cast
        row = next(
            i
            for i, value in enumerate(column)
            if _cast(pa.chunked_array([[value.as_py()]], column.type), targets[0]) is None
        )
        raise ConfigError(_impossible(name, kind, f"row {self._row + row + 1} has {str(column[row].as_py())[:40]!r}"))

    def column(self, profile: ColumnProfile) -> Column:
        """What a column is, by the user's word or else by its values.

        Raises:
            ConfigError: the column's values don't allow what was asked for.
        """
        name = profile.field.name
        kind, reason = infer_kind(profile)
        wanted = self._config.get(name)
        if wanted is not None and wanted.kind is not None:
            if wanted.kind != kind and (fault := _fault(profile, wanted.kind, kind)):
                raise ConfigError(_impossible(name, wanted.kind, fault))
            if kind not in (Kind.EMPTY, Kind.CONSTANT):
                kind, reason = wanted.kind, f"set by the configuration (inferred: {kind}, {reason})"
        likelihood = wanted.likelihood if wanted is not None else "categorical"
        if likelihood == "gaussian" and kind not in (*_GAUSSIAN, Kind.EMPTY, Kind.CONSTANT):
            raise ConfigError(
                f"schema.columns.{name}: a gaussian likelihood needs numbers, and the column is {kind}; "
                "leave likelihood out"
            )
        text = profile.written
        if text is not None and kind is not kind_of(text):
            text = None
        return Column(name, kind, reason, profile.nulls, profile.distinct, likelihood, text)


def without_columns(metadata: dict[bytes, bytes] | None, dropped: set[str]) -> dict[bytes, bytes] | None:
    """Schema metadata whose pandas part doesn't speak of columns that were dropped."""
    if not metadata or b"pandas" not in metadata or not dropped:
        return metadata
    pandas = json.loads(metadata[b"pandas"])
    pandas["columns"] = [column for column in pandas["columns"] if column.get("field_name") not in dropped]
    pandas["index_columns"] = [index for index in pandas["index_columns"] if str(index) not in dropped]
    return metadata | {b"pandas": json.dumps(pandas).encode()}


def _fault(profile: ColumnProfile, wanted: Kind, inferred: Kind) -> str:
    """Why the values of a column don't allow a kind, or nothing. Types were checked and cast before."""
    found = _plain(profile.field.type)
    if wanted is Kind.EMPTY:
        return "it has values"
    if wanted is Kind.CONSTANT:
        return "its values differ"
    if wanted is Kind.CATEGORICAL and (profile.distinct is None or profile.distinct > MAX_LEVELS):
        return f"it has more than {MAX_LEVELS:,} distinct values"
    if wanted is Kind.IDENTIFIER and not (is_text(found) or pt.is_integer(found)) and inferred is not Kind.EMPTY:
        return f"identifiers are strings or whole numbers, its values are of type {found}"
    return ""


def _cast(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray | None:
    """The values as `target`, or `None` when one of them can't be."""
    try:
        if pt.is_time(target):  # Arrow doesn't cast strings to times
            values = [None if value is None else time.fromisoformat(value) for value in column.to_pylist()]
            return pa.chunked_array([pa.array(values, target)])
        if (
            pt.is_boolean(target)
            and pt.is_integer(column.type)
            and not pc.all(pc.is_in(column, pa.array([0, 1, None], column.type))).as_py()
        ):
            return None
        cast = column.cast(target)
        if pt.is_date(target) and pt.is_timestamp(column.type) and not cast.cast(column.type).equals(column):
            return None  # Arrow cuts the time of day off in silence
        return cast
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        return None


def _plain(found: pa.DataType) -> pa.DataType:
    return found.value_type if pt.is_dictionary(found) else found


def _impossible(name: str, kind: Kind, why: str) -> str:
    return f"schema.columns.{name}.kind: {kind} is impossible: {why}"
