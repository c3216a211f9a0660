"""The numbers that codes leave open: where inside their bins the values of a row lie."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vae_core.codec.codec import Codec, read
from vae_core.codec.parts import GaussianPart
from vae_core.codec.relations import numbers
from vae_core.codec.storage import Array, Ints


def open_columns(codec: Codec) -> list[int]:
    """Indices of the columns whose codes say only about where a value lies."""
    found = {part.column for part in codec.parts if isinstance(part, GaussianPart) or part.position is not None}
    for low, high, *_ in codec.orders:  # they may change places
        if found & {low, high}:
            found |= {low, high}
    return sorted(found)


def numbers_of_rows(codec: Codec, table: pa.Table | pa.RecordBatch) -> Ints:
    """The bits of the numbers that rows have there, int64 [n, open columns]; 0 where missing."""
    return _bits([read(table, codec.schema.columns[k]) for k in open_columns(codec)], table.num_rows)


def numbers_of_draws(codec: Codec, codes: Array, position: Array) -> Ints:
    """The same of the rows that `codec.decode` makes of these codes [n, sub-columns] and positions [n, positions]."""
    plain = codec.joining.split(codes)
    columns = open_columns(codec)
    arrays = codec.learned(plain, codec.leaves(plain), position, columns)
    return _bits([arrays[k] for k in columns], len(codes))


def _bits(arrays: list[pa.Array], rows: int) -> Ints:
    found = np.empty((rows, len(arrays)), np.int64)
    for k, array in enumerate(arrays):
        values = numbers(array)
        found[:, k] = values if values.dtype == np.int64 else (values + 0.0).view(np.int64)  # -0 is 0
    return found
