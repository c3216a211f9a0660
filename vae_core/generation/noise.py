"""The random numbers of a dataset: every block of rows has streams of its own, whoever generates it.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a 256-bit counter through a bijection
that a 128-bit key selects. Here the key is the seed, and the counter's four 64-bit words are, from the highest,

    (block, stream, attempt, position)

where `stream` numbers the kind of noise (z, u, eps, and the chances below which a row isn't kept), `attempt` is 0
unless the block's rows are proposed again, and the lowest word counts up from zero while numbers are drawn. A stream
would have to draw 2^64 counters before it met the next attempt's, and 2^128 before it met another kind's, so no two
streams of a seed ever meet on a counter, and a bijection never repeats an output. Other seeds are other keys: other
bijections.

So row i of seed s is a function of (s, i) alone: i // BLOCK chooses the streams, i % BLOCK the row in them.

A row that is drawn again by itself (see `Sampler`) has a stream for every attempt, of a kind of its own. Its words are

    (row, stream, attempt, position)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vae_core.errors import ConfigError

BLOCK = 8192
_Z, _U, _EPS, _AGAIN, _CHANCE = range(5)
_BUFFERED = 4  # numbers that Philox makes at once


class Noise(NamedTuple):
    """Noise of some rows: z float32 [n, latent] and eps float32 [n, G] normal; u float32 [n, S] uniform in [0, 1)."""

    z: npt.NDArray[np.float32]
    u: npt.NDArray[np.float32]
    eps: npt.NDArray[np.float32]

    def cut(self, start: int, stop: int) -> Noise:
        """Take rows `start` … `stop - 1`."""
        return Noise(self.z[start:stop], self.u[start:stop], self.eps[start:stop])


def noise(seed: int, block: int, latent: int, uniforms: int, normals: int, attempt: int = 0) -> Noise:
    """Draw the noise of the BLOCK rows that start at row `block * BLOCK`.

    Args:
        seed: 0 to 2^128 - 1.
        block: 0 to 2^64 - 1.
        latent: columns of z.
        uniforms: columns of u, one a sub-column. Multiples of 2^-24, so never 1.0.
        normals: columns of eps, one a Gaussian sub-column.
        attempt: 0 to 2^64 - 1; how often the rows were proposed before.

    Raises:
        ConfigError: the seed is out of range.
    """
    return Noise(
        _stream(seed, block, _Z, attempt).standard_normal((BLOCK, latent), dtype=np.float32),
        _stream(seed, block, _U, attempt).random((BLOCK, uniforms), dtype=np.float32),
        _stream(seed, block, _EPS, attempt).standard_normal((BLOCK, normals), dtype=np.float32),
    )


def chances(seed: int, block: int, attempt: int = 0) -> npt.NDArray[np.float32]:
    """Draw a number in [0, 1) for each of a block's rows, float32 [BLOCK]: a row less likely to be kept isn't."""
    return _stream(seed, block, _CHANCE, attempt).random(BLOCK, dtype=np.float32)


def noise_again(
    seed: int, rows: npt.NDArray[np.int64], attempt: int, latent: int, uniforms: int, normals: int
) -> Noise:
    """Draw the noise of rows that are drawn again by themselves.

    Args:
        seed: 0 to 2^128 - 1.
        rows: their numbers [n].
        attempt: 0 to 2^64 - 1; the first redraw is 0.
        latent: columns of z.
        uniforms: columns of u.
        normals: columns of eps.
    """
    drawn = Noise(*(np.empty((len(rows), width), np.float32) for width in (latent, uniforms, normals)))
    generator = _stream(seed, 0, _AGAIN)
    philox = generator.bit_generator
    state: dict[str, Any] = dict(philox.state)  # setting it is four times as fast as making a generator
    for i, row in enumerate(rows.tolist()):
        state["state"]["counter"][:] = 0, attempt, _AGAIN, row
        philox.state = state | {"buffer_pos": _BUFFERED, "has_uint32": 0, "uinteger": 0}
        generator.standard_normal(out=drawn.z[i], dtype=np.float32)
        generator.random(out=drawn.u[i], dtype=np.float32)
        generator.standard_normal(out=drawn.eps[i], dtype=np.float32)
    return drawn


def _stream(seed: int, block: int, kind: int, attempt: int = 0) -> np.random.Generator:
    if not 0 <= seed < 1 << 128:
        raise ConfigError(f"seed {seed} is out of range: use 0 to 2^128 - 1")
    counter = np.array([0, attempt, kind, block], np.uint64)  # a plain list would pass through float64 if it is large
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))
