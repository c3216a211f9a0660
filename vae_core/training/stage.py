"""The training stage: reads a snapshot, fits the codec and the VAE, writes a model artifact."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow.dataset as ds
import torch
from safetensors.torch import save_file

from vae_core.codec import Codec, RareRows
from vae_core.codec.laws import laws
from vae_core.codec.rare_rows import FILE as RARE_ROWS
from vae_core.config import CodecConfig, TrainingConfig
from vae_core.errors import SourceError
from vae_core.export.discriminator import build_discriminator
from vae_core.export.stage import FORMAT_VERSION
from vae_core.generation.discriminator import FILE as DISCRIMINATOR
from vae_core.model import VAE, Layout, Structure
from vae_core.model.layout import frequencies
from vae_core.progress import Progress, silent
from vae_core.schema import Schema
from vae_core.split import holdout_mask, rows_where
from vae_core.store import Artifact, Store, digest_of, version_of
from vae_core.training import rows as snapshot_rows
from vae_core.training.calibration import calibrate
from vae_core.training.checkpoint import Checkpoint
from vae_core.training.device import processor
from vae_core.training.discriminator import Discriminator, learn
from vae_core.training.latent import latent_use
from vae_core.training.loop import TrainingResult, fit
from vae_core.training.privately import learn_privately, sealed
from vae_core.training.redraws import calibrate_given, rare_rows, remembers
from vae_core.training.trial import drawn_first

STAGE = "train/20"
FEW_ROWS = 1_000  # below, users are told what to expect

_logger = logging.getLogger(__name__)


def train(snapshot: Artifact, config: TrainingConfig, store: Store, name: str, progress: Progress = silent) -> Artifact:
    """Learn a model from a snapshot; a model that stands for the same inputs is returned as it is.

    A training that was killed goes on where it was some seconds before.

    Args:
        snapshot: what `ingest` wrote.
        config: the codec, the VAE and their training.
        store: where the model is written.
        name: of the model.
        progress: told optimiser steps.

    Returns:
        The model artifact: weights.safetensors, codec.json, schema.json, training.json, and, where there are such,
        rare_rows.parquet and discriminator.onnx.

    Raises:
        SourceError: nothing in the snapshot can be learned.
        TrainingError: training diverged.
    """
    inputs = {"snapshot": snapshot.digest}
    key = digest_of({"stage": STAGE, "inputs": inputs, "config": config.model_dump(mode="json")})
    with store.lock("models", name):
        home = store.path("models", name, "any").parent
        if config.privacy is not None:
            key = sealed(key, home)
        version = version_of(key)
        checkpoint = Checkpoint(home, key, version)
        if (standing := store.find("models", name, version)) is not None:
            checkpoint.remove()
            return standing
        schema = Schema.from_dict(json.loads((snapshot.folder / "schema.json").read_text()))
        rare = private = discriminator = None
        if config.privacy is not None:
            private = learn_privately(snapshot.folder, schema, config, progress)
            codec, schema, layout, result = private.codec, private.schema, private.layout, private.result
            structure = Structure.declared(codec)
            rows, held = private.rows, (private.codes, private.values)
        else:
            first, config_left = _order(snapshot.folder, schema, config, progress)
            if first:  # a checkpoint of another order is of another training
                checkpoint = Checkpoint(home, digest_of({"key": key, "first": first}), version)
            codec, codes, values, holdout = encode_snapshot(snapshot.folder, schema, config, first)
            rows, held = (int((~holdout).sum()), int(holdout.sum())), (codes[holdout], values[holdout])
            warn_of_few(rows[0])
            structure = Structure.learn(codec, codes[~holdout])
            layout = Layout.from_codec(codec, codes[~holdout], structure)
            rare = rare_rows(snapshot.folder, codec, codes, config.codec.min_row_frequency)
            with processor():
                result = fit(layout, codes, values, holdout, config_left, progress, checkpoint)
                progress(result.steps, note="comparing what is drawn with the table")
                rare, discriminator = _correct(result.model, codec, structure, codes, values, holdout, rare, config)
        manifest = {
            "digest": key,
            "inputs": inputs,
            "config": config.model_dump(mode="json"),
            "seed": config.seed,
            "rows": rows[0],
            "holdout_rows": rows[1],
        } | ({} if private is None else {"privacy": private.spent})
        with store.stage("models", name, version, manifest) as folder:
            write_model(folder, result.model, structure, codec, schema)
            record = training_record(result, layout, *held)
            if rare is not None:
                rare.save(folder / RARE_ROWS)
            if discriminator is not None:
                record["discriminator"] = write_discriminator(discriminator, folder / DISCRIMINATOR, key, codec)
            record["laws"] = laws(codec) + structure.in_words(codec)
            if private is None:
                record["protections"] = protections(codec, rare, config.codec)
            else:  # no row was looked at, so nothing can be said of what was withheld
                record["privacy"] = private.spent
            (folder / "training.json").write_text(json.dumps(record, indent=1))
        checkpoint.remove()
        return store.open("models", f"{name}@{version}")


def _order(
    folder: Path, schema: Schema, config: TrainingConfig, progress: Progress
) -> tuple[tuple[int, ...], TrainingConfig]:
    """The columns that are drawn first, and the configuration with what finding them has left of the time."""
    began = time.monotonic()
    first = drawn_first(folder, schema, config, progress)
    spent = (time.monotonic() - began) / 60
    return first, config.model_copy(update={"max_minutes": max(config.max_minutes - spent, config.max_minutes / 2)})


def encode_snapshot(
    folder: Path, schema: Schema, config: TrainingConfig, first: tuple[int, ...] = ()
) -> tuple[Codec, npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Fit the codec on a snapshot and encode its rows, a batch at a time.

    The codec and the marginals are those of all rows, held-out ones too: the range of a column, or a level, is the
    table's. The weights are learned without the held-out rows.

    Args:
        folder: of the snapshot.
        schema: of its rows.
        config: the codec's, and the holdout.
        first: see `Codec.fit`.

    Returns:
        The codec; codes [n, sub_columns], int16 where they fit, else int32; values float32 [n, gaussian sub_columns];
        holdout bool [n].

    Raises:
        SourceError: there is nothing to learn, or no rows to learn it from.
    """
    dataset = ds.dataset(folder / "data", format="parquet")
    rows = dataset.count_rows()
    holdout = holdout_mask(rows, config.holdout, config.seed)
    table = rows_where(dataset, snapshot_rows.for_codec(rows, config.seed))
    codec = Codec.fit(table, schema, config.codec, seed=config.seed, first=first)
    if not codec.sub_columns:
        raise SourceError(
            f"nothing to learn from {rows:,} rows: no column has two values that may be given, as levels of fewer than "
            f"{config.codec.min_frequency} rows and the {config.codec.extremes - 1} smallest and largest numbers "
            "are withheld; more rows, or a lower training.codec.min_frequency and extremes, would help"
        )
    return codec, *snapshot_rows.encode(dataset, codec, rows), holdout


