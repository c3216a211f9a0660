"""The codec: columns of a table ↔ integer codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core import text_forms
from vae_core.codec import storage
from vae_core.codec.drafts import Withheld
from vae_core.codec.fillers import Filler
from vae_core.codec.fitting import find_relations, fit_parts
from vae_core.codec.forms import Form, IntegerForm
from vae_core.codec.joints import Joining, Joint
from vae_core.codec.kinds import column_from_dict, fit_column
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.orders import Order, find_orders, put_in_order
from vae_core.codec.parts import Encoded, GaussianPart, Part, SubColumn
from vae_core.codec.relations import How, Relation, numbers
from vae_core.codec.storage import Array
from vae_core.config import CodecConfig
from vae_core.errors import ArtifactError, SourceError
from vae_core.schema import Column, Schema

FORMAT = 4
KNOWN_VALUES = 4096  # a longer dictionary costs more in each row group than it saves


@dataclass(frozen=True, eq=False)
class Codec:
    """Turns rows into codes and codes into rows of exactly the source's Arrow schema.

    Immutable; every method is a pure function of its inputs, so threads may share one.

    Attributes:
        schema: of the source.
        forms: of each column, a `Form` (it has parts) or a `Filler` (it is not learned).
        parts: of all columns, in the order in which they are drawn.
        joining: the parts' sub-columns, in that order, and how the model sees them.
        relations: the columns that others nearly say, each after those.
        orders: pairs of columns of which one is never greater than the other; no relation's, nor looked up.
        withheld: what is never given, a part each, as counted when the codec was fitted; not kept by `to_dict`.
    """

    schema: Schema
    forms: tuple[Form | Filler, ...]
    parts: tuple[Part | GaussianPart, ...]
    joining: Joining
    relations: tuple[Relation, ...] = ()
    orders: tuple[Order, ...] = ()
    withheld: tuple[Withheld, ...] = ()

    @classmethod
    def fit(
        cls, table: pa.Table, schema: Schema, config: CodecConfig, *, seed: int = 0, first: Collection[int] = ()
    ) -> Codec:
        """Learn levels, atoms, bins and dependencies from training rows.

        Args:
            table: the rows, with the schema's columns; at most a few million of them.
            schema: what the columns are.
            config: how columns become codes.
            seed: unused; fitting draws nothing at random.
            first: indices of the columns that the model draws before all others; without, it draws in source order.

        Raises:
            SourceError: there are no rows.
            ConfigError: a column can't be of the kind that the schema says.
        """
        if table.num_rows == 0:
            raise SourceError("there are no rows to learn from")
        arrays = {i: read(table, c) for i, c in enumerate(schema.columns)}
        forms = [
            fit_column(arrays[i], schema.arrow.field(i).with_type(arrays[i].type), column, schema.rows, config)
            for i, column in enumerate(schema.columns)
        ]
        drawn = sorted(range(len(forms)), key=lambda i: i not in first)
        learned = {i: form for i in drawn if isinstance(form := forms[i], Form)}
        related = {i: arrays[i] for i in learned if config.relations}
        relations = find_relations(related, schema, config)
        for relation in relations:
            if relation.how is How.TIME:
                forms[relation.column] = learned[relation.column] = IntegerForm(arrays[relation.column].type)
        untold = {k: array for k, array in related.items() if k not in {r.column for r in relations}}
        ordered = {k for low, high, *_ in find_orders(untold, schema, config.extremes) for k in (low, high)}
        learned, parts, joining, withheld = fit_parts(learned, arrays, schema, config, relations, ordered)
        forms = [learned.get(i, form) for i, form in enumerate(forms)]
        bound = {r.column for r in relations}
        for part in parts:
            if isinstance(part, Part) and part.table is not None:
                bound |= {part.column, *(parts[k].column for k in part.determinants)}
            if isinstance(part, Part) and part.nest is not None:
                bound.add(part.column)
        free = {k: array for k, array in related.items() if k not in bound}
        orders = find_orders(free, schema, config.extremes)
        return cls(schema, tuple(forms), tuple(parts), joining, tuple(relations), orders, tuple(withheld))

    @cached_property
    def sub_columns(self) -> tuple[SubColumn, ...]:
        """What the model sees, in the order of the parts; a joint code stands where the last of its columns does."""
        return self.joining.sub_columns()

    @cached_property
    def split_parts(self) -> list[tuple[Part, int, int]]:
        """The parts that have a coarse and a fine code, and the indices of these two sub-columns."""
        place = self.joining.places
        split = (part for part in self.parts if isinstance(part, Part) and len(part.subs) == 2)
        return [(part, place[part.subs[0]], place[part.subs[1]]) for part in split]

    @cached_property
    def _relation_of(self) -> dict[int, Relation]:
        """The relation of each column that has one."""
        return {relation.column: relation for relation in self.relations}

    @cached_property
    def _related(self) -> set[int]:
        """The columns that relations and orders are about."""
        related = {k for relation in self.relations for k in (relation.column, *relation.sources)}
        return related | {column for order in self.orders for column in order[:2]}

    @cached_property
    def positions(self) -> int:
        """Number of position inputs of `decode`."""
        return sum(sub.position or sub.gaussian for sub in self.sub_columns)

    @cached_property
    def parts_of(self) -> dict[int, list[int]]:
        """Indices of the parts of each column."""
        own: dict[int, list[int]] = {}
        for k, part in enumerate(self.parts):
            own.setdefault(part.column, []).append(k)
        return own

    @cached_property
    def _known(self) -> dict[int, pa.Array]:
        """The values of each column of one numeric part that is never drawn inside a bin, leaf by leaf."""
        known = {}
        changing = {*self._relation_of, *(column for order in self.orders for column in order[:2])}
        for column, own in self.parts_of.items():
            form, part = self.forms[column], self.parts[own[0]]
            if isinstance(form, Form) and len(own) == 1 and isinstance(part, Part) and column not in changing:
                leaves, kind = part.leaves, self.schema.arrow.field(column).type
                plain = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
                if (
                    plain
                    and isinstance(leaves, NumericLeaves)
                    and not leaves.positioned
                    and leaves.size <= KNOWN_VALUES
                ):
                    known[column] = form.join([leaves.decode(np.arange(leaves.size))], [leaves], None)
        return known

    def encode(self, table: pa.Table | pa.RecordBatch, first_row: int | None = None) -> Encoded:
        """Codes int32 [n, sub-columns] and standardised reals float32 [n, Gaussian sub-columns] of rows.

        Args:
            table: the rows.
            first_row: the number of the first one, to learn from them: a nested value then has each of its codes on
                some rows. Without, it has the first of them, so that equal rows have equal codes.
        """
        rows = table.num_rows
        codes = np.zeros((rows, len(self.joining.plain)), dtype=np.int32, order="F")
        reals = np.zeros((rows, sum(sub.gaussian for sub in self.sub_columns)), dtype=np.float32)
        sources = {k: read(table, self.schema.columns[k]) for r in self.relations for k in r.sources}
        for column, own in self.parts_of.items():
            if all(not self.parts[k].subs for k in own):
                continue
            form = self.forms[column]
            assert isinstance(form, Form)
            array = read(table, self.schema.columns[column])
            missing = storage.missing_mask(array)
            relation = self._relation_of.get(column)
            split = form.split(array) if relation is None else [relation.rest(numbers(array), sources)]
            for k, values in zip(own, split, strict=True):
                part = self.parts[k]
                if isinstance(part, GaussianPart):
                    part.encode(values, missing, codes, reals)
                elif part.nest is not None:
                    leaf = part.leaves.encode(values)
                    if missing is not None:
                        leaf[missing] = part.leaves.size
                    numbered = None if first_row is None else np.arange(first_row, first_row + rows)
                    beside = [self._leaf(a, codes.T) for a in part.nest.sources]
                    part.encode_nested(leaf, beside, codes, numbered)
                elif part.layout is not None:
                    part.encode(values, missing, codes)
        return Encoded(self.joining.join(codes), reals)

    def _leaf(self, k: int, plain: Array) -> Array:
        """The leaf [n] of a part with a layout, of plain codes [sub-columns of the parts, n]."""
        part = self.parts[k]
        assert isinstance(part, Part)
        if part.nest is None:
            return part.leaf(plain)
        return part.nested_leaf(plain, [self._leaf(a, plain) for a in part.nest.sources])

    def decode(self, codes: Array, position: Array | None, first_row: int, seed: int = 0) -> pa.RecordBatch:
        """Rows of exactly the source's schema.

        Args:
            codes: integers [n, sub-columns].
            position: floats [n, positions] in [0, 1), or a standardised real for a Gaussian sub-column; the middle of
                bins when `None`.
            first_row: number of the first row in the dataset; it makes identifiers unique.
            seed: of the dataset; identifiers depend on it.
        """
        arrays = self.decode_columns(codes, position, first_row, seed)
        fields = self.schema.arrow
        plain = [storage.as_type(array, field.type) for array, field in zip(arrays, fields, strict=True)]
        return pa.RecordBatch.from_arrays(plain, schema=fields)

    def decode_columns(self, codes: Array, position: Array | None, first_row: int, seed: int = 0) -> list[pa.Array]:
        """As `decode`, but columns of known values stay dictionary arrays: all that a Parquet writer needs."""
        plain = self.joining.split(codes)
        arrays = self.learned(plain, self.leaves(plain), position, range(len(self.forms)))
        for column, form in enumerate(self.forms):
            if not isinstance(form, Form):
                arrays[column] = form.fill(first_row, len(codes), seed)
        fields = zip(self.schema.columns, self.schema.arrow, strict=True)
        return [
            arrays[k] if column.text is None else text_forms.write(arrays[k], column.text, field.type)
            for k, (column, field) in enumerate(fields)
        ]

    def related(self, plain: Array, leaves: Mapping[int, Array], position: Array | None) -> dict[int, Array]:
        """The numbers or ticks [n] of each column that a relation makes, 0 where it is missing.

        Args:
            plain: codes [sub-columns of the parts, n].
            leaves: of these.
            position: as `decode` takes it.
        """
        arrays = self.learned(plain, leaves, position, ())
        return {relation.column: numbers(arrays[relation.column]) for relation in self.relations}

    def learned(
        self, plain: Array, leaves: Mapping[int, Array], position: Array | None, columns: Collection[int]
    ) -> dict[int, pa.Array]:
        """Those of `columns` that are learned, by index, and all that relations and orders are about.

        Args:
            plain: codes [sub-columns of the parts, n].
            leaves: of these.
            position: as `decode` takes it.
            columns: their indices.
        """
        arrays: dict[int, pa.Array] = {}
        for column in self.parts_of:
            if (column in columns or column in self._related) and column not in self._relation_of:
                arrays[column] = self.array(column, plain, leaves, position, arrays)
        put_in_order(arrays, self.orders)
        for relation in self.relations:  # a column's sources come before it
            arrays[relation.column] = self.array(relation.column, plain, leaves, position, arrays)
        return arrays

    def array(
        self, column: int, plain: Array, leaves: Mapping[int, Array], position: Array | None, said: dict[int, pa.Array]
    ) -> pa.Array:
        """A learned column of plain codes [sub-columns of the parts, n]; `said` has what its relation comes from."""
        form = self.forms[column]
        assert isinstance(form, Form)
        if column in self._known:
            (k,) = self.parts_of[column]
            part = self.parts[k]
            assert isinstance(part, Part)
            leaf, absent = part.present(leaves[k])
            indices = storage.from_numbers(leaf, pa.int32(), absent)
            return pa.DictionaryArray.from_arrays(indices, self._known[column])
        missing: Array | None = None
        values = []
        for k in self.parts_of[column]:
            part = self.parts[k]
            if isinstance(part, GaussianPart):
                value, absent = part.decode(plain, position)
            else:
                value, absent = part.decode(leaves[k], position)
            values.append(value)
            if absent is not None:
                missing = absent if missing is None else missing | absent
        if column in self._relation_of:
            values = [self._relation_of[column].restore(values[0], said)]
        own = [part.leaves for k in self.parts_of[column] if isinstance(part := self.parts[k], Part)]
        return form.join(values, own, missing)

    def leaves(self, plain: Array) -> dict[int, Array]:
        """Leaf of each row for each part that has leaves, of plain codes [sub-columns of the parts, n].

        Determinants are never dependent themselves.
        """
        leaves: dict[int, Array] = {}
        for k, part in enumerate(self.parts):
            if isinstance(part, Part) and part.nest is not None:  # its sources come before it
                leaves[k] = part.nested_leaf(plain, [leaves[a] for a in part.nest.sources])
            elif isinstance(part, Part) and part.layout is not None:
                leaves[k] = part.leaf(plain)
        for k, part in enumerate(self.parts):
            if isinstance(part, Part) and part.table is not None:
                at: Array = np.zeros(plain.shape[1], dtype=np.int64)
                for n, a in enumerate(part.determinants):
                    determinant = self.parts[a]
                    assert isinstance(determinant, Part)
                    at = leaves[a] if n == 0 else at * (determinant.leaves.size + 1) + leaves[a]
                leaves[k] = part.table[at]
        return leaves

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, exactly."""
        return {
            "format": FORMAT,
            "schema": self.schema.to_dict(),
            "forms": [form.to_dict() for form in self.forms],
            "parts": [{"gaussian_part": isinstance(part, GaussianPart), **part.to_dict()} for part in self.parts],
            "names": [sub.name for sub in self.joining.plain],
            "joints": [joint.to_dict() for joint in self.joining.joints],
            "relations": [relation.to_dict() for relation in self.relations],
        } | ({"orders": [list(order) for order in self.orders]} if self.orders else {})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Codec:
        """Inverse of `to_dict`.

        Raises:
            ArtifactError: the codec was written by another version of the format.
        """
        if data.get("format") != FORMAT:
            raise ArtifactError(f"codec has format {data.get('format')!r}, not {FORMAT}; train the model again")
        schema = Schema.from_dict(data["schema"])
        parts = [
            GaussianPart.from_dict(part) if part["gaussian_part"] else Part.from_dict(part) for part in data["parts"]
        ]
        subs: list[SubColumn] = []
        for part in parts:
            column = schema.columns[part.column].name
            subs.extend(part.sub_columns("", column, subs))  # named below
        forms = tuple(column_from_dict(form) for form in data["forms"])
        named = tuple(replace(sub, name=name) for sub, name in zip(subs, data["names"], strict=True))
        joints = tuple(Joint.from_dict(joint, named) for joint in data["joints"])
        relations = tuple(Relation.from_dict(relation) for relation in data["relations"])
        orders = tuple(Order(*order) for order in data.get("orders", []))
        return cls(schema, forms, tuple(parts), Joining(named, joints), relations, orders)

    @cached_property
    def digest(self) -> str:
        """sha256 of the codec's canonical JSON, hexadecimal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def read(table: pa.Table | pa.RecordBatch, column: Column) -> pa.Array:
    """A column's values as one array, as a snapshot has them; of text that says dates or numbers, these."""
    array = storage.whole(table.column(column.name))
    if column.text is not None:
        return text_forms.read(array, column.text)
    return array.cast(kept) if (kept := storage.in_parquet(array.type)) != array.type else array
