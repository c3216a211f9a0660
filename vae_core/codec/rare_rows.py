"""The rows of the source that few others are like, kept as a filter that tells whether a row is one of them.

Rows are alike when their codes are: the finest bins of numbers, the levels of the rest. So a row that is equal to one
of the source in every learned column is always found, and so is one that differs from it within its bins alone.

The filter is that of Bloom (1970, "Space/time trade-offs in hash coding with allowable errors"): a row sets PROBES bits
that a hash of its codes chooses. A row whose bits are all set was probably there: 1 in 40,000 others is found too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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
FORMAT = "1"
_CHUNK = 1 << 16  # rows hashed at once
_KEY = 0x7A6E57


@dataclass(frozen=True, eq=False)
class RareRows:
    """The filter.

    Attributes:
        words: its bits, a power of two of them, uint64 [bits / 64].
        rows: how many rows it was made of.
        few: these are those that fewer rows of the source than this are like, themselves included.
    """

    words: Words
    rows: int
    few: int

    @classmethod
    def fit(cls, codes: Array, few: int) -> RareRows:
        """Take the rows of `codes`, integers [n, sub-columns], that occur fewer than `few` times."""
        hashes, counts = np.unique(_hashes(codes), return_counts=True)
        rare = counts < few
        rows = int(counts[rare].sum())
        hashes = hashes[rare]
        bits = max(64, 1 << (BITS * len(hashes)).bit_length())
        words = np.zeros(bits // 64, np.uint64)
        filled = cls(words, rows, few)
        for probe in range(PROBES):
            at = filled._place(hashes, probe)
            np.bitwise_or.at(words, (at >> np.uint64(6)).view(np.int64), np.uint64(1) << (at & np.uint64(63)))
        return filled

    def find(self, codes: Array) -> Ints:
        """Which rows of `codes`, integers [n, sub-columns], are there: all that are, hardly any other; int64 [f]."""
        hashes = _hashes(codes)
        found = np.flatnonzero(self._has(hashes, 0))
        for probe in range(1, PROBES):
            found = found[self._has(hashes[found], probe)]
        return found

    def _has(self, hashes: Words, probe: int) -> Bools:
        """Whether each hash's bit of this probe is set."""
        at = self._place(hashes, probe)
        words = self.words[(at >> np.uint64(6)).view(np.int64)]
        at &= np.uint64(63)
        words >>= at
        return np.asarray((words & np.uint64(1)).astype(bool))

    def _place(self, hashes: Words, probe: int) -> Words:
        """The bit of each hash's probe: one half of the hash, with the other added again and again."""
        if probe == 0:
            return hashes & self._mask
        return (hashes + np.uint64(probe) * ((hashes >> np.uint64(32)) | np.uint64(1))) & self._mask

    @cached_property
    def _mask(self) -> np.uint64:
        return np.uint64(64 * len(self.words) - 1)

    def save(self, path: Path) -> None:
        """Write it as Parquet."""
        about = {"format": FORMAT, "rows": str(self.rows), "few": str(self.few)}
        pq.write_table(pa.table({"words": self.words}).replace_schema_metadata(about), path, use_dictionary=False)

    @classmethod
    def load(cls, path: Path) -> RareRows:
        """Read what `save` wrote.

        Raises:
            ValueError: it is of another format.
        """
        table = pq.read_table(path)
        about: dict[bytes, Any] = dict(table.schema.metadata or {})
        if about.get(b"format") != FORMAT.encode():
            raise ValueError(f"format {about.get(b'format')!r}")
        return cls(table["words"].to_numpy(), int(about[b"rows"]), int(about[b"few"]))


def _hashes(codes: Array) -> Words:
    """A 64-bit hash of each row, uint64 [n]: a sum of its codes, each with a weight of its column's, well mixed."""
    weights = mix(np.arange(codes.shape[1], dtype=np.uint64), _KEY).view(np.int64) | 1
    sums = np.empty(len(codes), np.int64)
    for start in range(0, len(codes), _CHUNK):
        np.matmul(codes[start : start + _CHUNK].astype(np.int64), weights, out=sums[start : start + _CHUNK])
    return mix(sums.view(np.uint64), _KEY)
