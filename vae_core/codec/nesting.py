"""Columns whose values belong to those of others: a flight number to a carrier's route, a plane to its carrier.

Of thousands of values only a few go with what the others say. Such a column is not learned value by value: its code is
where the value lies among those, each as wide as it is frequent. So what belongs together stays together, and how
frequent each value is beside the others' is exact, whatever the model learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vae_core.codec.bijection import mix
from vae_core.codec.layout import Layout
from vae_core.codec.storage import Array, Ints

_SIDES = (16, 32, 64)  # coarse codes, and fine codes of each
_ROOM = 4  # codes for each value of the longest list, if there are so many
_KEYS = 2**62  # combinations that can be numbered


@dataclass(frozen=True, eq=False)
class Table:
    """Which values go with the first few sources.

    Attributes:
        keys: what these say, numbered as `_key` does, int64 [lists], ascending.
        which: of each entry, the list that it is of, int64 [entries], ascending.
        leaf: the value's leaf.
        end: the first code that isn't its own any more; ascending within a list, and the number of codes at its end.
    """

    keys: Ints
    which: Ints
    leaf: Ints
    end: Ints

    @cached_property
    def start(self) -> Ints:
        """The first code of each entry."""
        first = np.append(True, np.diff(self.which) != 0)
        return np.where(first, 0, np.roll(self.end, 1))

    @cached_property
    def by_leaf(self) -> Ints:
        """The entries by list and leaf."""
        return np.lexsort((self.leaf, self.which))

    def entry(self, at: Ints, code: Array, codes: int) -> Ints:
        """The entries [n] that have these codes [n] in the lists `at` [n]."""
        return np.searchsorted(self.which * codes + self.end, at * codes + code, side="right")


@dataclass(frozen=True, eq=False)
class Nest:
    """Codes of values among those that go with the leaves of other parts.

    Attributes:
        sources: indices of these parts, each before the nested one.
        sizes: numbers of leaves of each, missing included.
        codes: number of codes; one more means missing.
        leaves: number of leaves of the nested part.
        tables: of all sources, of all but the last, and so on, to none: where the longest is not known, the next is.
    """

    sources: tuple[int, ...]
    sizes: tuple[int, ...]
    codes: int
    leaves: int
    tables: tuple[Table, ...]

    @classmethod
    def fit(cls, sources: dict[int, tuple[Array, int]], own: Array, leaves: int, few: int, order: Array) -> Nest | None:
        """Lists of the leaves that go with those of the sources; `None` where some are too long, or too many.

        Args:
            sources: leaf of each row [n], and the number of leaves, of each source.
            own: leaf of each row that is nested [n]; others than 0..leaves-1 are not looked at.
            leaves: how many there are.
            few: a leaf that goes with the same on fewer rows is not in the list.
            order: how leaves stand in a list: of each row [n], a number that says where its leaf belongs.
        """
        rows = np.flatnonzero((own >= 0) & (own < leaves))
        sizes = tuple(size for _, size in sources.values())
        found = [leaf[rows] for leaf, _ in sources.values()]
        keys = [_key(found[:n], sizes) if n else np.zeros(len(rows), np.int64) for n in range(len(found), -1, -1)]
        counted = [_count(key, own[rows], leaves, few, order[rows]) for key in keys]
        longest = int(np.bincount(counted[0][1]).max(initial=0))
        side = next((side for side in _SIDES if side**2 >= _ROOM * longest), _SIDES[-1])
        if not 0 < longest <= side**2 or math.prod(sizes) * leaves >= _KEYS:
            return None
        return cls(tuple(sources), sizes, side**2, leaves, tuple(_table(*each, side**2) for each in counted))

    def encode(self, sources: Sequence[Array], leaf: Array, rows: Ints | None) -> Array:
        """Codes int64 [n] of leaves [n] beside those of the sources.

        Args:
            sources: leaves of each [n].
            leaf: of the nested part; one that is not in the list counts as some other that is, always the same.
            rows: numbers of the rows [n]: codes are spread evenly over those of their leaf. Without, its first one.
        """
        start, width = np.empty(len(leaf), np.int64), np.empty(len(leaf), np.int64)
        for table, at, here in self._lists(sources):
            pairs = table.which * self.leaves + table.leaf
            wanted = at * self.leaves + leaf[here]
            entry = table.by_leaf[np.searchsorted(pairs, wanted, sorter=table.by_leaf).clip(max=len(pairs) - 1)]
            known = (pairs[entry] == wanted) & (leaf[here] < self.leaves)
            entry = np.where(known, entry, table.entry(at, _modulo(wanted, self.codes, self.leaves), self.codes))
            start[here], width[here] = table.start[entry], table.end[entry] - table.start[entry]
        return start if rows is None else start + _modulo(rows, width, self.codes)

    def decode(self, sources: Sequence[Array], code: Array) -> Array:
        """Leaves int64 [n] of codes [n], each below `codes`, beside the leaves of the sources, each [n]."""
        leaf = np.zeros(len(code), np.int64)
        for table, at, here in self._lists(sources):
            leaf[here] = table.leaf[table.entry(at, code[here], self.codes)]
        return leaf

    def layout(self, missing: bool) -> Layout:
        """The codes as a coarse and a fine one."""
        return Layout(self.codes, missing, np.arange(0, self.codes + 1, round(self.codes**0.5)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        tables = [
            {name: getattr(table, name).tolist() for name in ("keys", "which", "leaf", "end")} for table in self.tables
        ]
        return {
            "sources": list(self.sources),
            "sizes": list(self.sizes),
            "codes": self.codes,
            "leaves": self.leaves,
            "tables": tables,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Nest:
        """Inverse of `to_dict`."""
        tables = (Table(**{name: np.array(each, np.int64) for name, each in table.items()}) for table in data["tables"])
        return cls(tuple(data["sources"]), tuple(data["sizes"]), data["codes"], data["leaves"], tuple(tables))

    def _lists(self, sources: Sequence[Array]) -> list[tuple[Table, Ints, Ints]]:
        """Tables, lists [m] and rows [m]: each row has the list of all its sources, or of the first."""
        found = []
        left = np.arange(len(sources[0]))
        for n, table in enumerate(self.tables):
            key = _key([source[left] for source in sources[: len(sources) - n]], self.sizes)
            key = key if n < len(sources) else np.zeros(len(left), np.int64)
            at = np.searchsorted(table.keys, key).clip(max=len(table.keys) - 1)
            known = table.keys[at] == key
            found.append((table, at[known], left[known]))
            left = left[~known]
        return found


def _modulo(numbers: Ints, sizes: Ints | int, key: int) -> Ints:
    """A number below its size for each of the numbers [n], as if at random."""
    return (mix(numbers.astype(np.uint64), key) % np.asarray(sizes, np.uint64)).astype(np.int64)


def means(groups: Array, values: Array, count: int) -> Array:
    """Of the values [n] of each of `count` groups; 0 of none."""
    rows = np.bincount(groups, minlength=count)
    return np.bincount(groups, values, minlength=count) / np.maximum(rows, 1)


def _key(leaves: Sequence[Array], sizes: Sequence[int]) -> Ints:
    """A number for each combination of leaves [n]."""
    key: Ints = np.zeros(len(leaves[0]) if leaves else 0, np.int64)
    for leaf, size in zip(leaves, sizes, strict=False):
        key = key * size + leaf
    return key


def _count(key: Ints, own: Array, leaves: int, few: int, order: Array) -> tuple[Ints, Ints, Ints, Ints]:
    """Keys of the lists; of each entry its list, its leaf and its rows, in order."""
    pairs, which, rows = np.unique(key * leaves + own.astype(np.int64), return_inverse=True, return_counts=True)
    where = means(which, order, len(pairs))
    kept = rows >= few
    pairs, where, rows = pairs[kept], where[kept], rows[kept]
    by = np.lexsort((pairs, where, pairs // leaves))
    pairs, rows = pairs[by], rows[by]
    keys, lists = np.unique(pairs // leaves, return_inverse=True)
    return keys, lists, pairs % leaves, rows


def _table(keys: Ints, lists: Ints, leaf: Ints, rows: Ints, codes: int) -> Table:
    """Codes for each entry, by its share of the rows, one at least; too long a list loses its rarest."""
    rank = np.empty(len(rows), np.int64)
    by_rows = np.lexsort((-rows, lists))
    first = np.searchsorted(lists, np.arange(len(keys)))
    rank[by_rows] = np.arange(len(rows)) - first[lists]
    kept = rank < codes
    lists, leaf, rows = lists[kept], leaf[kept], rows[kept]
    first = np.searchsorted(lists, np.arange(len(keys)))
    length = np.diff(np.append(first, len(lists)))
    place = np.arange(len(lists)) - first[lists]
    total = np.cumsum(rows)
    before = (total - rows)[first]
    share = (total - before[lists]) / np.bincount(lists, rows, minlength=len(keys))[lists]
    end = np.rint(codes * share).astype(np.int64)
    # Each list is lifted above the one before it, so that one pass makes all of them rise.
    lifted = end - place + lists * (2 * codes)
    end = np.maximum.accumulate(np.maximum(lifted, 1 + lists * (2 * codes))) - lists * (2 * codes) + place
    end = np.minimum(end, codes - (length[lists] - 1 - place))
    return Table(keys, lists, leaf, end)
