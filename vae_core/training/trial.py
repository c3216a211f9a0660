"""Which columns are drawn first: what short trainings say, where a table has dates that come late.

What depends on a date is mostly learned better once the date is drawn; but not always, so both orders are tried.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from vae_core.codec import Codec
from vae_core.config import TrainingConfig
from vae_core.model import Layout, Structure
from vae_core.progress import Progress
from vae_core.schema import Kind, Schema
from vae_core.split import holdout_mask, rows_where
from vae_core.training.device import processor
from vae_core.training.loop import default_steps, fit

ROWS = 50_000  # on which an order is tried, at most
STEPS = 150  # or SHARE of those of the training, where that is more
SHARE = 0.05  # of its time, at most
LEAST = 5  # times STEPS: a shorter training isn't worth it
_DATES = (Kind.DATE, Kind.TIMESTAMP)


def drawn_first(folder: Path, schema: Schema, config: TrainingConfig, progress: Progress) -> tuple[int, ...]:
    """The dates and moments of a snapshot, where it is better to draw them first; else none.

    Args:
        folder: of the snapshot.
        schema: of its rows.
        config: of the training.
        progress: told that orders are tried.
    """
    dates = tuple(i for i, column in enumerate(schema.columns) if column.kind in _DATES)
    if dates == tuple(range(len(dates))) or (config.max_steps or STEPS * LEAST) < STEPS * LEAST:
        return ()
    progress(0, note="trying whether to draw dates first")
    dataset = ds.dataset(folder / "data", format="parquet")
    rows = dataset.count_rows()
    wanted = np.zeros(rows, bool)
    wanted[np.unique(np.linspace(0, rows - 1, min(rows, ROWS), dtype=np.int64))] = True
    table = rows_where(dataset, wanted)
    holdout = holdout_mask(len(table), config.holdout, config.seed)
    whole = config.max_steps or default_steps(len(table), config.batch_size)
    steps = max(STEPS, round(SHARE * whole))
    short = config.model_copy(update={"max_steps": steps, "max_minutes": SHARE * config.max_minutes})
    losses = []
    for first in ((), dates):
        codec = Codec.fit(table, schema, config.codec, seed=config.seed, first=first)
        if not codec.sub_columns:
            return ()
        encoded = codec.encode(table, first_row=0)
        structure = Structure.learn(codec, encoded.codes[~holdout])
        layout = Layout.from_codec(codec, encoded.codes[~holdout], structure)
        with processor():
            result = fit(layout, encoded.codes, encoded.values, holdout, short)
        losses.append(min(result.curves.holdout_loss))
    return dates if losses[1] < losses[0] else ()
