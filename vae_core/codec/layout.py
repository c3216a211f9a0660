"""From leaves to codes: one sub-column, or a coarse and a fine one when there are many leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vae_core.codec.storage import Array, Bools


@dataclass(frozen=True, eq=False)
class Layout:
    """Leaves 0..leaves-1 (and leaf `leaves`, which means missing) as codes.

    Unsplit (`starts is None`), the code is the leaf. Split, group g holds the leaves starts[g]..starts[g+1]-1:
    coarse = g, fine = leaf - starts[g]; missing is the last coarse code, with fine code 0.
    """

    leaves: int
    missing: bool
    starts: Array | None

    @classmethod
    def fit(cls, mass: Array, missing: bool, split_above: int, alone: int | None = None) -> Layout:
        """Lay out leaves of the given mass [leaves]; leaf `alone` (a pooled one) gets a group to itself.

        Groups are filled in order up to a mass of 1/√leaves and 1.5·√leaves leaves, so that both codes stay small.
        """
        leaves = len(mass)
        if leaves + missing <= split_above:
            return cls(leaves, missing, None)
        root = math.sqrt(leaves)
        target = float(mass.sum()) / root
        limit = math.ceil(1.5 * root)
        starts = [0]
        filled = float(mass[0])
        for leaf in range(1, leaves):
            weight = float(mass[leaf])
            full = leaf - starts[-1] >= limit or filled + weight > target
            if full or leaf == alone or leaf - 1 == alone:
                starts.append(leaf)
                filled = 0.0
            filled += weight
        return cls(leaves, missing, np.array([*starts, leaves], dtype=np.int64))

    @cached_property
    def sizes(self) -> list[int]:
        """Number of codes of each sub-column."""
        if self.starts is None:
            return [self.leaves + self.missing]
        return [len(self.starts) - 1 + self.missing, int(np.diff(self.starts).max())]

    @cached_property
    def _codes(self) -> tuple[Array, Array]:
        """Coarse and fine code of each leaf, missing included, int32."""
        assert self.starts is not None
        coarse = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        if self.missing:
            coarse = np.append(coarse, np.int32(len(self.starts) - 1))
        fine = np.arange(len(coarse), dtype=np.int64) - self.starts[coarse]
        return coarse, fine.astype(np.int32)

    @cached_property
    def _leaf(self) -> Array:
        """Leaf of each pair of codes, int64 [coarse · fine]; past the end of a group, its last leaf."""
        coarse, fine = self._codes
        table = np.zeros(self.sizes, dtype=np.int64)
        table[coarse, fine] = np.arange(len(coarse))
        return np.asarray(np.maximum.accumulate(table, axis=1).ravel())

    def encode(self, leaf: Array) -> list[Array]:
        """Codes int32 [n] of each sub-column for leaves [n]."""
        if self.starts is None:
            return [leaf.astype(np.int32, copy=False)]
        coarse, fine = self._codes
        return [coarse[leaf], fine[leaf]]

    def decode(self, codes: list[Array]) -> Array:
        """Leaves int64 [n] of codes; a fine code that doesn't exist under its coarse code is taken as the last one."""
        if self.starts is None:
            return codes[0].astype(np.int64)
        return np.asarray(self._leaf[codes[0].astype(np.int64) * self.sizes[1] + codes[1]])

    def allowed(self, leaf_allowed: Bools) -> list[Bools]:
        """Codes that may be generated: bool [size] for the first sub-column, bool [coarse, fine] for the second."""
        possible = np.append(leaf_allowed, True) if self.missing else leaf_allowed
        if self.starts is None:
            return [possible]
        coarse, fine = self._codes
        table = np.zeros(self.sizes, dtype=bool)
        table[coarse, fine] = possible
        return [np.asarray(table.any(axis=1)), table]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        starts = None if self.starts is None else self.starts.tolist()
        return {"leaves": self.leaves, "missing": self.missing, "starts": starts}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """Inverse of `to_dict`."""
        starts = None if data["starts"] is None else np.array(data["starts"], dtype=np.int64)
        return cls(data["leaves"], data["missing"], starts)
