"""What a column is: its name, its Arrow type, its kind, and why that kind was inferred."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pyarrow as pa


class Kind(StrEnum):
    """What a column means, which decides how it is modelled."""

    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    REAL = "real"
    DECIMAL = "decimal"
    TIMESTAMP = "timestamp"
    DATE = "date"
    TIME = "time"
    DURATION = "duration"
    IDENTIFIER = "identifier"
    TEXT = "text"
    CONSTANT = "constant"
    EMPTY = "empty"


@dataclass(frozen=True)
class Column:
    """One column of the source.

    Attributes:
        name: as in the source.
        kind: what it means.
        reason: why that kind was inferred, in words.
        nulls: missing values in the source.
        distinct: distinct non-missing values, counted up to a cap; `None` past the cap.
        likelihood: `categorical` over codes, or `gaussian` where the user asked for it.
        text: how dates, moments or numbers that are text are written (see `vae_core.text_forms`).
    """

    name: str
    kind: Kind
    reason: str
    nulls: int = 0
    distinct: int | None = None
    likelihood: str = "categorical"
    text: str | None = None


@dataclass(frozen=True)
class Schema:
    """The columns of a snapshot, beside the exact Arrow schema that the output will have."""

    arrow: pa.Schema
    columns: tuple[Column, ...]
    rows: int
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types. The Arrow schema is kept exactly, as its base64 IPC message, beside its text."""
        return {
            "rows": self.rows,
            "columns": [
                {
                    "name": c.name,
                    "type": str(self.arrow.field(i).type),
                    "nullable": self.arrow.field(i).nullable,
                    "kind": c.kind.value,
                    "reason": c.reason,
                    "nulls": c.nulls,
                    "distinct": c.distinct,
                    "likelihood": c.likelihood,
                }
                | ({} if c.text is None else {"text": c.text})  # so that what stands keeps its digest
                for i, c in enumerate(self.columns)
            ],
            "notes": list(self.notes),
            "arrow": base64.b64encode(self.arrow.serialize().to_pybytes()).decode("ascii"),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Schema:
        """Inverse of `to_dict`."""
        arrow = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(data["arrow"])))
        columns = tuple(
            Column(c["name"], Kind(c["kind"]), c["reason"], c["nulls"], c["distinct"], c["likelihood"], c.get("text"))
            for c in data["columns"]
        )
        return cls(arrow, columns, data["rows"], tuple(data["notes"]))

    @property
    def digest(self) -> str:
        """sha256 of the schema's JSON, hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()
