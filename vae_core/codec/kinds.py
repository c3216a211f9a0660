"""Which form each kind of column takes. A new kind is one form (or filler) in its own file and one line in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.fillers import Constant, Filler
from vae_core.codec.forms import DecimalForm, FloatForm, Form, IntegerForm, LevelForm
from vae_core.codec.identifiers import Identifier
from vae_core.codec.temporal import CalendarForm, TimeForm
from vae_core.config import CodecConfig
from vae_core.errors import ConfigError
from vae_core.schema import Column, Kind

Fit = Callable[[pa.Array, pa.Field, Column, int, CodecConfig], Form | Filler]


def _levels(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    return LevelForm(field.type)


def _number(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    kind = field.type
    if pa.types.is_decimal(kind):
        return DecimalForm(kind) if storage.unscaled(array)[1] else LevelForm(kind)
    if pa.types.is_floating(kind):
        return FloatForm(kind)
    if pa.types.is_integer(kind) or pa.types.is_duration(kind):
        return IntegerForm(kind)
    raise _impossible(field, column)


def _calendar(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    if not (pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)):
        raise _impossible(field, column)
    return CalendarForm.fit(array, config.max_leaves)


def _time(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    if not pa.types.is_time(field.type):
        raise _impossible(field, column)
    return TimeForm(field.type)


def _identifier(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    return Identifier.fit(array, field.name, rows)


def _constant(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    # a constant that is sometimes missing is a column of two codes
    return LevelForm(field.type) if array.null_count else Constant(array.slice(0, 1))


def _null(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    return Constant.null(field)


KINDS: dict[Kind, Fit] = {
    Kind.CATEGORICAL: _levels,
    Kind.BOOLEAN: _levels,
    Kind.INTEGER: _number,
    Kind.REAL: _number,
    Kind.DECIMAL: _number,
    Kind.DURATION: _number,
    Kind.TIMESTAMP: _calendar,
    Kind.DATE: _calendar,
    Kind.TIME: _time,
    Kind.IDENTIFIER: _identifier,
    Kind.TEXT: _null,
    Kind.CONSTANT: _constant,
    Kind.EMPTY: _null,
}

_FORMS: dict[str, type[Form]] = {
    form.tag: form for form in (IntegerForm, FloatForm, DecimalForm, LevelForm, CalendarForm, TimeForm)
}


def fit_column(array: pa.Array, field: pa.Field, column: Column, rows: int, config: CodecConfig) -> Form | Filler:
    """The form of one column.

    Args:
        array: its training values.
        field: its name and Arrow type.
        column: its kind.
        rows: rows of the whole source.
        config: the codec's configuration.

    Raises:
        ConfigError: a column of this type can't be of this kind.
    """
    if array.null_count == len(array):
        return Constant.null(field)
    return KINDS[column.kind](array, field, column, rows, config)


def column_from_dict(data: dict[str, Any]) -> Form | Filler:
    """Inverse of a form's or a filler's `to_dict`."""
    if data["form"] == Identifier.tag:
        return Identifier.from_dict(data)
    if data["form"] == Constant.tag:
        return Constant.from_dict(data)
    return _FORMS[data["form"]](storage.type_from_json(data["type"]), tuple(data["parts"]))


def _impossible(field: pa.Field, column: Column) -> ConfigError:
    return ConfigError(f"column {field.name!r}: its type {field.type} can't be of kind {column.kind.value}")
