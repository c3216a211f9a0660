"""The evaluation stage: measures a model against the snapshot it learned from; writes metrics.json and report.html."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_core.config import EvaluationConfig, GateConfig
from vae_core.errors import ArtifactError
from vae_core.progress import Progress, silent
from vae_core.quality import fidelity, gate, privacy, two_sample
from vae_core.quality.frames import Frame, left_out, prepare, stack
from vae_core.quality.utility import utility
from vae_core.schema import Schema
from vae_core.split import holdout_mask
from vae_core.store import Artifact, digest_of

STAGE = "evaluate/1"
MAX_TRAIN_ROWS = 400_000
"""Training rows held in memory; copies are looked for among these."""

_MIN_SECOND = 50  # rows of a second real sample below which no noise floor is given


@dataclass(frozen=True)
class Samples:
    """The rows that are compared.

    Attributes:
        train: training rows.
        holdout: real rows that were not trained on.
        synthetic: generated rows.
        real: the part of `train` that `synthetic` is compared with.
        floor: two disjoint samples of all real rows, each of as many rows as `real` where there are that many, of half
            of them otherwise; what they score against each other is the noise floor.
        left_out: columns that no metric reads, with the reason.
    """

    train: Frame
    holdout: Frame
    synthetic: Frame
    real: Frame
    floor: tuple[Frame, Frame]
    left_out: list[dict[str, str]]

    @classmethod
    def of(
        cls, train: pa.Table, holdout: pa.Table, synthetic: pa.Table, schema: Schema, config: EvaluationConfig
    ) -> Samples:
        """Prepare the tables and choose the rows that are compared, `config.rows` at most."""
        frames = prepare({"train": train, "holdout": holdout, "synthetic": synthetic}, schema)
        real = frames["train"].sample(config.rows, config.seed)
        everything = stack(frames["train"], frames["holdout"])
        order = np.random.default_rng([config.seed, 0]).permutation(everything.rows)
        half = min(real.rows, everything.rows // 2)
        floor = (everything.take(order[:half]), everything.take(order[half : 2 * half]))
        generated = frames["synthetic"].sample(config.rows, config.seed)
        return cls(frames["train"], frames["holdout"], generated, real, floor, left_out(schema))

    @property
    def floor_scale(self) -> float:
        """What an error between the two samples of `floor` is multiplied with when they have fewer rows.

        Sampling noise goes with the root of 1/n + 1/m, n and m being the rows of the two sides. (Not so that of
        trends which extremes rule; samples of half of the rows keep the factor above 0.7, so that it matters little.)
        """
        sides = 1 / self.real.rows + 1 / max(1, self.synthetic.rows)
        return min(1.0, math.sqrt(sides / (2 / max(1, self.floor[0].rows))))


def assess(
    train: pa.Table,
    holdout: pa.Table,
    synthetic: pa.Table,
    schema: Schema,
    config: EvaluationConfig,
    latent: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure synthetic rows against the real rows that a model was trained on.

    Args:
        train: the training rows, or a sample of them.
        holdout: real rows that were not trained on.
        synthetic: generated rows, of the same schema.
        schema: says what each column is.
        config: rows compared, the utility target, the seed of sampling.
        latent: what training.json says of the latent; `None` when unknown.
        progress: told the steps done.

    Returns:
        The metrics as JSON types, beside the noise floor of each; what is not defined is `None`.

    Raises:
        ConfigError: `config.target` is not a column that is compared.
    """
    return measure(Samples.of(train, holdout, synthetic, schema, config), config, latent, progress)


