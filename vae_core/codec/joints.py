"""Columns of few levels that share a code: the number of the combination of their levels.

What such columns say about each other is then exact, a combination that never occurs is never made, and the decoder
draws once instead of once a column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from vae_core.codec.association import mutual_information
from vae_core.codec.parts import GaussianPart, Part, SubColumn
from vae_core.codec.storage import Array, Bools

_LEAST = 0.005  # nats: columns that say less about each other stay apart
_SUPPORT = 50  # rows a combination, on average, at least
_CELLS = 16_384  # combinations, seen or not
_UNIT = 16  # codes that a matrix product computes for the price of one
_SAMPLE = 20_000  # rows on which columns are compared, fewer where there are many columns
_WORK = 500_000_000  # codes compared, at most


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
        return [np.ascontiguousarray(self.codes[:, k])[code] for k in range(len(self.members))]

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
    and rows enough for each.

    Args:
        parts: of all columns.
        leaves: gives the leaf of every row [n] for the index of a part.
        subs: all sub-columns.
        limit: combinations of a joint code, at most.
    """
    parents = {sub.parent for sub in subs}
    groups = [
        _Group((sub,), (subs[sub].size,), leaves(k).astype(np.uint8))
        for k, part in enumerate(parts)
        if len(part.subs) == 1 and _is_free(subs[sub := part.subs[0]], limit) and sub not in parents
    ]
    if len(groups) < 2:
        return ()
    step = max(1, len(groups[0].codes) // max(2_000, min(_SAMPLE, _WORK // len(groups) ** 2)))
    gain = {pair: _information(*pair, step) for pair in combinations(groups, 2)}
    while gain:
        pair = max(gain, key=gain.__getitem__)
        if gain[pair] < _LEAST:
            break
        merged = _merged(*pair, limit)
        if merged is None:
            del gain[pair]
            continue
        gain = {other: value for other, value in gain.items() if not set(other) & set(pair)}
        groups = [group for group in groups if group not in pair]
        gain |= {(group, merged): _information(group, merged, step) for group in groups}
        groups.append(merged)
    return tuple(sorted((g.joint() for g in groups if len(g.members) > 1), key=lambda joint: joint.members))


@dataclass(frozen=True, eq=False)
class _Group:
    """Sub-columns that share a code: `codes` [n] are numbers of tuples, of which there are product(sizes)."""

    members: tuple[int, ...]
    sizes: tuple[int, ...]
    codes: Array

    @cached_property
    def counts(self) -> Array:
        """Rows of each tuple."""
        return np.bincount(self.codes, minlength=int(np.prod(self.sizes)))

    @cached_property
    def seen(self) -> int:
        """Number of tuples that occur; of a single sub-column, of its codes."""
        return self.sizes[0] if len(self.members) == 1 else int(np.count_nonzero(self.counts))

    @property
    def units(self) -> int:
        return -(-self.seen // _UNIT)

    def joint(self) -> Joint:
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


def _merged(a: _Group, b: _Group, limit: int) -> _Group | None:
    size = int(np.prod(b.sizes))
    if int(np.prod(a.sizes)) * size > _CELLS:
        return None
    merged = _Group(a.members + b.members, a.sizes + b.sizes, a.codes.astype(np.int16) * np.int16(size) + b.codes)
    fits = merged.seen <= min(limit, len(a.codes) / _SUPPORT) and merged.units <= a.units + b.units
    return merged if fits else None


def _information(a: _Group, b: _Group, step: int) -> float:
    """Mutual information in nats."""
    x, y = (np.unique(group.codes[::step], return_inverse=True)[1] for group in (a, b))
    return mutual_information(x, y, int(x.max()) + 1, int(y.max()) + 1)


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
