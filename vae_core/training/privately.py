"""The training stage with differential privacy: from a snapshot to a model that tells little of any row.

Real rows are looked at in two places: `stand_in` counts them, with noise, and `fit_privately` learns from them, with
noise. All else is made of what these two let out.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.dataset as ds
import torch

from vae_core.codec import Codec
from vae_core.codec.private import Release, count_releases, public_schema, stand_in
from vae_core.config import TrainingConfig
from vae_core.errors import SourceError
from vae_core.model import VAE, Layout, Structure
from vae_core.model.sampling import sample
from vae_core.progress import Progress, silent
from vae_core.schema import Kind, Schema
from vae_core.split import holdout_mask, rows_where
from vae_core.training import rows as snapshot_rows
from vae_core.training.budget import Budget
from vae_core.training.calibration import calibrate
from vae_core.training.device import processor
from vae_core.training.loop import TrainingResult
from vae_core.training.private import fit_privately

MEASURED_ROWS = 10_000  # generated rows that stand for held-out ones in training.json
SECRET = ".privacy-secret"
_UNLEARNED = (Kind.TEXT, Kind.EMPTY, Kind.IDENTIFIER)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrivateModel:
    """What private training lets out.

    Attributes:
        codec: of the stand-in.
        schema: without counts of the real rows.
        layout: of the stand-in.
        result: the model, calibrated.
        codes, values: of generated rows, on which the use of the latent is measured.
        rows: learned, and held out; both count as public.
        spent: the manifest's `privacy`.
    """

    codec: Codec
    schema: Schema
    layout: Layout
    result: TrainingResult
    codes: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    rows: tuple[int, int]
    spent: dict[str, Any]


def learn_privately(folder: Path, schema: Schema, config: TrainingConfig, progress: Progress = silent) -> PrivateModel:
    """Learn a snapshot's rows, but for the held-out ones, which nothing here looks at.

    Args:
        folder: of the snapshot.
        schema: its schema; types and kinds count as public.
        config: with `privacy`.
        progress: told optimiser steps.

    Raises:
        MissingDependencyError: Opacus is not installed.
        ConfigError: what is declared public doesn't fit the columns, or the budget is too small for any noise.
        SourceError: the noise leaves nothing to learn.
    """
    assert config.privacy is not None
    dataset = ds.dataset(folder / "data", format="parquet")
    rows = dataset.count_rows()
    learned = ~holdout_mask(rows, config.holdout, config.seed)
    releases, of_unknown = count_releases(schema)
    budget = Budget.plan(config.privacy, int(learned.sum()), releases)
    release = Release.of(budget.codec_noise_multiplier, budget.delta - budget.accounted_delta, of_unknown)
    public = public_schema(schema)
    counted = rows_where(dataset, learned & snapshot_rows.for_codec(rows, config.seed))
    stand = stand_in(counted, public, config.privacy.columns, release)
    del counted
    if lost := [c.name for c in public.columns if c.kind not in _UNLEARNED and stand[c.name].null_count == len(stand)]:
        _logger.warning(
            "at this epsilon no value is frequent enough to be given of %s: they are written as missing (more rows, a "
            "greater epsilon, or training.privacy.columns would help)",
            ", ".join(lost),
        )
    # The stand-in's columns know nothing of each other, so nothing can be read off it that they might share.
    codec = Codec.fit(stand, public, config.codec.model_copy(update={"joint_codes": 1}))
    if not codec.sub_columns:
        raise SourceError(
            f"nothing to learn at this epsilon: no value of any column stands in more than {release.threshold:.0f} "
            "rows; raise training.privacy.epsilon, or say what is public in training.privacy.columns"
        )
    layout = Layout.from_codec(codec, codec.encode(stand).codes, Structure.declared(codec))
    codes, values = snapshot_rows.encode(dataset, codec, rows)
    with processor():
        result = fit_privately(layout, codes[learned], values[learned], config, budget, progress)
        calibrate(result.model, [variable.counts for variable in layout.variables], config.seed)
    generated = _generated(result.model, layout, config.seed)
    counts = int(learned.sum()), int((~learned).sum())
    return PrivateModel(codec, public, layout, result, *generated, counts, budget.record(result.steps))


def sealed(key: str, home: Path) -> str:
    """`key` under a secret of the folder `home`, hexadecimal, for names and digests that are given away.

    A plain digest of the rows would let anybody who knows all of them but one try out guesses of that one.
    """
    home.mkdir(parents=True, exist_ok=True)
    path = home / SECRET
    if not path.exists():
        draft = path.with_suffix(".tmp")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return hmac.new(path.read_bytes(), key.encode(), hashlib.sha256).hexdigest()


def _generated(model: VAE, layout: Layout, seed: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Codes and standardised reals of rows that the model generates."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(MEASURED_ROWS, model.latent_dim, generator=generator)
    u = torch.rand(MEASURED_ROWS, len(layout.variables), generator=generator)
    eps = torch.randn(MEASURED_ROWS, len(layout.gaussians), generator=generator)
    codes, logits = sample(model.decoder, z, u, eps)
    reals = [
        (logits[j][:, 0] + logits[j][:, 1].clamp(-7.0, 7.0).exp() * eps[:, i]).numpy()
        for i, j in enumerate(layout.gaussians)
    ]
    values = np.stack(reals, axis=1) if reals else np.zeros((MEASURED_ROWS, 0))
    return codes.numpy().astype(np.int32), values.astype(np.float32)