def measure(
    samples: Samples, config: EvaluationConfig, latent: dict[str, Any] | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """`assess` on prepared rows."""
    started = time.monotonic()
    real, synthetic, floor = samples.real, samples.synthetic, samples.floor
    seed, steps = config.seed, 7
    bootstrap = real.take(np.random.default_rng([seed, 1]).integers(0, real.rows, synthetic.rows))
    scale = samples.floor_scale if floor[0].rows >= _MIN_SECOND else float("nan")
    result: dict[str, Any] = {
        "rows": {
            "train": samples.train.rows,
            "holdout": samples.holdout.rows,
            "compared": real.rows,
            "synthetic": synthetic.rows,
            "second_sample": floor[0].rows,
        }
    }

    progress(0, steps, "shape")
    shapes = fidelity.shape_errors(real, synthetic)
    shape_floors = fidelity.shape_errors(*floor)
    result["shape_error"] = {
        "value": _mean(shapes),
        "floor": _mean(shape_floors) * scale,
        "bootstrap": _mean(fidelity.shape_errors(real, bootstrap)),
        "columns": shapes,
        "floors": {name: floor * scale for name, floor in shape_floors.items()},
    }
    nulls, null_floors = fidelity.null_errors(real, synthetic), fidelity.null_errors(*floor)
    result["null_error"] = {
        "value": max(nulls.values(), default=float("nan")),
        "floor": max(null_floors.values(), default=float("nan")) * scale,
        "columns": nulls,
    }

    progress(1, steps, "trends")
    trends, floors = fidelity.trend_errors(real, synthetic, seed), fidelity.trend_errors(*floor, seed)
    floor_of = {(a, b): error * scale for a, b, error in floors.pairs}
    pairs = [{"a": a, "b": b, "value": e, "floor": floor_of.get((a, b), float("nan"))} for a, b, e in trends.pairs]
    result["trend_error"] = {
        "value": trends.mean,
        "floor": floors.mean * scale,
        "bootstrap": fidelity.trend_errors(real, bootstrap, seed).mean,
        "pairs_total": trends.total,
        # what is above the noise floor first: a pair of sparse columns is far off in any sample
        "pairs": sorted(pairs, key=_excess, reverse=True),
    }

    progress(2, steps, "two-sample classifier")
    result["two_sample_auc"] = _two_sample(real, synthetic, floor, seed)

    progress(4, steps, "utility")
    result["utility"] = utility(real, samples.holdout, synthetic, config.target, seed).to_dict()
    # Two scores on n rows differ by about 1/√n by chance.
    result["utility"]["floor"] = max(samples.holdout.rows, 1) ** -0.5

    progress(5, steps, "privacy")
    result["copies"] = {
        "synthetic": privacy.copies(samples.train, synthetic),
        "holdout": privacy.copies(samples.train, samples.holdout),
    }
    distances = privacy.closest_records(samples.train, samples.holdout, synthetic, seed)
    result["dcr"] = distances.__dict__ | {"floor": 0.5}
    result["latent"] = _latent(latent)
    result["left_out"] = samples.left_out
    result["seconds"] = round(time.monotonic() - started, 2)
    progress(steps, steps)
    defined: dict[str, Any] = _defined(result)
    return defined


def _two_sample(real: Frame, synthetic: Frame, floor: tuple[Frame, Frame], seed: int) -> dict[str, Any]:
    found = two_sample.two_sample(real, synthetic, seed)
    alone = two_sample.marginal_aucs(real, synthetic, seed)
    chance = float("nan")
    if floor[0].rows >= _MIN_SECOND:
        chance = two_sample.two_sample(*floor, seed, importance=False).auc
    return {
        "value": found.auc,
        "floor": chance,
        "score": two_sample.score(found.auc),
        "columns": {name: {"alone": alone[name], "importance": found.importance[name]} for name in alone},
    }


def _latent(training: dict[str, Any] | None) -> dict[str, Any]:
    """KL in nats a row, active units and dimensions, of what training.json says."""
    training = training or {}
    per_dimension = training.get("kl_per_dimension")
    kl = sum(per_dimension) if per_dimension else None
    active = training.get("active_units")
    return {"kl": kl, "active_units": active, "dimensions": len(per_dimension) if per_dimension else None}


def _excess(pair: dict[str, Any]) -> float:
    return float(pair["value"] - (0.0 if math.isnan(pair["floor"]) else pair["floor"]))


def _mean(errors: dict[str, float]) -> float:
    known = [error for error in errors.values() if not math.isnan(error)]
    return float(np.mean(known)) if known else float("nan")


def _defined(data: Any) -> Any:
    """`data` with NaN, which JSON doesn't have, as `None`."""
    if isinstance(data, dict):
        return {key: _defined(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_defined(value) for value in data]
    return None if isinstance(data, float) and math.isnan(data) else data


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
    synthetic = Sampler(model).sample(rows, config.seed)
    samples = Samples.of(train, holdout, synthetic, schema, config)
    del train, holdout, synthetic
    metrics = measure(samples, config, training, progress)
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
            violations=gate.check(metrics, gate_config),
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
    return _rows(dataset, train), _rows(dataset, holdout)


def _rows(dataset: Any, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows where `wanted` (bool [rows]) is True; a batch is in memory at a time, beside what is kept."""
    parts, start = [], 0
    for batch in dataset.to_batches(batch_readahead=1, fragment_readahead=1):
        parts.append(batch.filter(pa.array(wanted[start : start + len(batch)])))
        start += len(batch)
    return pa.Table.from_batches(parts, dataset.schema)
