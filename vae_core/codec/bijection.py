"""A keyed bijection of [0, size): distinct inputs give distinct outputs, in an order that shows nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

MAX_SIZE = 1 << 62
_ROUNDS = 4


def mix(x: Words, key: int) -> Words:
    """A keyed hash of 64-bit words (the finaliser of SplitMix64), uint64 [n]."""
    x = x + np.uint64((key * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & (2**64 - 1))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def permute(x: Words, size: int, key: int) -> Words:
    """Images of `x` [n], all below `size` <= 2^62, under a Feistel network that walks its cycles back into the range.

    The network permutes the next power of four, so a walk takes fewer than four steps on average.
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    result = x.astype(np.uint64)
    todo = np.arange(len(x))
    while len(todo):
        y = result[todo]
        left, right = y >> half, y & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (mix(right, key * _ROUNDS + turn) & mask)
        y = (left << half) | right
        result[todo] = y
        todo = todo[y >= np.uint64(size)]
    return result
