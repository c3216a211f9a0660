"""A snapshot's rows as codes, read a batch at a time, and which of them the codec is made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vae_core.codec import Codec

CODEC_ROWS = 2_000_000  # the codec's bins and levels are read off at most this many rows


def for_codec(rows: int, seed: int) -> npt.NDArray[np.bool_]:
    """Bool [rows]: CODEC_ROWS of them, which the number of rows and the seed alone choose."""
    wanted = np.ones(rows, bool)
    if rows > CODEC_ROWS:
        wanted[np.random.default_rng([seed, 0xC0DEC]).choice(rows, rows - CODEC_ROWS, replace=False)] = False
    return wanted


def encode(dataset: Any, codec: Codec, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """Codes [rows, sub_columns], int16 where they fit, else int32; values float32 [rows, gaussian sub_columns]."""
    fits = max(sub.size for sub in codec.sub_columns) <= np.iinfo(np.int16).max
    codes = np.empty((rows, len(codec.sub_columns)), np.int16 if fits else np.int32)
    values = np.empty((rows, sum(sub.gaussian for sub in codec.sub_columns)), np.float32)
    start = 0
    for batch in dataset.to_batches(batch_readahead=1, fragment_readahead=1):
        encoded, span = codec.encode(batch, start), slice(start, start + len(batch))
        codes[span], values[span] = encoded.codes, encoded.values
        start += len(batch)
    return codes, values
