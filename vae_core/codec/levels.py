"""Leaves of a categorical part: one a level, rare levels pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.codec.storage import Array, Bools, array_from_json, array_to_json


@dataclass(frozen=True, eq=False)
class Levels:
    """Leaf i is `values[i]`; the leaf after the last, when `pooled`, stands for every rarer or unseen level.

    Attributes:
        values: the levels, in leaf order, without null.
        pooled: whether a pooled leaf exists; it is never generated, and decodes to the level `fallback`.
        fallback: leaf of the most frequent level.
    """

    values: pa.Array
    pooled: bool
    fallback: int

    @classmethod
    def fit(cls, uniques: pa.Array, counts: Array, min_frequency: int) -> tuple[Levels, Array]:
        """Levels with at least `min_frequency` rows (or the most frequent one, when none has), and each leaf's rows."""
        kept = counts >= min_frequency
        if not kept.any():
            kept[np.argmax(counts)] = True
        pooled = not bool(kept.all())
        mass = counts[kept]
        fallback = int(np.argmax(mass))
        if pooled:
            mass = np.append(mass, counts[~kept].sum())
        return cls(uniques.filter(pa.array(kept)), pooled, fallback), mass

    def reordered(self, order: Array) -> Levels:
        """The same levels, leaf i being the former order[i]."""
        fallback = int(np.flatnonzero(order == self.fallback)[0])
        return Levels(self.values.take(pa.array(order)), self.pooled, fallback)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self.values) + self.pooled

    @property
    def allowed(self) -> Bools:
        """Leaves that may be generated, bool [size]."""
        return np.arange(self.size) < len(self.values)

    @property
    def positioned(self) -> bool:
        """Whether decoding reads a position: never, for levels."""
        return False

    def encode(self, values: pa.Array) -> Array:
        """Leaves int64 [n] of an array of the levels' type; null and unknown get the pooled or fallback leaf."""
        if pa.types.is_dictionary(values.type):
            known = self.encode(values.dictionary)
            indices = values.indices.fill_null(0).to_numpy(zero_copy_only=False)
            return known[indices] if len(known) else np.zeros(len(values), dtype=np.int64)
        found = pc.index_in(values, value_set=self.values)
        other = len(self.values) if self.pooled else self.fallback
        return np.asarray(found.fill_null(other).to_numpy(zero_copy_only=False)).astype(np.int64)

    def decode(self, leaf: Array, position: Array | None = None) -> Array:
        """Index into `values`, int32 [n]: the leaf itself, but for the pooled one."""
        if self.pooled:
            leaf = np.where(leaf >= len(self.values), self.fallback, leaf)
        return leaf.astype(np.int32)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "leaves": "levels",
            "values": array_to_json(self.values),
            "pooled": self.pooled,
            "fallback": self.fallback,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Levels:
        """Inverse of `to_dict`."""
        return cls(array_from_json(data["values"]), data["pooled"], data["fallback"])
