"""What is counted about a column while its rows stream by, in bounded memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from vae_core import text_forms
from vae_core.errors import SourceError
from vae_core.ingest.types import is_text

MAX_LEVELS = 50_000
ROWS_A_LEVEL = 5  # enough to learn from
_MANY = 256
_MAX_UNIQUE = 1_000_000
_MAX_BYTES = 64 << 20
_SAMPLE = 1000
_PLAIN = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}  # Arrow can't group views


def bounds(column: pa.ChunkedArray) -> tuple[float, float] | tuple[int, int] | None:
    """The smallest and the largest of a column's numbers; `None` when it has none, NaN aside."""
    if column.null_count == len(column):
        return None
    if pt.is_floating(column.type):
        values = column.to_numpy()  # with NaN for missing ones; NumPy is the quicker one here, for integers Arrow is
        low, high = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))
        return None if np.isnan(low) else (low, high)
    found = pc.min_max(column).as_py()
    return found["min"], found["max"]


class ColumnProfile:
    """Counts over one column, of which `levels` says that the user calls its values levels.

    Attributes:
        rows: values so far, missing ones included.
        nulls: missing ones.
        distinct: distinct non-missing values; `None` when counting was given up.
        unique: no value stood twice, as far as it was counted.
        low, high: bounds of numbers; `None` for other types and columns without values. Those of whole numbers are
            kept up only while `unique`.
        ascending: whole numbers only went up.
        sample: up to 1,000 distinct values, as text; empty for other types.
    """

    def __init__(self, field: pa.Field, label: str, *, levels: bool = False) -> None:
        self.field = field
        self._label = label
        self.rows = 0
        self.nulls = 0
        self.unique = True
        self.ascending = True
        self.low: float | int | None = None
        self.high: float | int | None = None
        self.sample: list[str] = []
        self._written = text_forms.Search() if is_text(field.type) and not levels else None
        held = field.type.value_type if pt.is_dictionary(field.type) else field.type
        self._type = _PLAIN.get(held, held)
        # Levels are counted where they decide something; of other values many are just many.
        self._most = MAX_LEVELS if is_text(self._type) or levels else _MANY
        self._countable = not pt.is_null(self._type)
        self._may_identify = is_text(self._type) or pt.is_integer(self._type)
        self._merged = self._counted(pa.array([], self._type), pa.array([], pa.int64()))
        self._pending: list[pa.Table] = []
        self._waiting = 0
        self._given_up = False

    @property
    def present(self) -> int:
        """Values that aren't missing."""
        return self.rows - self.nulls

    @property
    def distinct(self) -> int | None:
        """Distinct values, exactly; `None` when there are too many to count."""
        self._merge()
        return None if self._given_up else len(self._merged)

    @property
    def supported(self) -> float:
        """The share of the values that are levels of at least five rows; 0 when there are too many to count."""
        self._merge()
        rows = self._merged["rows"].to_numpy()
        return float(rows[rows >= ROWS_A_LEVEL].sum() / max(1, self.present))

    @property
    def written(self) -> str | None:
        """How all values are written, where they are text of one of the forms of `vae_core.text_forms`."""
        return None if self._written is None else self._written.form(self.nulls)

    def add(self, column: pa.ChunkedArray) -> None:
        """Count the values of one more table.

        Raises:
            SourceError: a number is infinite; the message names its row.
        """
        start, self.rows = self.rows, self.rows + len(column)
        if self._written is not None and column.null_count < len(column):
            self._written.add(column.unique().drop_null())
            if self._written.ended:
                self._written = None
        self.nulls += column.null_count
        if self._countable and not self._given_up:
            self._count(column)
        # Bounds show infinite numbers, and whether whole ones may identify rows.
        if pt.is_floating(self._type) or (pt.is_integer(self._type) and self.unique):
            self._bound(column, start)

    def _bound(self, column: pa.ChunkedArray, start: int) -> None:
        if pt.is_dictionary(column.type):
            column = column.cast(self._type)
        found = bounds(column)
        if found is None:
            return
        low, high = found
        if pt.is_floating(column.type) and (np.isinf(low) or np.isinf(high)):
            row = start + pc.index(pc.is_inf(column), True).as_py() + 1
            raise SourceError(
                f"{self._label}: column {self.field.name!r} has an infinite value in row {row}; make it missing (with "
                f"source.null_values for text), or set schema.columns.{self.field.name}.drop: true"
            )
        if self.ascending and self._may_identify:
            values = column.drop_null().to_numpy()
            follows = self.high is None or values[0] > self.high
            self.ascending = bool(follows and (values[1:] > values[:-1]).all())
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def _count(self, column: pa.ChunkedArray) -> None:
        present = len(column) - column.null_count
        if not present:
            return
        counted = column.value_counts()
        values, rows = counted.field("values"), counted.field("counts")
        if values.type != self._type:
            values = values.cast(self._type)
        there = values.is_valid()
        values, rows = values.filter(there), rows.filter(there)
        if len(values) < present:
            self.unique = False
        if is_text(self._type) and len(self.sample) < _SAMPLE:
            self.sample += values.slice(0, _SAMPLE - len(self.sample)).to_pylist()
        self._pending.append(self._counted(values, rows))
        self._waiting += len(values)
        # Merging when as much waits as is merged keeps the cost linear in the distinct values.
        if self._waiting >= len(self._merged):
            self._merge()

    def _merge(self) -> None:
        if not self._pending:
            return
        both = pa.concat_tables([self._merged, *self._pending])
        merged = both
        if len(self._merged) or len(self._pending) > 1:
            merged = both.group_by("value").aggregate([("rows", "sum")]).rename_columns(["value", "rows"])
        if len(merged) < len(both):
            self.unique = False
        self._merged, self._pending, self._waiting = merged, [], 0
        limit = _MAX_UNIQUE if self.unique and self._may_identify else self._most
        if len(merged) > limit or merged.nbytes > _MAX_BYTES:
            self._given_up = True
            self._merged = self._merged.slice(0, 0)

    @staticmethod
    def _counted(values: pa.Array, rows: pa.Array) -> pa.Table:
        return pa.table({"value": values, "rows": rows})
