"""Sub-columns, which the model sees, and the parts of columns that they encode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vae_core.codec.forms import Leaves, Values
from vae_core.codec.gaussian import Gaussian
from vae_core.codec.layout import Layout
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.levels import Levels
from vae_core.codec.nesting import Nest
from vae_core.codec.storage import Array, Bools, Ints


@dataclass(frozen=True, eq=False)
class SubColumn:
    """One column of codes.

    Attributes:
        name: "age", "age.fine", "time_hour.day".
        column: name of the source's column.
        size: number of codes, 0..size-1.
        parent: index of an earlier sub-column that says which of the codes exist.
        allowed: codes that may be generated, bool [size], or [parent's size, size]; `None`: all.
        position: whether decoding reads a position inside the code.
        gaussian: whether decoding reads a standardised real instead of the code.
        edges: interior edges of a Gaussian sub-column's codes, standardised, float32; codes count the edges at or below
            the value. A code past those means missing.
        ordered: how many codes, from the first, stand in the order of their values.
        members: of a joint code, the code of each of its columns, int32 [size, columns].
    """

    name: str
    column: str
    size: int
    parent: int | None = None
    allowed: Bools | None = None
    position: bool = False
    gaussian: bool = False
    edges: Array | None = None
    ordered: int = 0
    members: Array | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a column: its leaves, and where they come from.

    Attributes:
        column: index of the column.
        leaves: what the values are; the leaf after the last means missing.
        layout: how leaves become codes; `None` when they are looked up.
        subs: indices of the sub-columns.
        position: index of its position input.
        determinants: indices of the parts that `table` is about: one, two, or, for a constant, none.
        table: this part's leaf for each leaf of the determinant, or each pair of leaves of the two, the second one
            running fastest (missing included), int64; one leaf for a constant.
        tied: index of the sub-column, of the column's first part, that already says whether the row is missing, or,
            with `spans`, which leaves there are.
        spans: the first and the last leaf at each leaf of that part, int64 [its leaves, 2].
        nest: which leaves go with those of others; `layout` is of its codes then, instead of leaves.
    """

    column: int
    leaves: Leaves
    layout: Layout | None = None
    subs: tuple[int, ...] = ()
    position: int | None = None
    determinants: tuple[int, ...] = ()
    table: Array | None = None
    tied: int | None = None
    spans: Array | None = None
    nest: Nest | None = None

    def encode(self, values: Values, missing: Bools | None, codes: Array) -> None:
        """Write the codes of values [n] into `codes` [n, sub-columns]; for a part with a layout and no nest."""
        assert self.layout is not None
        leaf = self.leaves.encode(values)
        if missing is not None:  # without a missing code, missing rows get the first leaf
            leaf[missing] = self.leaves.size if self.layout.missing else 0
        for sub, code in zip(self.subs, self.layout.encode(leaf), strict=True):
            codes[:, sub] = code

    def encode_nested(self, leaf: Array, sources: Sequence[Array], codes: Array, rows: Ints | None) -> None:
        """Write the codes of leaves [n] beside those of the nest's sources; `rows` as in `Nest.encode`."""
        assert self.layout is not None and self.nest is not None
        inside = self.nest.encode(sources, leaf, rows)
        if self.layout.missing:
            inside[leaf == self.leaves.size] = self.nest.codes
        for sub, code in zip(self.subs, self.layout.encode(inside), strict=True):
            codes[:, sub] = code

    def leaf(self, codes: Array) -> Array:
        """The leaf of each row of `codes` [sub-columns, n]; for a part with a layout and no nest."""
        assert self.layout is not None
        return self.layout.decode([codes[sub] for sub in self.subs])

    def nested_leaf(self, codes: Array, sources: Sequence[Array]) -> Array:
        """The same for a part with a nest, beside the leaves [n] of its sources."""
        assert self.layout is not None and self.nest is not None
        inside = self.layout.decode([codes[sub] for sub in self.subs])
        leaf = self.nest.decode(sources, np.minimum(inside, self.nest.codes - 1))
        return np.where(inside < self.nest.codes, leaf, self.leaves.size)

    def ends(self, leaf: Array) -> tuple[Array, Array]:
        """The smallest and the largest number at each leaf [n], of some leaf where the row is missing."""
        assert isinstance(self.leaves, NumericLeaves)
        return self.leaves.ends(self.present(leaf)[0])

    @property
    def ordered(self) -> bool:
        """Whether codes that are near each other mean nearly the same: of numbers, and of what is nested."""
        return isinstance(self.leaves, NumericLeaves) or self.nest is not None

    def present(self, leaf: Array) -> tuple[Array, Bools | None]:
        """The leaves [n], some leaf where the row is missing, and where that is (`None`: nowhere)."""
        if self.table is not None or (self.layout is not None and self.layout.missing):
            missing = leaf >= self.leaves.size
            if missing.any():
                return np.minimum(leaf, self.leaves.size - 1), missing
        return leaf, None

    def decode(self, leaf: Array, position: Array | None) -> tuple[Array, Bools | None]:
        """What the leaves hold at each row [n], and where the row is missing (`None`: nowhere)."""
        leaf, missing = self.present(leaf)
        inside = None if position is None or self.position is None else position[:, self.position]
        return self.leaves.decode(leaf, inside), missing

    def sub_columns(self, name: str, column: str, earlier: Sequence[SubColumn]) -> list[SubColumn]:
        """The sub-columns of this part, after `earlier` ones."""
        if self.layout is None:
            return []
        tie = None if self.tied is None else earlier[self.tied]
        allowed = self.layout.allowed(self.leaves.allowed if self.nest is None else np.ones(self.nest.codes, bool))
        names = [name, f"{name}.fine"]
        parents = [self.tied, self.subs[0]]
        if tie is not None:
            code = np.arange(len(allowed[0]))
            if self.spans is not None:
                whole = np.append(self.spans, [[0, 0]], axis=0)[: tie.size]  # the last is not looked at: it is missing
                allowed[0] = allowed[0] & (whole[:, :1] <= code) & (code <= whole[:, 1:])
            if self.layout.missing:  # exactly where the first part is
                missing = np.arange(tie.size)[:, None] == tie.size - 1
                allowed[0] = np.where(code == len(code) - 1, missing, ~missing & allowed[0])
        last = len(allowed) - 1
        return [
            SubColumn(
                names[k],
                column,
                self.layout.sizes[k],
                parents[k],
                None if allowed[k].all() else allowed[k],
                position=self.leaves.positioned and k == last,
                ordered=self._ordered(k),
            )
            for k in range(len(allowed))
        ]

    def _ordered(self, k: int) -> int:
        """How many codes of the k-th sub-column are in order: all but the missing one of `ordered` parts."""
        assert self.layout is not None
        if not self.ordered:
            return 0
        return self.layout.sizes[k] - (self.layout.missing and k == 0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "column": self.column,
            "leaves": self.leaves.to_dict(),
            "layout": None if self.layout is None else self.layout.to_dict(),
            "subs": list(self.subs),
            "position": self.position,
            "determinants": list(self.determinants),
            "table": None if self.table is None else _runs(self.table),
            "tied": self.tied,
            **({} if self.spans is None else {"spans": self.spans.tolist()}),
            **({} if self.nest is None else {"nest": self.nest.to_dict()}),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Part:
        """Inverse of `to_dict`."""
        kind = Levels if data["leaves"]["leaves"] == "levels" else NumericLeaves
        return cls(
            data["column"],
            kind.from_dict(data["leaves"]),
            None if data["layout"] is None else Layout.from_dict(data["layout"]),
            tuple(data["subs"]),
            data["position"],
            tuple(data["determinants"]),
            None if data["table"] is None else np.repeat(*np.array(data["table"], dtype=np.int64)),
            data["tied"],
            np.array(data["spans"], dtype=np.int64) if "spans" in data else None,
            Nest.from_dict(data["nest"]) if "nest" in data else None,
        )


def _runs(table: Array) -> list[list[int]]:
    """The runs of equal entries, as values and lengths: a table of two determinants mostly repeats itself."""
    starts = np.flatnonzero(np.append(True, np.diff(table) != 0))
    return [table[starts].tolist(), np.diff(starts, append=len(table)).tolist()]


@dataclass(frozen=True, eq=False)
class GaussianPart:
    """A whole column with a Gaussian likelihood; NaN counts as missing.

    Attributes:
        column: index of the column.
        gaussian: the law's location, scale, grid and codes.
        subs: indices of the sub-columns: of `missing`, where there is one, and of the value.
        position: index of the value among the positions.
        value: index of the value among the Gaussian sub-columns.
        nan: whether a missing value is written as NaN rather than null.
    """

    column: int
    gaussian: Gaussian
    subs: tuple[int, ...]
    position: int
    value: int
    nan: bool

    def encode(self, values: Array, missing: Bools | None, codes: Array, reals: Array) -> None:
        """Write the codes of values [n] into `codes`, and the values themselves, standardised, into `reals`."""
        absent = np.isnan(values) if missing is None else missing | np.isnan(values)
        real, code = self.gaussian.encode(np.where(absent, values.dtype.type(0), values))
        if len(self.subs) == 2:
            codes[:, self.subs[0]] = absent
            code[absent] = len(self.gaussian.edges) + 1
        codes[:, self.subs[-1]] = code
        real[absent] = 0
        reals[:, self.value] = real

    def decode(self, codes: Array, position: Array | None) -> tuple[Array, Bools | None]:
        """Values [n] of `codes` [sub-columns, n], and where they are missing (`None`: nowhere)."""
        real = np.zeros(codes.shape[1], dtype=np.float32) if position is None else position[:, self.position]
        values = self.gaussian.decode(real)
        if len(self.subs) == 1:
            return values, None
        missing = codes[self.subs[0]] == 1
        if self.nan:
            values[missing] = np.nan
            return values, None
        return values, missing

    def sub_columns(self, name: str, column: str, earlier: Sequence[SubColumn]) -> list[SubColumn]:
        """`name.missing`, if there is one, and `name`."""
        size = len(self.gaussian.edges) + 1
        edges = self.gaussian.edges
        if len(self.subs) == 1:
            return [SubColumn(name, column, size, gaussian=True, edges=edges, ordered=size)]
        missing = np.arange(size + 1) == size
        allowed = np.stack([~missing, missing])
        return [
            SubColumn(f"{name}.missing", column, 2),
            SubColumn(name, column, size + 1, self.subs[0], allowed, gaussian=True, edges=edges, ordered=size),
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "column": self.column,
            "gaussian": self.gaussian.to_dict(),
            "subs": list(self.subs),
            "position": self.position,
            "value": self.value,
            "nan": self.nan,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GaussianPart:
        """Inverse of `to_dict`."""
        gaussian = Gaussian.from_dict(data["gaussian"])
        return cls(data["column"], gaussian, tuple(data["subs"]), data["position"], data["value"], data["nan"])


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded rows: codes int32 [n, sub-columns], and the standardised reals of the Gaussian ones, float32 [n, g]."""

    codes: Array
    values: Array = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
