"""Rows as codes: drawn by the decoder, and drawn again where they are like rare ones or drawn too often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec, RareRows
from vae_core.codec.settled import rare as find_rare
from vae_core.generation.discriminator import Discriminator
from vae_core.generation.noise import BLOCK, Noise, chances, noise_again
from vae_core.generation.noise import noise as draw
from vae_core.generation.session import Graph

ATTEMPTS = 16  # times that a row is drawn again, at most, for being like a rare one
PROPOSALS = 12  # times that it is drawn again before, at most, as the discriminator didn't keep it
_FEW = 64  # fewer rows than a batch are decoded at once, in multiples of this

_Codes = npt.NDArray[np.int32]
_Floats = npt.NDArray[np.float32]
_Rows = npt.NDArray[np.int64]


class Redrawn(NamedTuple):
    """Rows that were made, those that would have been rare ones, all draws again, and rows that stayed rare."""

    rows: int
    first: int
    draws: int
    stayed: int


class _Drawn(NamedTuple):
    """Rows: codes int32 [n, S], positions float32 [n, P]; which are to be drawn again, which only for being rare."""

    codes: _Codes
    position: _Floats
    again: _Rows
    rare: _Rows


class Draws:
    """Draws rows. A row that is refused is drawn again, with noise of its own number and attempt.

    So it depends on nothing else. The discriminator isn't asked about the last of PROPOSALS, and after ATTEMPTS more
    the row stays as it is: a table of hardly any possible rows has such.
    """

    def __init__(self, codec: Codec, decoder: Graph, discriminator: Discriminator | None) -> None:
        self.codec = codec
        self.decoder = decoder
        self.discriminator = discriminator

    @property
    def _widths(self) -> tuple[int, int, int]:
        """Of z, u and eps."""
        return self.decoder.latent_dim, len(self.decoder.sub_columns), self.decoder.normals

    def _redecoder(self, rows: int) -> Graph:
        """For a few rows. On a GPU results depend on the batch, so that it stays the same there."""
        batch = -(-rows // _FEW) * _FEW
        few = batch < self.decoder.batch and not self.decoder.provider.startswith("CUDA")
        return self.decoder.with_batch(batch) if few else self.decoder

    def noise(self, rows: int, seed: int, first_row: int = 0) -> Noise:
        """Noise of rows `first_row` … `first_row + rows - 1`."""
        parts = [
            draw(seed, start // BLOCK, *self._widths).cut(start % BLOCK, start % BLOCK + stop - start)
            for start, stop in pieces(first_row, first_row + rows)
        ] or [draw(seed, 0, *self._widths).cut(0, 0)]
        return parts[0] if len(parts) == 1 else Noise(*(np.concatenate(field) for field in zip(*parts, strict=True)))

    def codes(self, rows: int, seed: int, first_row: int, rejects: RareRows | None) -> tuple[_Codes, _Floats]:
        """Codes int32 [rows, S] and positions float32 [rows, P] of the rows from `first_row` on; none of `rejects`."""
        drawn = self._decoded(rows, seed, first_row, rejects)
        self._redraw(drawn, seed, first_row, rejects)
        return drawn.codes, drawn.position

    def count(self, rows: int, seed: int, rejects: RareRows | None) -> Redrawn:
        """Count what `codes` draws again."""
        counts = np.zeros(4, np.int64)
        for start, stop in pieces(0, rows):
            counts += self._redraw(self._decoded(stop - start, seed, start, rejects), seed, start, rejects)
        return Redrawn(*counts.tolist())

    def _decoded(self, rows: int, seed: int, first_row: int, rejects: RareRows | None) -> _Drawn:
        """Draw rows for the first time, a block at a time."""
        codes = np.empty((rows, len(self.decoder.sub_columns)), np.int32)
        position = np.empty((rows, len(self.decoder.position)), np.float32)
        refused = np.zeros(rows, bool)
        for start, stop in pieces(first_row, first_row + rows):
            part = slice(start - first_row, stop - first_row)
            self.decoder.decode(*self.noise(stop - start, seed, start), out=(codes[part], position[part]))
            if self.discriminator is not None:  # while the codes are in the cache
                chance = chances(seed, start // BLOCK)[start % BLOCK :][: stop - start]
                refused[part] = self.discriminator.kept(codes[part], position[part]) <= chance
        return _Drawn(codes, position, *self._again(codes, position, refused, rejects))

    def _again(
        self, codes: _Codes, position: _Floats, refused: npt.NDArray[np.bool_], rejects: RareRows | None
    ) -> tuple[_Rows, _Rows]:
        """Which rows are drawn again, `refused` [n] by the discriminator or as rare ones; which as rare ones alone."""
        if rejects is None:
            return np.flatnonzero(refused), np.empty(0, np.int64)
        rare = find_rare(self.codec, rejects, codes, position)
        only = rare[~refused[rare]]
        refused[rare] = True
        return np.flatnonzero(refused), only

    def _redraw(self, first: _Drawn, seed: int, first_row: int, rejects: RareRows | None) -> Redrawn:
        """Draw rows that are to be drawn again, of those from `first_row` on, in place, until none is left."""
        codes, position, again, rare = first
        draws, withheld = 0, [rare]
        for attempt in range(-PROPOSALS if self.discriminator is not None else 0, 0 if rejects is None else ATTEMPTS):
            if not len(again):
                break
            if attempt < 0:
                noise, passed = self._proposed(first_row + again, attempt + PROPOSALS + 1, seed)
                chance = passed if attempt < -1 else None  # the last one is taken
            else:
                noise, chance = noise_again(seed, first_row + again, attempt, *self._widths), None
            drawn = self._redecoder(len(again)).decode(*noise)
            codes[again], position[again] = drawn
            draws += len(again)
            refused = np.zeros(len(again), bool)
            if self.discriminator is not None and chance is not None:
                refused = self.discriminator.kept(*drawn) <= chance
            left, rare = self._again(*drawn, refused, rejects)
            withheld.append(again[rare])
            again = again[left]
        stayed = 0 if rejects is None else len(again)
        return Redrawn(len(codes), len(np.unique(np.concatenate(withheld))), draws, stayed)

    def _proposed(self, rows: _Rows, attempt: int, seed: int) -> tuple[Noise, _Floats]:
        """Noise of `rows` [n], in order, at an attempt of their blocks, and the chances [n] that they have to pass.

        Most rows of a block need it at first, and a whole block's is as fast as some dozen rows' by themselves.
        """
        blocks, starts = np.unique(rows // BLOCK, return_index=True)
        parts = []
        for block, own in zip(blocks.tolist(), np.split(rows % BLOCK, starts[1:]), strict=True):
            drawn = draw(seed, block, *self._widths, attempt)
            parts.append((*(field[own] for field in drawn), chances(seed, block, attempt)[own]))
        z, u, eps, chance = (np.concatenate(field) for field in zip(*parts, strict=True))
        return Noise(z, u, eps), chance


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut rows [start, stop) where blocks begin."""
    while start < stop:
        end = min((start // BLOCK + 1) * BLOCK, stop)
        yield start, end
        start = end
