"""What trees are told of a row: leaves of its parts as numbers and as sets, and the numbers that relations make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vae_core.codec.codec import Codec
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.parts import Part
from vae_core.codec.settled import settled
from vae_core.codec.storage import Array

SET = 30  # levels of a set: onnxruntime tests whole numbers up to 31 for membership at once
MOST_SETS = 10  # of a part; a part of more levels is told as a number alone
LARGEST = 1e38  # a number, which stays finite

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Feature:
    """One number of a row.

    Attributes:
        part: index of the part of whose leaf it tells; `None` for a column that a relation makes.
        column: index of the column.
        size: it is one of 0..size-1; 0 where it is any number.
        levels: whether values are levels, each of which counts by itself.
        first: of a set, the leaf that is its 1. Those before are 0, those after the last of the set one number more.
    """

    part: int | None
    column: int
    size: int = 0
    levels: bool = False
    first: int | None = None


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a codec's rows: sets first, then numbers of known size, then all others."""

    codec: Codec

    @cached_property
    def all(self) -> tuple[Feature, ...]:
        """What they are, in order."""
        sets, leaves = [], []
        for k, part in enumerate(self.codec.parts):
            if not isinstance(part, Part):
                leaves.append(Feature(k, part.column, len(part.gaussian.edges) + 2))
                continue
            size = part.leaves.size + 1  # one for missing
            if not part.subs and not part.determinants:
                continue  # always the same
            levels = not isinstance(part.leaves, NumericLeaves)
            if levels and size <= MOST_SETS * SET:
                sets += [Feature(k, part.column, SET + 2, levels, first) for first in range(0, size, SET)]
                if size <= SET:
                    continue
            leaves.append(Feature(k, part.column, size, levels))
        made = [Feature(None, relation.column) for relation in self.codec.relations]
        return (*sets, *leaves, *made)

    @property
    def sets(self) -> int:
        """How many of them are sets."""
        return sum(feature.first is not None for feature in self.all)

    @property
    def sized(self) -> tuple[Feature, ...]:
        """Those of known size, which come first."""
        return tuple(feature for feature in self.all if feature.size)

    def __call__(self, codes: Array, position: Array) -> _Floats:
        """The features of rows as they will be written, float32 [n, features].

        Args:
            codes: integers [n, sub-columns].
            position: floats [n, positions], as `Codec.decode` takes them.
        """
        plain = self.codec.joining.split(settled(self.codec, codes, position))
        leaves = self.codec.leaves(plain)
        values: _Floats = np.empty((len(codes), len(self.all)), np.float32)
        made: dict[int, Array] = {}
        if self.codec.relations:
            drawn = self.codec.joining.split(codes)
            made = self.codec.related(drawn, self.codec.leaves(drawn), position)
        for j, feature in enumerate(self.all):
            if feature.part is None:
                values[:, j] = np.clip(made[feature.column], -LARGEST, LARGEST)
            elif feature.first is not None:
                values[:, j] = np.clip(leaves[feature.part] + (1 - feature.first), 0, SET + 1)
            else:
                part = self.codec.parts[feature.part]
                values[:, j] = leaves[feature.part] if isinstance(part, Part) else plain[part.subs[-1]]
        return values
