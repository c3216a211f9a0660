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
from vae_core.model.refinement import refined
from vae_core.model.tree import dependence_tree


@dataclass(frozen=True)
class Structure:
    """Of each variable two earlier ones, by index, or None.

    Attributes:
        refines: the one that it is read together with (a fine code's coarse one, a day's month).
        parents: the one whose leaf selects the row of its biases; a codec's own parents are among them.
    """

    refines: tuple[int | None, ...]
    parents: tuple[int | None, ...]

    @classmethod
    def learn(cls, codec: Codec, codes: npt.NDArray[np.int32]) -> Structure:
        """Find it in training rows, int32 [n, sub_columns]."""
        refines = refined(codec)
        for group in interactions(codec, codes):
            for earlier, later in pairwise(group):
                refines[later] = earlier
        return cls(tuple(refines), dependence_tree(codec, codes, refines))

    @classmethod
    def declared(cls, codec: Codec) -> Structure:
        """What the codec itself says, which no row was looked at for."""
        return cls(tuple(refined(codec)), tuple(sub.parent for sub in codec.sub_columns))

    def to_metadata(self) -> dict[str, str]:
        """For the file of the weights; one entry, as safetensors writes several in any order."""
        return {"structure": json.dumps({"refines": self.refines, "parents": self.parents})}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], codec: Codec) -> Structure:
        """Inverse of `to_metadata`; models of before variables were crossed have parents alone."""
        if "structure" not in metadata:
            return cls(tuple(refined(codec)), tuple(json.loads(metadata["parents"])))
        found = json.loads(metadata["structure"])
        return cls(tuple(found["refines"]), tuple(found["parents"]))
