"""The rows of the source that few others are like or equal to, kept as filters that tell whether a row is one of them.

Rows are alike when their codes are: the finest bins of numbers, the levels of the rest. They are equal when the numbers
inside these bins are, too. A row that is equal in every learned column to a rare one is always found.

The filters are those of Bloom (1970, "Space/time trade-offs in hash coding with allowable errors"): a row sets PROBES
bits that its hash chooses. A row whose bits are all set was probably there: 1 in 40,000 others is found too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_core.codec.bijection import Words, mix
from vae_core.codec.storage import Array, Bools, Ints

FILE = "rare_rows.parquet"
BITS = 32  # of the filter for each row, at least; less than twice as many
PROBES = 6
FORMAT = "2"
_CHUNK = 1 << 13  # rows hashed at once: they stay in the cache
_KEY = 0x7A6E57
_FILTERS = ("alike", "near", "equal")


@dataclass(frozen=True, eq=False)
class RareRows:
    """Filters of the codes of rows, and of these with the numbers that they leave open.

    Attributes:
        alike: bits, a power of two of them, uint64 [bits / 64], of the codes that few rows have: rows with such codes
            are found whatever their numbers; `None`: none are.
        near: of the codes of the rows in `equal`.
        equal: of the rows that few are equal to; both `None` where codes say everything.
        rows: how many rows few are like or equal to.
        few: less than this, themselves included.
    """

    alike: Words | None
    near: Words | None
    equal: Words | None
    rows: int
    few: int

    @classmethod
    def fit(cls, codes: Array, numbers: Words | None, few: int) -> RareRows:
        """Take the rows that fewer than `few` are like or equal to.

        Args:
            codes: integers [n, sub-columns].
            numbers: hashes [n] of the numbers that codes leave open (`codec/inside.py`), if they do.
            few: see above.
        """
        own = hashes(codes)
        uniques, counts = np.unique(own, return_counts=True)
        alike = uniques[counts < few]
        if numbers is None:
            return cls(_filter(alike), None, None, int(counts[counts < few].sum()), few)
        whole, first, counts = np.unique(_both(own, numbers), return_index=True, return_counts=True)
        rare = counts < few
        near = np.unique(own[first[rare]])
        return cls(_filter(alike), _filter(near), _filter(whole[rare]), int(counts[rare].sum()), few)

    def find(self, codes: Array, numbers: Callable[[Ints], Words] | None = None) -> Ints:
        """Which rows are there: all that are, hardly any other; int64 [f], in order.

        Args:
            codes: integers [n, sub-columns].
            numbers: gives those hashes of some rows; not needed without `equal`.
        """
        own = hashes(codes)
        alike = None if self.alike is None else _found(self.alike, own)
        if self.near is None or self.equal is None:
            assert alike is not None
            return alike
        found = _found(self.near, own)
        if len(found):
            assert numbers is not None
            found = found[_found(self.equal, _both(own[found], numbers(found)))]
        return found if alike is None else np.union1d(found, alike)

    def save(self, path: Path) -> None:
        """Write them as Parquet."""
        about = {"format": FORMAT, "rows": str(self.rows), "few": str(self.few)}
        filters = {name: pa.array([getattr(self, name)], pa.list_(pa.uint64())) for name in _FILTERS}
        table = pa.table(filters).replace_schema_metadata(about)
        pq.write_table(table, path, use_dictionary=False)

    @classmethod
    def load(cls, path: Path) -> RareRows:
        """Read what `save` wrote.

        Raises:
            ValueError: it is of another format.
        """
        table = pq.read_table(path)
        about: dict[bytes, Any] = dict(table.schema.metadata or {})
        if about.get(b"format") == b"1":  # whatever is like a rare row is drawn again
            return cls(table["words"].to_numpy(), None, None, int(about[b"rows"]), int(about[b"few"]))
        if about.get(b"format") != FORMAT.encode():
            raise ValueError(f"format {about.get(b'format')!r}")
        words = [table[name][0].values for name in _FILTERS]
        alike, near, equal = (None if each is None else each.to_numpy() for each in words)
        return cls(alike, near, equal, int(about[b"rows"]), int(about[b"few"]))


def hashes(rows: Array) -> Words:
    """A 64-bit hash of each row of integers [n, m], uint64 [n]: a sum, each column with a weight, well mixed."""
    weights = mix(np.arange(rows.shape[1], dtype=np.uint64), _KEY).view(np.int64) | 1
    sums = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), _CHUNK):
        np.matmul(rows[start : start + _CHUNK].astype(np.int64), weights, out=sums[start : start + _CHUNK])
    return mix(sums.view(np.uint64), _KEY)


def _both(codes: Words, numbers: Words) -> Words:
    """Hashes [n] of rows whose codes and whose numbers have these."""
    return mix(codes ^ mix(numbers, _KEY), _KEY)


def _filter(hashes: Words) -> Words:
    """The bits of a filter of distinct hashes, uint64 [bits / 64]."""
    words = np.zeros(max(64, 1 << (BITS * len(hashes)).bit_length()) // 64, np.uint64)
    for probe in range(PROBES):
        at = _place(words, hashes, probe)
        np.bitwise_or.at(words, (at >> np.uint64(6)).view(np.int64), np.uint64(1) << (at & np.uint64(63)))
    return words


def _found(words: Words, hashes: Words) -> Ints:
    """Which of the hashes [n] the filter has, int64 [f]."""
    found = np.flatnonzero(_has(words, hashes, 0))
    for probe in range(1, PROBES):
        found = found[_has(words, hashes[found], probe)]
    return found


def _has(words: Words, hashes: Words, probe: int) -> Bools:
    """Whether each hash's bit of this probe is set."""
    at = _place(words, hashes, probe)
    found = words[(at >> np.uint64(6)).view(np.int64)]
    at &= np.uint64(63)
    found >>= at
    return np.asarray((found & np.uint64(1)).astype(bool))


def _place(words: Words, hashes: Words, probe: int) -> Words:
    """The bit of each hash's probe: one half of the hash, with the other added again and again."""
    mask = np.uint64(64 * len(words) - 1)
    if probe == 0:
        return hashes & mask
    return (hashes + np.uint64(probe) * ((hashes >> np.uint64(32)) | np.uint64(1))) & mask
