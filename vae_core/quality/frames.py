"""Arrow tables as the metrics read them: numbers and categories, with missing values kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vae_core import text_forms
from vae_core.schema import Kind, Schema

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

_LEFT_OUT = {
    Kind.IDENTIFIER: "identifier: regenerated, not learned",
    Kind.TEXT: "free text: not learned",
    Kind.CONSTANT: "constant: a single value",
    Kind.EMPTY: "empty: no values",
}
_CATEGORIES = {Kind.CATEGORICAL, Kind.BOOLEAN}
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True)
class Feature:
    """A column that the metrics compare.

    Attributes:
        name: as in the source.
        kind: what it means.
        levels: the categories, most frequent in the first table first; empty for numbers.
    """

    name: str
    kind: Kind
    levels: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers (timestamps, dates, times and durations are, in nanoseconds)."""
        return self.kind not in _CATEGORIES


@dataclass(frozen=True)
class Frame:
    """Rows of one table.

    Attributes:
        features: the columns, F of them, the same in every frame that is compared.
        values: for each column, float64 [n] with NaN for missing, or int32 [n] codes of levels with -1 for missing.
        rows: n.
    """

    features: tuple[Feature, ...]
    values: tuple[Floats | Codes, ...]
    rows: int

    def take(self, index: npt.NDArray[np.int64]) -> Frame:
        """The rows at `index` (int64 [m]), in that order."""
        return Frame(self.features, tuple(v[index] for v in self.values), len(index))

    def sample(self, rows: int, seed: int) -> Frame:
        """At most `rows` rows, drawn without replacement."""
        if rows >= self.rows:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(self.rows)[:rows]))

    def numbers(self, i: int) -> Floats:
        """Float64 [n] of column `i`, NaN for missing; the codes of a category, as numbers."""
        values = self.values[i].astype(np.float64)
        if not self.features[i].numeric:
            values[values < 0] = np.nan
        return values

    def codes(self, i: int) -> Codes:
        """Int32 [n] of the categories of column `i`, -1 for missing."""
        return self.values[i].astype(np.int32)

    def missing(self, i: int) -> npt.NDArray[np.bool_]:
        """Bool [n]: where column `i` has no value."""
        values = self.values[i]
        return np.isnan(values) if self.features[i].numeric else values < 0


def stack(first: Frame, second: Frame) -> Frame:
    """The rows of `first`, then those of `second`."""
    values: list[Floats | Codes] = []
    for i, feature in enumerate(first.features):
        if feature.numeric:
            values.append(np.concatenate([first.numbers(i), second.numbers(i)]))
        else:
            values.append(np.concatenate([first.codes(i), second.codes(i)]))
    return Frame(first.features, tuple(values), first.rows + second.rows)


def within_extremes(frame: Frame, table: Frame, few: int) -> Frame:
    """`frame` with its numbers kept between the few-th smallest and largest of `table`, as `codec.extremes` does."""
    values: list[Floats | Codes] = []
    for i, feature in enumerate(frame.features):
        known = np.sort(table.numbers(i)) if feature.numeric else np.empty(0)
        known = known[~np.isnan(known)]
        if not len(known):
            values.append(frame.values[i])
            continue
        place = min(few, (len(known) + 1) // 2)
        values.append(np.clip(frame.numbers(i), known[place - 1], known[-place]))
    return Frame(frame.features, tuple(values), frame.rows)


def left_out(schema: Schema) -> list[dict[str, str]]:
    """The columns that no metric reads, each with the reason."""
    return [{"column": c.name, "reason": _LEFT_OUT[c.kind]} for c in schema.columns if c.kind in _LEFT_OUT]


def prepare(tables: Mapping[str, pa.Table], schema: Schema) -> dict[str, Frame]:
    """Turn tables of one schema into frames whose categories share their codes.

    Args:
        tables: by role; levels are ordered by their frequency in the first one.
        schema: says what each column is; identifiers, text, constant and empty columns are left out.

    Returns:
        A frame for each table, under the same key.
    """
    columns = [c for c in schema.columns if c.kind not in _LEFT_OUT]
    features: list[Feature] = []
    values: dict[str, list[Floats | Codes]] = {role: [] for role in tables}
    for column in columns:
        parts = [tables[role].column(column.name) for role in tables]
        levels: tuple[str, ...] = ()
        if column.kind in _CATEGORIES:
            codes, levels = _categories(parts)
            for role, part in zip(tables, codes, strict=True):
                values[role].append(part)
        else:
            for role, part in zip(tables, parts, strict=True):
                values[role].append(_numbers(part if column.text is None else text_forms.read(part, column.text)))
        features.append(Feature(column.name, column.kind, levels))
    return {role: Frame(tuple(features), tuple(values[role]), tables[role].num_rows) for role in tables}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without its dictionary."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _numbers(column: pa.ChunkedArray) -> Floats:
    """Float64 [n]; missing and infinite values are NaN, time is in nanoseconds."""
    column = _plain(column)
    kind, scale = column.type, 1
    if pa.types.is_date(kind):
        # both widths count from 1970: days in 32 bits, milliseconds in 64
        scale = 86_400 * 10**9 if pa.types.is_date32(kind) else 10**6
    elif pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        scale = _NANOSECONDS[kind.unit]
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    missing = column.is_null().to_numpy()
    filled = pc.cast(column, pa.float64(), safe=False).fill_null(0.0).to_numpy() * float(scale)
    return np.where(missing | ~np.isfinite(filled), np.nan, filled)


def _categories(parts: list[pa.ChunkedArray]) -> tuple[list[Codes], tuple[str, ...]]:
    """Codes of each part, int32 with -1 for missing, and the levels that they share."""
    plain = [_plain(part) for part in parts]
    chunks = [chunk.cast(plain[0].type) for part in plain for chunk in part.chunks]
    encoded = pa.chunked_array(chunks, plain[0].type).combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int32)
    levels = [str(level) for level in encoded.dictionary.to_pylist()]
    # one order whatever the order of the rows: what is drawn and what the trees see must not depend on it
    counts = np.bincount(codes[: len(parts[0])] + 1, minlength=len(levels) + 1)[1:]
    order = sorted(range(len(levels)), key=lambda k: (-counts[k], levels[k]))
    rank = np.full(len(levels) + 1, -1, np.int32)
    rank[order] = np.arange(len(levels), dtype=np.int32)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return list(np.split(rank[codes], ends)), tuple(levels[k] for k in order)
