"""The random numbers of a dataset: every block of rows has streams of its own, whoever generates it.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a 256-bit counter through a bijection
that a 128-bit key selects. Here the key is the seed, and the counter's four 64-bit words are, from the highest,

    (block, stream, position, position)

where `stream` numbers the kind of noise (z, u, eps) and the two lowest words count up from zero while numbers are
drawn. A stream would have to draw 2^128 counters before it carried into the word of the next one, so no two streams of
a seed ever meet on a counter, and a bijection never repeats an output. Other seeds are other keys: other bijections.

So row i of seed s is a function of (s, i) alone: i // BLOCK chooses the streams, i % BLOCK the row in them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vae_core.errors import ConfigError

BLOCK = 8192
_Z, _U, _EPS = range(3)


class Noise(NamedTuple):
    """Noise of some rows: z float32 [n, latent] and eps float32 [n, G] normal; u float32 [n, S] uniform in [0, 1)."""

    z: npt.NDArray[np.float32]
    u: npt.NDArray[np.float32]
    eps: npt.NDArray[np.float32]

    def cut(self, start: int, stop: int) -> Noise:
        """Take rows `start` … `stop - 1`."""
        return Noise(self.z[start:stop], self.u[start:stop], self.eps[start:stop])


def noise(seed: int, block: int, latent: int, uniforms: int, normals: int) -> Noise:
    """Draw the noise of the BLOCK rows that start at row `block * BLOCK`.

    Args:
        seed: 0 to 2^128 - 1.
        block: 0 to 2^64 - 1.
        latent: columns of z.
        uniforms: columns of u, one a sub-column. Multiples of 2^-24, so never 1.0.
        normals: columns of eps, one a Gaussian sub-column.

    Raises:
        ConfigError: the seed is out of range.
    """
    return Noise(
        _stream(seed, block, _Z).standard_normal((BLOCK, latent), dtype=np.float32),
        _stream(seed, block, _U).random((BLOCK, uniforms), dtype=np.float32),
        _stream(seed, block, _EPS).standard_normal((BLOCK, normals), dtype=np.float32),
    )


def _stream(seed: int, block: int, kind: int) -> np.random.Generator:
    if not 0 <= seed < 1 << 128:
        raise ConfigError(f"seed {seed} is out of range: use 0 to 2^128 - 1")
    counter = np.array([0, 0, kind, block], np.uint64)  # a plain list would pass through float64 for large blocks
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))
