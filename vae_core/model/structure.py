"""How the variables hang together: found once, before the weights are learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec
from vae_core.model.interactions import interactions
from vae_core.model.regression import told
from vae_core.model.tree import dependence_tree


@dataclass(frozen=True)
class Structure:
    """Of each variable two earlier ones, by index, or None; and the numbers that are predicted.

    Attributes:
        crosses: the one that it is crossed with: a combination of their codes has an embedding of its own.
        parents: the one that selects the row of its biases: by its leaf, or a codec's own parent by its code.
        told: the first variables of numbers that those before them tell (see `vae_core.model.regression`).
    """

    crosses: tuple[int | None, ...]
    parents: tuple[int | None, ...]
    told: tuple[int, ...] = ()

    @classmethod
    def learn(cls, codec: Codec, codes: npt.NDArray[np.int32]) -> Structure:
        """Find it in training rows, int32 [n, sub_columns]."""
        crosses: list[int | None] = [None] * len(codec.sub_columns)
        for group in interactions(codec, codes):
            for earlier, later in pairwise(group):
                crosses[later] = earlier
        return cls(tuple(crosses), dependence_tree(codec, codes, crosses), told(codec, codes))

    @classmethod
    def declared(cls, codec: Codec) -> Structure:
        """What the codec itself says, which no row was looked at for."""
        return cls((None,) * len(codec.sub_columns), tuple(sub.parent for sub in codec.sub_columns))

    @property
    def groups(self) -> list[list[int]]:
        """The variables that are crossed with one another, in the decoder's order."""
        groups: dict[int | None, list[int]] = {}  # by their last variable so far
        for j, earlier in enumerate(self.crosses):
            if earlier is not None:
                groups[j] = [*groups.pop(earlier, [earlier]), j]
        return list(groups.values())

    def in_words(self, codec: Codec) -> list[tuple[str, str]]:
        """What is crossed, as columns and what is said of each, for people to read."""
        groups = [list(dict.fromkeys(codec.sub_columns[j].column for j in group)) for group in self.groups]
        return [(last, f"is learned together with {' and '.join(others)}") for *others, last in groups if others]

    def to_metadata(self) -> dict[str, str]:
        """For the file of the weights; one entry, as safetensors writes several in any order."""
        return {"structure": json.dumps({"crosses": self.crosses, "parents": self.parents, "told": self.told})}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], codec: Codec) -> Structure:
        """Inverse of `to_metadata`; older models have parents alone, or predict nothing."""
        if "structure" not in metadata:
            return cls((None,) * len(codec.sub_columns), tuple(json.loads(metadata["parents"])))
        found = json.loads(metadata["structure"])
        return cls(tuple(found["crosses"]), tuple(found["parents"]), tuple(found.get("told", ())))
