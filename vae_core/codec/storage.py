"""Arrow arrays ↔ numpy: the integers and floats that a column is stored as, and where it is missing."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

_SIGN = np.uint64(1 << 63)


def missing_mask(array: pa.Array) -> Bools | None:
    """Where `array` is null, bool [n]; `None` when nothing is."""
    if array.null_count == 0:
        return None
    return np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False))


def is_integral(kind: pa.DataType) -> bool:
    """Whether a column of this type is stored as integers of at most 64 bits (dates, times and durations are)."""
    return bool(pa.types.is_integer(kind) or pa.types.is_temporal(kind)) and not pa.types.is_interval(kind)


def in_parquet(kind: pa.DataType) -> pa.DataType:
    """The type that a snapshot has instead of this one: Parquet has no seconds, and rows can't be taken of views."""
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.time32("ms") if kind == pa.time32("s") else kind


def _word(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind):
        return kind
    return pa.int32() if kind.bit_width == 32 else pa.int64()


def integers(array: pa.Array) -> Ints:
    """The stored integers of `array`, int64 [n]; 0 where missing. uint64 is moved by 2^63, which keeps its order."""
    word = _word(array.type)
    stored = array if array.type == word else array.view(word)
    if stored.null_count:
        stored = pc.fill_null(stored, 0)
    values = np.asarray(stored.to_numpy(zero_copy_only=False))
    if values.dtype == np.uint64:
        return np.asarray((values ^ _SIGN).view(np.int64))
    return values.astype(np.int64, copy=False)


def from_integers(values: Ints, missing: Bools | None, kind: pa.DataType) -> pa.Array:
    """Inverse of `integers`; values outside the type's range are clipped to it."""
    word = _word(kind)
    dtype = np.dtype(word.to_pandas_dtype())
    if dtype == np.uint64:
        stored: Array = values.view(np.uint64) ^ _SIGN
    elif dtype == np.int64:
        stored = values
    else:
        limits = np.iinfo(dtype)
        stored = np.clip(values, limits.min, limits.max).astype(dtype)
    array = from_numbers(stored, word, missing)
    return array if kind == word else array.view(kind)


def from_numbers(values: Array, kind: pa.DataType, missing: Bools | None) -> pa.Array:
    """Numbers [n] of the width of `kind`, null where `missing`: what pa.array does, which imports pandas first."""
    validity = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    data = np.ascontiguousarray(values, np.dtype(kind.to_pandas_dtype()))
    return pa.Array.from_buffers(kind, len(data), [validity, pa.py_buffer(data)])


def floats(array: pa.Array) -> Array:
    """The floats of `array` in its own width [n]; 0 where missing."""
    if array.null_count:
        array = pc.fill_null(array, 0.0) if not pa.types.is_float16(array.type) else _fill_half(array)
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _fill_half(array: pa.Array) -> pa.Array:
    return pc.fill_null(array.cast(pa.float32()), 0.0).cast(pa.float16())


def unscaled(array: pa.Array) -> tuple[Ints, bool]:
    """The unscaled integers of a decimal array, int64 [n], 0 where missing; and whether all of them fit in 64 bits.

    Those that don't fit are clipped.
    """
    width = array.type.bit_width // 64
    if width == 0:  # decimal32
        return integers(array.view(pa.int32())), True
    words = np.frombuffer(array.buffers()[1], dtype="<i8").reshape(-1, width)[array.offset : array.offset + len(array)]
    missing = missing_mask(array)
    if missing is not None:
        words = np.where(missing[:, None], 0, words)
    values = words[:, 0].copy()
    beyond = (words[:, 1:] != (values >> 63)[:, None]).any(axis=1)
    values[beyond] = np.where(words[beyond, -1] < 0, np.iinfo(np.int64).min, np.iinfo(np.int64).max)
    return values, not bool(beyond.any())


def from_unscaled(values: Ints, missing: Bools | None, kind: pa.DataType) -> pa.Array:
    """Inverse of `unscaled`."""
    width = kind.bit_width // 64
    if width == 0:
        return from_integers(values, missing, pa.int32()).view(kind)
    words = np.repeat(values[:, None], width, axis=1)
    words[:, 1:] >>= 63
    validity = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(np.ascontiguousarray(words))])


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """`column` as one array."""
    if isinstance(column, pa.ChunkedArray):
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # no chunk at all, or more than 2 GiB of text
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)
    return column


def as_type(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """`array` in the type `kind`; either may be a dictionary of any values."""
    if array.type == kind:
        return array
    if not pa.types.is_dictionary(kind):
        plain = array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array
        return plain.cast(kind)
    encoded = array.cast(kind.value_type).dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        encoded.indices.cast(kind.index_type), encoded.dictionary, ordered=kind.ordered
    )


def array_to_json(array: pa.Array) -> dict[str, Any]:
    """`array` as JSON types: a list for text and signed integers, else the base64 of its Arrow IPC stream.

    The same for equal arrays: digests are made of it.
    """
    if pa.types.is_string(array.type) or pa.types.is_signed_integer(array.type):
        return {"type": str(array.type), "values": array.to_pylist()}
    # Of a slice, and of a view, Arrow writes some of what lies beside it in memory, too.
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string()).cast(array.type)
    else:
        array = array.take(from_numbers(np.arange(len(array)), pa.int64(), None))
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([array], names=["values"])
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return {"type": "ipc", "values": base64.b64encode(sink.getvalue().to_pybytes()).decode("ascii")}


def array_from_json(data: dict[str, Any]) -> pa.Array:
    """Inverse of `array_to_json`."""
    if data["type"] != "ipc":
        return pa.array(data["values"], type=pa.type_for_alias(data["type"]))
    table = pa.ipc.open_stream(base64.b64decode(data["values"])).read_all()
    return whole(table.column(0))


def type_to_json(kind: pa.DataType) -> str:
    """An Arrow type as the base64 of an IPC schema message, which keeps time zones, scales and dictionaries."""
    schema = pa.schema([pa.field("x", kind)])
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def type_from_json(data: str) -> pa.DataType:
    """Inverse of `type_to_json`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data))).field(0).type
