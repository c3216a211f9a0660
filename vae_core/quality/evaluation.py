"""The evaluation stage: measures a model against the snapshot it learned from; writes metrics.json and report.html."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core.config import EvaluationConfig, GateConfig
from vae_core.errors import ArtifactError
from vae_core.progress import Progress, silent
from vae_core.quality import gate
from vae_core.quality.measures import Samples, measure
from vae_core.schema import Schema
from vae_core.split import holdout_mask, rows_where
from vae_core.store import Artifact, digest_of

STAGE = "evaluate/5"
MAX_TRAIN_ROWS = 400_000
"""Training rows held in memory; copies are looked for among these."""


def evaluate(
    model: Artifact,
    snapshot: Artifact,
    config: EvaluationConfig,
    progress: Progress = silent,
    gate_config: GateConfig | None = None,
) -> dict[str, Any]:
    """Sample the model, measure the rows, and put metrics.json and report.html into the model's folder.

    Args:
        model: an exported model.
        snapshot: what it was trained on.
        config: rows compared, the utility target, the seed of sampling.
        progress: told the steps done.
        gate_config: the thresholds whose verdict the report shows; the defaults when not given.

    Returns:
        The metrics (see `assess`). Those of a standing evaluation of the same configuration are read, not measured.

    Raises:
        ArtifactError: the model was trained on another snapshot, or isn't exported.
        ConfigError: `config.target` is not a column that is compared.
    """
    trained_on = model.manifest["inputs"].get("snapshot")
    if trained_on != snapshot.digest:
        raise ArtifactError(
            f"{model.name}@{model.version} was trained on another snapshot than {snapshot.name}@{snapshot.version}; "
            f"evaluate it against snapshot {str(trained_on)[:12]}"
        )
    gate_config = gate_config or GateConfig()
    settings = {"evaluation": config.model_dump(mode="json"), "gate": gate_config.model_dump(mode="json")}
    key = digest_of({"stage": STAGE, **settings})
    if (standing := _standing(model, key)) is not None:
        return standing
    from vae_core.generation import Sampler
    from vae_core.quality.report import render

    schema = Schema.from_dict(json.loads((snapshot.folder / "schema.json").read_text()))
    training = json.loads(model.file("training.json").read_text())
    progress(0, None, "reading the snapshot")
    train, holdout = _real_rows(model, snapshot, config)
    progress(0, None, "sampling the model")
    rows = min(config.rows, train.num_rows)
    sampler = Sampler(model)
    synthetic, redrawn = sampler.sample(rows, config.seed), sampler.redrawn(rows, config.seed)
    before = Sampler(model, reject=False).sample(rows, config.seed) if redrawn.first else None
    samples = Samples.of(train, holdout, synthetic, schema, config, before)
    del train, holdout, synthetic, before
    if "protections" in training:
        training["protections"]["redrawn"] = redrawn._asdict()
    metrics = measure(samples, config, training, progress)
    metrics["rows"]["table"] = snapshot.manifest["rows"]
    provenance = {
        "model": f"{model.name}@{model.version}",
        "model digest": model.digest,
        "snapshot": f"{snapshot.name}@{snapshot.version}",
        "snapshot digest": snapshot.digest,
        "training seed": model.manifest.get("seed"),
        "sampling seed": config.seed,
        "trained": model.manifest.get("created"),
        "commit": model.manifest.get("commit"),
    } | {f"{name} (library)": version for name, version in (model.manifest.get("libraries") or {}).items()}
    with model.extend("evaluate", settings, {"key": key}) as folder:
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1, allow_nan=False), encoding="utf-8")
        page = render(
            metrics,
            samples.real,
            samples.synthetic,
            title=f"{model.name}@{model.version}",
            training=training,
            provenance=provenance,
            judgements=gate.judge(metrics, gate_config),
        )
        (folder / "report.html").write_text(page, encoding="utf-8")
    return metrics


def _standing(model: Artifact, key: str) -> dict[str, Any] | None:
    """The metrics of a finished evaluation with this key, unless its files were changed."""
    if model.manifest["stages"].get("evaluate", {}).get("key") != key:
        return None
    try:
        model.check("metrics.json", "report.html")
    except ArtifactError:
        return None
    metrics: dict[str, Any] = json.loads(model.file("metrics.json").read_text(encoding="utf-8"))
    return metrics


def _real_rows(model: Artifact, snapshot: Artifact, config: EvaluationConfig) -> tuple[pa.Table, pa.Table]:
    """A sample of the training rows, and the held-out rows, of the snapshot."""
    import pyarrow.dataset as ds

    dataset = ds.dataset(snapshot.folder / "data", format="parquet")
    training = model.manifest["config"]
    holdout = holdout_mask(dataset.count_rows(), training["holdout"], training["seed"])
    train = ~holdout
    chosen = np.flatnonzero(train)
    if len(chosen) > MAX_TRAIN_ROWS:
        spare = np.random.default_rng([config.seed, 4]).permutation(chosen)[MAX_TRAIN_ROWS:]
        train[spare] = False
    return rows_where(dataset, train), rows_where(dataset, holdout)
