"""Forms: how a column's Arrow values fall apart into parts, and how the parts make the column again.

A part's values are a numpy array (numeric parts) or an Arrow array (levels), of one element a row, whatever stands
where the column is missing. A form is immutable; it knows types and units, its parts' leaves know the values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.codec import storage
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.levels import Levels
from vae_core.codec.storage import Array, Bools

Values: TypeAlias = Array | pa.Array
Leaves: TypeAlias = NumericLeaves | Levels


@dataclass(frozen=True)
class Form(ABC):
    """Base of the forms.

    Attributes:
        type: Arrow type of the column.
        parts: what is added to the column's name for each part ("" for the whole column).
    """

    tag: ClassVar[str]
    type: pa.DataType
    parts: tuple[str, ...]

    @abstractmethod
    def split(self, array: pa.Array) -> list[Values]:
        """The values of each part."""

    @abstractmethod
    def join(self, values: list[Array], leaves: list[Leaves], missing: Bools | None) -> pa.Array:
        """The column made of what the leaves of each part decoded, null where `missing`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"form": self.tag, "type": storage.type_to_json(self.type), "parts": list(self.parts)}


@dataclass(frozen=True)
class IntegerForm(Form):
    """Integers, and durations in their own unit."""

    tag = "integer"
    parts: tuple[str, ...] = ("",)

    def split(self, array: pa.Array) -> list[Values]:
        """The stored integers."""
        return [storage.integers(array)]

    def join(self, values: list[Array], leaves: list[Leaves], missing: Bools | None) -> pa.Array:
        """The stored integers as the column's type."""
        return storage.from_integers(values[0], missing, self.type)


@dataclass(frozen=True)
class FloatForm(Form):
    """Floats of any width."""

    tag = "float"
    parts: tuple[str, ...] = ("",)

    def split(self, array: pa.Array) -> list[Values]:
        """The floats themselves."""
        return [storage.floats(array)]

    def join(self, values: list[Array], leaves: list[Leaves], missing: Bools | None) -> pa.Array:
        """The floats as the column's type."""
        return storage.from_numbers(values[0], self.type, missing)


@dataclass(frozen=True)
class DecimalForm(Form):
    """Decimals whose unscaled integers fit in 64 bits."""

    tag = "decimal"
    parts: tuple[str, ...] = ("",)

    def split(self, array: pa.Array) -> list[Values]:
        """The unscaled integers."""
        return [storage.unscaled(array)[0]]

    def join(self, values: list[Array], leaves: list[Leaves], missing: Bools | None) -> pa.Array:
        """The unscaled integers as decimals."""
        return storage.from_unscaled(values[0], missing, self.type)


@dataclass(frozen=True)
class LevelForm(Form):
    """One level a row, of any Arrow type."""

    tag = "levels"
    parts: tuple[str, ...] = ("",)

    def split(self, array: pa.Array) -> list[Values]:
        """The values, in a type that Arrow can hash; dictionaries stay dictionaries."""
        if pa.types.is_dictionary(array.type):
            if array.dictionary.null_count:
                array = array.cast(array.type.value_type)
            else:
                return [array]
        return [array.cast(level_type(array.type))]

    def join(self, values: list[Array], leaves: list[Leaves], missing: Bools | None) -> pa.Array:
        """The levels; text stays a dictionary of indices, for the caller to cast or to write as it is."""
        levels = leaves[0]
        assert isinstance(levels, Levels)
        indices = storage.from_numbers(values[0], pa.int32(), missing)
        if pa.types.is_dictionary(self.type):
            return pa.DictionaryArray.from_arrays(
                indices.cast(self.type.index_type), levels.values.cast(self.type.value_type), ordered=self.type.ordered
            )
        if is_text(self.type):
            return pa.DictionaryArray.from_arrays(indices, levels.values)
        return levels.values.take(indices).cast(self.type)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_ordered(kind: pa.DataType) -> bool:
    """Whether levels of this type have an order that means something; integers that are levels only name something."""
    whole = storage.is_integral(kind) and not pa.types.is_integer(kind)
    return bool(whole or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def level_type(kind: pa.DataType) -> pa.DataType:
    """The type in which levels of a column of this type are kept: the same, where Arrow can look it up."""
    if pa.types.is_dictionary(kind):
        return level_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    return pa.float32() if pa.types.is_float16(kind) else kind


def sorted_levels(values: pa.Array) -> pa.Array:
    """Indices that sort `values`; the order found where their type has none."""
    try:
        return pc.sort_indices(values)
    except pa.ArrowNotImplementedError:
        return pa.array(np.arange(len(values)))