def _correct(
    model: VAE,
    codec: Codec,
    structure: Structure,
    codes: npt.NDArray[Any],
    values: npt.NDArray[np.float32],
    holdout: npt.NDArray[np.bool_],
    rare: RareRows | None,
    config: TrainingConfig,
) -> tuple[RareRows | None, Discriminator | None]:
    """Give the rows that a trained model makes the marginals of the source's, and say which of them are drawn again."""
    wanted = frequencies(codec, codes, structure)
    calibrate(model, wanted, config.seed)
    mended = rare
    if rare is not None and rare.equal is not None:
        if remembers(model, codec, codes, holdout, rare.few, config.seed):
            mended = None  # the marginals would bring it nearer still to what it remembers
        else:
            rare = mended = dataclasses.replace(rare, alike=None)  # real rows fall into others' bins, too
    discriminator = learn(model, codec, codes, values, holdout, mended, config.seed) if config.discriminator else None
    if mended is not None and discriminator is None:  # one has seen to it
        calibrate_given(model, codec, structure, wanted, mended, config.seed)
    return rare, discriminator


def write_model(folder: Path, model: VAE, structure: Structure, codec: Codec, schema: Schema) -> None:
    """Write weights.safetensors, codec.json and schema.json."""
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "weights.safetensors", metadata=structure.to_metadata())
    (folder / "codec.json").write_text(json.dumps(codec.to_dict()))
    (folder / "schema.json").write_text(json.dumps(schema.to_dict(), indent=1))


def write_discriminator(discriminator: Discriminator, path: Path, model_digest: str, codec: Codec) -> dict[str, float]:
    """Write it as ONNX, with what it belongs to; returns what training.json says of it."""
    metadata = {"format_version": str(FORMAT_VERSION), "model_digest": model_digest, "codec_digest": codec.digest}
    graph = build_discriminator(discriminator.trees, discriminator.ceiling, discriminator.factors, metadata)
    onnx.save(graph, path)
    return {"auc": round(discriminator.auc, 4), "kept": round(discriminator.kept, 4)}


def warn_of_few(rows: int) -> None:
    """Tell what to expect of a model of few training rows."""
    if rows < FEW_ROWS:
        _logger.warning(
            "only %s rows to learn from: expect the columns to be about right, and what they say about each other to be"
            " rough; rare levels and extremes are few or missing (some thousand rows are enough)",
            f"{rows:,}",
        )


def training_record(
    result: TrainingResult, layout: Layout, codes: npt.NDArray[np.int32], values: npt.NDArray[np.float32]
) -> dict[str, Any]:
    """What training.json holds: curves, how it stopped, the use of the latent, the cost of each variable."""
    held, held_values = torch.from_numpy(codes[:10_000].copy()), torch.from_numpy(values[:10_000].copy())
    use = latent_use(result.model, held, held_values)
    return {
        **dataclasses.asdict(result.curves),
        "last_step": result.steps,
        "total_seconds": round(result.seconds, 2),
        "stopped": result.stopped,
        "device": result.device,
        "holdout_elbo": -min(result.curves.holdout_loss) if result.curves.holdout_loss else None,
        "parameters": sum(p.numel() for p in result.model.parameters()),
        **use,
        "nats": column_nats(result.model, layout, held, held_values),
    }


def protections(codec: Codec, rare: RareRows | None, config: CodecConfig) -> dict[str, Any]:
    """What is withheld of the source, with its thresholds: of levels, extremes and rows."""
    return {
        "min_frequency": config.min_frequency,
        "extremes": config.extremes,
        "min_row_frequency": 1 if rare is None else rare.few,
        "rare_rows": 0 if rare is None else rare.rows,
        "row_match": "equal" if rare is not None and rare.alike is None else "alike",
        "columns": [vars(found) for found in codec.withheld if found.level_rows or found.extreme_rows],
    }


@torch.no_grad()
def column_nats(model: VAE, layout: Layout, codes: torch.Tensor, values: torch.Tensor) -> dict[str, float]:
    """Held-out -log p of each variable, nats a row, with z from the posterior."""
    elbo = model(codes.long(), values, torch.Generator().manual_seed(0))
    return {v.name: round(float(x), 4) for v, x in zip(layout.variables, elbo.reconstruction.mean(dim=1), strict=True)}
