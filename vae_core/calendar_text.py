"""Dates and moments that a table holds as text: read to be learned, and written as they were."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vae_core.schema import Kind

FORMATS = {
    "%Y-%m-%d": Kind.DATE,
    "%Y-%m-%d %H:%M:%S": Kind.TIMESTAMP,
    "%Y-%m-%dT%H:%M:%S": Kind.TIMESTAMP,
    "%Y-%m-%d %H:%M": Kind.TIMESTAMP,
    "%Y-%m-%dT%H:%M": Kind.TIMESTAMP,
}


def format_of(text: str) -> str | None:
    """The one of `FORMATS` in which a date or a moment is written, if any."""
    value = pa.array([text])
    return next((form for form in FORMATS if follows(value, form)), None)


def follows(values: pa.Array | pa.ChunkedArray, form: str) -> bool:
    """Whether every value that isn't missing is exactly what `write` makes of what `read` reads."""
    values = values.drop_null().cast(pa.string())
    again = write(read(values, form), form, pa.string())
    return bool(again.null_count == 0 and pc.all(pc.equal(again, values), min_count=0).as_py())


def read(values: pa.Array | pa.ChunkedArray, form: str) -> pa.Array | pa.ChunkedArray:
    """Text as date32 or timestamp[s]; missing where it isn't of this form."""
    moments = pc.strptime(values.cast(pa.string()), format=form, unit="s", error_is_null=True)
    return moments.cast(pa.date32()) if FORMATS[form] is Kind.DATE else moments


def write(moments: pa.Array | pa.ChunkedArray, form: str, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Inverse of `read`, as text of type `kind`; a dictionary stays one."""
    if pa.types.is_dictionary(moments.type):
        levels = write(moments.dictionary, form, pa.string())
        return pa.DictionaryArray.from_arrays(moments.indices, levels)
    return pc.strftime(moments, format=form, locale="C").cast(kind)
