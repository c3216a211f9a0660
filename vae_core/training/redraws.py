"""Which rows are drawn again for being rare ones of the source, and how often the others are drawn instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds
import torch

from vae_core.codec import Codec, RareRows
from vae_core.codec.inside import numbers_of_rows, open_columns
from vae_core.codec.rare_rows import hashes
from vae_core.codec.settled import canonical
from vae_core.codec.settled import rare as find_rare
from vae_core.model import VAE, Structure
from vae_core.model.layout import frequencies
from vae_core.training.calibration import Counts, calibrate, rows_for
from vae_core.training.drawing import draw

CELLS = 2_000_000  # rows times sub-columns that are drawn at once, at most, to see which are like rare ones
COMPARED = 20_000  # rows, at most, to see how often they are
MORE = 1.5  # times as often as held-out rows, past two standard errors: that is memory
ROUNDS = 3  # of allowing for rows that are drawn again
WORTH = 0.005  # share of such rows below which it isn't worth a round
RARE_COUNT = 20.0  # pseudo-rows a code, as often drawn again as all rows
LEAST_GIVEN = 0.05  # of a code's rows, at least: what is hardly ever given isn't drawn more often without end


def rare_rows(folder: Path, codec: Codec, codes: npt.NDArray[Any], few: int) -> RareRows | None:
    """The rows of the snapshot in `folder` that few are like or equal to; `codes` are theirs, [rows, sub_columns]."""
    if few < 2:
        return None
    codes = canonical(codec, codes)
    names = [codec.schema.columns[k].name for k in open_columns(codec)]
    if not names:
        return RareRows.fit(codes, None, few)
    batches = ds.dataset(folder / "data", format="parquet").to_batches(
        columns=names, batch_readahead=1, fragment_readahead=1
    )
    return RareRows.fit(codes, np.concatenate([hashes(numbers_of_rows(codec, batch)) for batch in batches]), few)


def remembers(
    model: VAE, codec: Codec, codes: npt.NDArray[Any], holdout: npt.NDArray[np.bool_], few: int, seed: int
) -> bool:
    """Whether drawn rows are like rare ones that were learned more often than held-out rows are.

    Where few columns have few bins, new rows of the source fall into those of old ones, too: that drawn ones do then
    says nothing of memory.

    Args:
        model: calibrated, on the CPU.
        codec: of its rows.
        codes: of the source's rows, [n, sub_columns].
        holdout: bool [n], the rows that the weights weren't learned from; without any, it is taken to remember.
        few: rows are rare that fewer are like.
        seed: of the rows drawn.
    """
    held = int(holdout.sum())
    if held == 0:
        return True
    codes = canonical(codec, codes)
    learned = RareRows.fit(codes[~holdout], None, few)
    real = len(learned.find(codes[holdout])) / held
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    rows = min(COMPARED, CELLS // codes.shape[1])
    drawn = len(find_rare(codec, learned, *draw(model, codec, rows, generator, rng))) / rows
    near = (real * held + 1) / (held + 2)
    return bool(drawn > MORE * real + 2 * math.sqrt(near * (1 - near) / held))


def calibrate_given(
    model: VAE, codec: Codec, structure: Structure, wanted: Sequence[Counts], rare: RareRows, seed: int
) -> None:
    """Move the biases so that the rows that are given, which are none of the rare ones, have these marginals.

    Rows that are drawn again take from some codes more than from others; these are drawn more often by as much.

    Args:
        model: calibrated, on the CPU.
        codec: of its rows.
        structure: the model's.
        wanted: as `calibrate` takes it.
        rare: the rows.
        seed: of the generated rows.
    """
    for number in range(ROUNDS):
        generator, rng = torch.Generator().manual_seed(seed + number), np.random.default_rng([seed, number])
        rows = min(rows_for(wanted), CELLS // len(wanted))
        codes, position = draw(model, codec, rows, generator, rng)
        found = find_rare(codec, rare, codes, position)
        share = len(found) / len(codes)
        if share < WORTH:
            return
        counts = [frequencies(codec, drawn, structure) for drawn in (codes, codes[found])]
        given = [1 - (again + RARE_COUNT * share) / (every + RARE_COUNT) for every, again in zip(*counts, strict=True)]
        more = [count / np.maximum(part, LEAST_GIVEN) for count, part in zip(wanted, given, strict=True)]
        calibrate(model, more, seed)
