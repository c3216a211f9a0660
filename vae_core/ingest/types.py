"""Which Arrow types columns of text get, and how two findings about one column are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.types as pt

from vae_core.errors import SourceError


class TypesWidened(Exception):  # noqa: N818 - a signal, not an error
    """The rows read so far were given too narrow a type: read the source again, from the start."""


def storable(found: pa.DataType) -> pa.DataType:
    """The type that Parquet gives back as it is: it has no seconds, so text without fractions gets milliseconds."""
    if pt.is_timestamp(found) and found.unit == "s":
        return pa.timestamp("ms", found.tz)
    if pt.is_time32(found):
        return pa.time32("ms")
    return found


def join(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The narrowest type that holds, without loss, all text that was found to be of type `a` or of type `b`.

    The types form a lattice whose bottom is null and whose top is string; each step of it is tested.
    """
    if a.equals(b) or pt.is_null(b):
        return a
    if pt.is_null(a):
        return b
    wider: pa.DataType = pa.string()
    if pt.is_timestamp(a) and pt.is_timestamp(b) and a.tz == b.tz:
        wider = max(a, b, key=lambda t: ("s", "ms", "us", "ns").index(t.unit))
    elif pt.is_decimal(a) and pt.is_decimal(b):
        wider = _decimal(a.precision - a.scale, a.scale, b)
    for x, y in ((a, b), (b, a)):
        if (pt.is_integer(x) and pt.is_floating(y)) or (pt.is_date32(x) and pt.is_timestamp(y) and y.tz is None):
            wider = y
        elif pt.is_integer(x) and pt.is_decimal(y):
            wider = _decimal(19, 0, y)
    return wider


def _decimal(whole: int, scale: int, other: pa.DataType) -> pa.DataType:
    """The decimal with at least `whole` digits before the point and `scale` after it, that also holds `other`."""
    scale = max(scale, other.scale)
    precision = max(whole, other.precision - other.scale) + scale
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(min(precision, 76), scale)


def check_names(names: Iterable[str], label: str, hint: str = "") -> None:
    """Refuse names that can't tell columns apart.

    Raises:
        SourceError: a name is empty or stands twice.
    """
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise SourceError(f"{label}: column {number} has no name{hint}")
        if name in seen:
            raise SourceError(f"{label}: columns {seen[name]} and {number} are both named {name!r}{hint}")
        seen[name] = number


def check_types(schema: pa.Schema, label: str) -> None:
    """Refuse columns that hold more than one value a row, or values that aren't modelled.

    Raises:
        SourceError: names the first such column.
    """
    for field in schema:
        value = field.type.value_type if pt.is_dictionary(field.type) else field.type
        if pt.is_nested(value):
            what = "is nested"
        elif not _supported(value):
            what = "isn't supported"
        else:
            continue
        raise SourceError(
            f"{label}: column {field.name!r} has type {field.type}, which {what}; "
            f"flatten it, or leave it out with schema.columns.{field.name}.drop: true"
        )


def is_text(found: pa.DataType) -> bool:
    """Whether values are strings, in any of Arrow's layouts."""
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


def without_dictionaries_of_views(found: pa.DataType) -> pa.DataType:
    """The type that Parquet can hold: no dictionary of views."""
    if pt.is_dictionary(found) and pt.is_string_view(found.value_type):
        return pa.dictionary(found.index_type, pa.string(), found.ordered)
    return found


def without_views(found: pa.DataType) -> pa.DataType:
    """The type in which text is kept: Arrow can't take rows of views."""
    return pa.string() if pt.is_string_view(found) else found


def recast(table: pa.Table, to: Callable[[pa.DataType], pa.DataType]) -> pa.Table:
    """`table` with each column in the type that `to` gives for its own."""
    for index, field in enumerate(table.schema):
        if (wanted := to(field.type)) != field.type:
            table = table.set_column(index, field.with_type(wanted), table.column(index).cast(wanted))
    return table


def _supported(found: pa.DataType) -> bool:
    plain = (
        pt.is_null,
        pt.is_boolean,
        pt.is_integer,
        pt.is_floating,
        pt.is_decimal,
        pt.is_temporal,
        is_text,
    )
    return any(check(found) for check in plain) and not pt.is_interval(found)
