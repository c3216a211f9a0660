"""Columns of few levels that share a code: the number of the combination of their levels.

What such columns say about each other is then exact, a combination that never occurs is never made, and the decoder
draws once instead of once a column. What all others say about one of them is learned less well than by a code of its
own; so the last column, by custom the one that is to be predicted, keeps its own.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from vae_core.codec.parts import GaussianPart, Part, SubColumn
from vae_core.codec.storage import Array, Bools

_LEAST = 0.005  # nats: columns that say less about each other stay apart
_SUPPORT = 50  # rows a combination, on average, at least
_CELLS = 16_384  # combinations, seen or not
_UNIT = 16  # codes that a matrix product computes for the price of one
_SAMPLE = 400_000  # rows times columns on which columns are compared, about


@dataclass(frozen=True, eq=False)
class Joint:
    """Sub-columns whose codes are one code.

    Attributes:
        members: indices of the sub-columns, ascending.
        sizes: numbers of codes of each.
        codes: the members' codes of each combination that occurs, int32 [combinations, members], commonest first.
    """

    members: tuple[int, ...]
    sizes: tuple[int, ...]
    codes: Array

    @cached_property
    def _table(self) -> Array:
        """The combination for each tuple of codes, int32 [product of sizes]; of one that never occurs, the nearest."""
        possible = np.stack(np.unravel_index(np.arange(np.prod(self.sizes)), self.sizes), axis=1)
        same = (possible[:, None, :] == self.codes[None]).sum(axis=2)
        return np.asarray(same.argmax(axis=1), dtype=np.int32)  # the first, which is the commonest, of those as near

    def encode(self, codes: Sequence[Array]) -> Array:
        """Combinations int32 [n] of the members' codes, each [n]."""
        return np.asarray(self._table[np.ravel_multi_index(tuple(codes), self.sizes)])

    def decode(self, code: Array) -> list[Array]:
        """The members' codes, each int32 [n], of combinations [n]."""
        return [member.take(code) for member in self._members]

    @cached_property
    def _members(self) -> list[Array]:
        """The codes of each member, int32 [combinations], contiguous."""
        return list(np.ascontiguousarray(self.codes.T))

    def sub_column(self, subs: Sequence[SubColumn]) -> SubColumn:
        """What the model sees in place of `subs`, the members."""
        allowed: Bools = np.ones(len(self.codes), dtype=bool)
        for k, sub in enumerate(subs):
            if sub.allowed is not None:
                allowed &= sub.allowed[self.codes[:, k]]
        names, columns = (" × ".join(getattr(sub, field) for sub in subs) for field in ("name", "column"))
        allowed_or_all = None if allowed.all() else allowed
        return SubColumn(names, columns, len(self.codes), allowed=allowed_or_all, members=self.codes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"members": list(self.members), "codes": self.codes.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], plain: Sequence[SubColumn]) -> Joint:
        """Inverse of `to_dict`, for members of `plain`."""
        members = tuple(data["members"])
        return cls(members, tuple(plain[k].size for k in members), np.array(data["codes"], dtype=np.int32))


