"""Columns that are not learned: constant, empty and text. Identifiers have a file of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from vae_core.codec import storage
from vae_core.codec.forms import is_text


class Filler(Protocol):
    """What writes a column that has no code."""

    tag: ClassVar[str]

    def fill(self, first: int, rows: int, seed: int) -> pa.Array:
        """The values of rows first..first+rows-1."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""


@dataclass(frozen=True)
class Constant:
    """One value in every row; null when `value` is an array of one null."""

    tag: ClassVar[str] = "constant"
    value: pa.Array

    @classmethod
    def null(cls, field: pa.Field) -> Constant:
        """Null in every row; empty text where `field` must not be null."""
        if not field.nullable:
            plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            if is_text(plain) or pa.types.is_binary(plain) or pa.types.is_large_binary(plain):
                return cls(storage.as_type(pa.array([""]), field.type))
        return cls(pa.nulls(1, field.type))

    def fill(self, first: int, rows: int, seed: int) -> pa.Array:
        """The value, `rows` times."""
        if self.value.null_count:
            return pa.nulls(rows, self.value.type)
        return pa.repeat(self.value[0], rows)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"form": self.tag, "value": storage.array_to_json(self.value)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Constant:
        """Inverse of `to_dict`."""
        return cls(storage.array_from_json(data["value"]))
