"""Powers and logarithms of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vae_core.codec.storage import Array, Bools

# Tukey's (1977) ladder, 0 the logarithm. Products and roots have the same last bit on every machine; powers haven't.
POWERS: dict[float, Callable[[Array], Array]] = {
    0.0: np.log,
    1.0: np.positive,
    2.0: np.square,
    3.0: lambda x: x * x * x,
    0.5: np.sqrt,
    -1.0: np.reciprocal,
    1.5: lambda x: x * np.sqrt(x),
    -2.0: lambda x: 1 / (x * x),
    -0.5: lambda x: 1 / np.sqrt(x),
}


@dataclass(frozen=True)
class Ladder:
    """A power of what is `shift` more than a number, or its logarithm.

    Attributes:
        power: one of `POWERS`.
        shift: what is added before.
        otherwise: what the column is where there's no such power, as of a negative number.
    """

    power: float
    shift: float
    otherwise: float = 0.0

    def known(self, x: Array) -> Bools:
        """Where `x` [n] has such a power."""
        return np.isfinite(x) if self.power == 1 else x + self.shift > 0

    def __call__(self, x: Array) -> Array:
        """Of numbers [n] that have such a power, float64 [n]."""
        return POWERS[self.power](x + self.shift)

    def formula(self, name: str) -> str:
        """Of a column of this name: "log(1 + name)"."""
        moved = f"{self.shift:g} + {name}" if self.shift else name
        if self.power == 0:
            return f"log({moved})"
        return name if self.power == 1 else f"{name}^{self.power:.3g}"