def find_joints(
    parts: Sequence[Part | GaussianPart], leaves: Callable[[int], Array], subs: Sequence[SubColumn], limit: int
) -> tuple[Joint, ...]:
    """Choose which sub-columns share a code: those that say most about each other, while that costs nothing.

    A joint code has at most `limit` combinations, no more than its members' codes need when each is rounded up to 16,
    and rows enough for each. The table's last column is left alone.

    Args:
        parts: of all columns.
        leaves: gives the leaf of every row [n] for the index of a part.
        subs: all sub-columns.
        limit: combinations of a joint code, at most.
    """
    parents = {sub.parent for sub in subs}
    free = [
        (sub, leaves(k).astype(np.uint8))
        for k, part in enumerate(parts[:-1])
        if len(part.subs) == 1 and _is_free(subs[sub := part.subs[0]], limit) and sub not in parents
    ]
    if len(free) < 2:
        return ()
    rows = len(free[0][1])
    sample = slice(None, None, max(1, rows // max(_SAMPLE // len(free), 2_000)))
    limit = min(limit, rows // _SUPPORT)
    groups: list[_Group] = []  # never shrinks; what has been merged is no longer in `alone`
    alone: set[int] = set()
    heap: list[tuple[float, int, int]] = []

    def add(group: _Group) -> None:
        others = sorted(alone)
        for other, information in zip(others, _information(group, [groups[k] for k in others], limit), strict=True):
            if information >= _LEAST:
                heapq.heappush(heap, (-information, other, len(groups)))
        alone.add(len(groups))
        groups.append(group)

    for sub, codes in free:
        add(_Group((sub,), (subs[sub].size,), codes, sample))
    while heap:
        _, a, b = heapq.heappop(heap)
        if {a, b} <= alone and _fits(merged := groups[a].merged(groups[b]), groups[a], groups[b], limit):
            alone -= {a, b}
            add(merged)
    joints = (groups[k].joint() for k in alone if len(groups[k].members) > 1)
    return tuple(sorted(joints, key=lambda joint: joint.members))


@dataclass(frozen=True, eq=False)
class _Group:
    """Sub-columns that share a code: `codes` [n] are numbers of tuples, of which there are product(sizes)."""

    members: tuple[int, ...]
    sizes: tuple[int, ...]
    codes: Array
    sample: slice

    @cached_property
    def counts(self) -> Array:
        """Rows of each tuple."""
        return np.bincount(self.codes, minlength=math.prod(self.sizes))

    @cached_property
    def seen(self) -> int:
        """Number of tuples that occur; of a single sub-column, of its codes."""
        return self.sizes[0] if len(self.members) == 1 else int(np.count_nonzero(self.counts))

    @cached_property
    def sampled(self) -> Array:
        """Which tuple each row of the sample has, of those that occur in it, int64 [rows]."""
        return np.unique(self.codes[self.sample], return_inverse=True)[1]

    @cached_property
    def indicators(self) -> Array:
        """The same as uint8 [rows, tuples]: 1 where the row has the tuple."""
        return np.eye(self.sampled.max() + 1, dtype=np.uint8)[self.sampled]

    @cached_property
    def entropy(self) -> float:
        """In nats, in the sample."""
        p = self.indicators.mean(axis=0)
        return float(-(p * np.log(p)).sum())

    def merged(self, other: _Group) -> _Group:
        """Both as one."""
        codes = self.codes.astype(np.int64) * math.prod(other.sizes) + other.codes
        small = np.min_scalar_type(math.prod(self.sizes + other.sizes))
        return _Group(self.members + other.members, self.sizes + other.sizes, codes.astype(small), self.sample)

    def joint(self) -> Joint:
        """What the codec keeps."""
        order = np.argsort(self.members)
        seen = np.argsort(-self.counts, kind="stable")[: self.seen]
        codes = np.stack(np.unravel_index(seen, self.sizes), axis=1).astype(np.int32)
        return Joint(
            tuple(self.members[k] for k in order),
            tuple(self.sizes[k] for k in order),
            np.ascontiguousarray(codes[:, order]),
        )


def _is_free(sub: SubColumn, limit: int) -> bool:
    """Whether there are few codes, and nothing hangs on their order or on a place inside them."""
    few = sub.size <= min(limit, np.iinfo(np.uint8).max)
    return few and sub.parent is None and not sub.position and not sub.gaussian and sub.ordered <= 2


def _units(codes: int) -> int:
    return -(-codes // _UNIT)


def _fits(merged: _Group, a: _Group, b: _Group, limit: int) -> bool:
    return merged.seen <= limit and _units(merged.seen) <= _units(a.seen) + _units(b.seen)


def _information(group: _Group, others: list[_Group], limit: int) -> list[float]:
    """Mutual information of a group and each of the others, in nats, less its expectation for independent ones.

    It is 0 where the sample alone has more than `limit` combinations, or there are too many tuples to number.
    """
    if not others:
        return []
    rows, own = len(group.sampled), group.indicators.shape[1]
    widths = np.array([other.indicators.shape[1] for other in others])
    starts = np.cumsum(np.append(0, widths[:-1]))
    by_tuple = np.argsort(group.sampled, kind="stable")
    indicators = np.concatenate([other.indicators for other in others], axis=1)[by_tuple]
    # A product of matrices would do, but a BLAS with threads is slow on a busy machine.
    firsts = np.searchsorted(group.sampled[by_tuple], np.arange(own))
    counts = np.add.reduceat(indicators, firsts, axis=0, dtype=np.int32)
    terms = (counts * np.log(np.maximum(counts, 1))).sum(axis=0)
    entropy = np.log(rows) - np.add.reduceat(terms, starts) / rows
    chance = (own - 1) * (widths - 1) / (2 * rows)
    found = group.entropy + np.array([other.entropy for other in others]) - entropy - chance
    cells = np.array([math.prod(group.sizes + other.sizes) for other in others])
    few = (np.add.reduceat(np.count_nonzero(counts, axis=0), starts) <= limit) & (cells <= _CELLS)
    return [float(value) for value in np.where(few, found, 0.0)]


@dataclass(frozen=True, eq=False)
class Joining:
    """Which of the sub-columns of all parts the model sees as they are, and which as joint codes.

    A joint code stands where the last of its members stood.

    Attributes:
        plain: the sub-columns of all parts.
        joints: which of them share codes.
    """

    plain: tuple[SubColumn, ...]
    joints: tuple[Joint, ...]

    @cached_property
    def _sources(self) -> list[int | Joint]:
        """Of each sub-column of the model, the plain one or the joint code that it is."""
        member = {k: joint for joint in self.joints for k in joint.members}
        sources = (member.get(k, k) for k in range(len(self.plain)))
        return [s for k, s in enumerate(sources) if isinstance(s, int) or s.members[-1] == k]

    @cached_property
    def places(self) -> dict[int, int]:
        """Index among the model's sub-columns of each plain one that is no member."""
        return {source: place for place, source in enumerate(self._sources) if isinstance(source, int)}

    def sub_columns(self) -> tuple[SubColumn, ...]:
        """What the model sees."""
        return tuple(
            source.sub_column([self.plain[k] for k in source.members])
            if isinstance(source, Joint)
            else replace(sub := self.plain[source], parent=None if sub.parent is None else self.places[sub.parent])
            for source in self._sources
        )

    def join(self, codes: Array) -> Array:
        """The model's codes int32 [n, sub-columns], by column, of plain codes [n, plain sub-columns]."""
        if not self.joints:
            return codes
        joined = np.empty((len(codes), len(self._sources)), dtype=np.int32, order="F")
        for place, source in enumerate(self._sources):
            if isinstance(source, int):
                joined[:, place] = codes[:, source]
            else:
                joined[:, place] = source.encode([codes[:, k] for k in source.members])
        return joined

    def split(self, codes: Array) -> Array:
        """The plain codes, one row a plain sub-column, contiguous, of the model's codes [n, sub-columns]."""
        by_column = np.ascontiguousarray(codes.T)
        if not self.joints:
            return by_column
        plain = np.empty((len(self.plain), len(codes)), dtype=codes.dtype)
        for place, source in enumerate(self._sources):
            if isinstance(source, int):
                plain[source] = by_column[place]
            else:
                for k, member in zip(source.members, source.decode(by_column[place]), strict=True):
                    plain[k] = member
        return plain
