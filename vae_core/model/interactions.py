"""Variables that say much more together than each by itself: a month and a day, of which each has its weather.

The hidden state is a sum over the codes drawn so far, so the heads learn what a code says by itself at once, and what a
combination of two says beyond that only as far as hidden units go. Where hundreds of combinations say something of
their own, they get an embedding each. Such variables are found by what a table given both gains over the tables given
each (their interaction information, McGill 1954), every row being judged by the others.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.model.frequencies import left_out_gain, marginal
from vae_core.model.refinement import MAX_LEAVES

LEAST = 0.1  # nats gained, over all that is foretold
CELLS = 524_288  # entries of a table, at most
CANDIDATES, TARGETS = 24, 64  # variables that may be crossed, and that they are to foretell: of many columns some
PSEUDO_ROWS = 10.0
ROWS = 100_000

Group = tuple[int, ...]


def interactions(codec: Codec, codes: npt.NDArray[np.int32]) -> list[Group]:
    """Groups of variables to be read together, of which no two overlap, each in the decoder's order.

    Args:
        codec: of its split columns the coarse codes are taken; its Gaussian ones are left alone.
        codes: int32 [n, sub_columns], training rows.
    """
    tables = _Tables(codec, codes)
    groups: list[Group] = [(j,) for j in tables.candidates]
    while True:
        pairs = [(tables.interaction(a, b), a, b) for a, b in combinations(groups, 2)]
        most, a, b = max(pairs, default=(0.0, (), ()))
        if most < LEAST:
            return [group for group in groups if len(group) > 1]
        groups = [group for group in groups if group not in (a, b)] + [tuple(sorted(a + b))]


class _Tables:
    """Counts of later variables given groups of earlier ones."""

    def __init__(self, codec: Codec, codes: npt.NDArray[np.int32]) -> None:
        subs = codec.sub_columns
        self._sizes = [int(sub.size) for sub in subs]
        self._codes = np.ascontiguousarray(codes[:: -(-len(codes) // ROWS)].T.astype(np.int64))
        whole = [j for j, sub in enumerate(subs) if sub.parent is None and not sub.gaussian]
        split = {coarse for _, coarse, _ in codec.split_parts}  # numbers say much by themselves
        likely = sorted(whole, key=lambda j: (j in split, -self._sizes[j], j))
        self.candidates = sorted(likely[:CANDIDATES])
        self._targets = whole[:: -(-len(whole) // TARGETS)]
        self._everywhere = {c: marginal(np.bincount(self._codes[c], minlength=self._sizes[c])) for c in self._targets}
        self._gains: dict[tuple[Group, int], float] = {}

    def interaction(self, a: Group, b: Group) -> float:
        """What `a` and `b` together say about later variables beyond what each says, nats a row summed over these."""
        both = tuple(sorted(a + b))
        if self._combinations(both) > MAX_LEAVES:
            return 0.0
        targets = [c for c in self._targets if c > both[-1]]
        return sum(max(0.0, self._gain(both, c) - self._gain(a, c) - self._gain(b, c)) for c in targets)

    def _gain(self, group: Group, target: int) -> float:
        if (group, target) not in self._gains:
            rows, size = self._combinations(group), self._sizes[target]
            gain = 0.0
            if rows * size <= CELLS:
                leaves = np.ravel_multi_index(tuple(self._codes[j] for j in group), [self._sizes[j] for j in group])
                counts = np.bincount(leaves * size + self._codes[target], minlength=rows * size).reshape(rows, size)
                gain = max(0.0, left_out_gain(counts, self._everywhere[target], PSEUDO_ROWS))
            self._gains[group, target] = gain
        return self._gains[group, target]

    def _combinations(self, group: Group) -> int:
        return int(np.prod([self._sizes[j] for j in group]))
