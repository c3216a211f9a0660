"""What is measured: synthetic rows against real ones, and real ones against each other, which is the noise floor."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core.config import EvaluationConfig
from vae_core.progress import Progress, silent
from vae_core.quality import fidelity, privacy, two_sample
from vae_core.quality.coverage import coverage
from vae_core.quality.frames import Frame, left_out, prepare, stack, within_extremes
from vae_core.quality.joint import three_way_errors
from vae_core.quality.utility import utility
from vae_core.schema import Schema

_MIN_SECOND = 10  # rows of a second real sample below which no noise floor is given
_MIN_CLASSIFIED = 50  # the same for the classifier, which learns on two thirds of them
_WORST_TRIPLES = 50  # kept in the metrics


PROTOCOL = (
    "two disjoint random samples of the training and held-out rows together, as many rows each as are compared where "
    "the table has twice as many, else its halves; they are compared as synthetic rows are with real ones, and errors "
    "are multiplied by `scale`, which takes sampling noise from `rows` to the rows compared"
)
"""How the noise floor is measured, in words."""


@dataclass(frozen=True)
class Samples:
    """The rows that are compared.

    Attributes:
        train: training rows.
        holdout: real rows that were not trained on.
        synthetic: generated rows.
        real: the part of `train` that `synthetic` is compared with.
        unprotected: what the model would have generated without drawing rare rows again; `None` when it didn't.
        floor: two disjoint samples of all real rows, each of as many rows as `real` where there are that many, of half
            of them otherwise; what they score against each other is the noise floor.
        left_out: columns that no metric reads, with the reason.
    """

    train: Frame
    holdout: Frame
    synthetic: Frame
    real: Frame
    unprotected: Frame | None
    floor: tuple[Frame, Frame]
    left_out: list[dict[str, str]]

    @classmethod
    def of(
        cls,
        train: pa.Table,
        holdout: pa.Table,
        synthetic: pa.Table,
        schema: Schema,
        config: EvaluationConfig,
        unprotected: pa.Table | None = None,
    ) -> Samples:
        """Prepare the tables and choose the rows that are compared, `config.rows` at most."""
        tables = {"train": train, "holdout": holdout, "synthetic": synthetic}
        frames = prepare(tables if unprotected is None else tables | {"unprotected": unprotected}, schema)
        real = frames["train"].sample(config.rows, config.seed)
        everything = stack(frames["train"], frames["holdout"])
        order = np.random.default_rng([config.seed, 0]).permutation(everything.rows)
        half = min(real.rows, everything.rows // 2)
        floor = (everything.take(order[:half]), everything.take(order[half : 2 * half]))
        generated = frames["synthetic"].sample(config.rows, config.seed)
        before = frames.get("unprotected")
        return cls(frames["train"], frames["holdout"], generated, real, before, floor, left_out(schema))

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
        latent: training.json, for what it says of the latent, protections and privacy; `None` when unknown.
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
    seed, steps = config.seed, 8
    bootstrap = real.take(np.random.default_rng([seed, 1]).integers(0, real.rows, synthetic.rows))
    scale = samples.floor_scale if floor[0].rows >= _MIN_SECOND else float("nan")
    result: dict[str, Any] = {
        "rows": {
            "table": samples.train.rows + samples.holdout.rows,
            "train": samples.train.rows,
            "holdout": samples.holdout.rows,
            "compared": real.rows,
            "synthetic": synthetic.rows,
            "second_sample": floor[0].rows,
        },
        "noise_floor": {"protocol": PROTOCOL, "rows": floor[0].rows, "scale": scale},
    }

    progress(0, steps, "shape")
    shapes, floors = fidelity.shape_errors(real, synthetic), fidelity.shape_errors(*floor)
    result["shape_error"] = {
        **_against(_mean(shapes), _mean(floors) * scale),
        "bootstrap": _mean(fidelity.shape_errors(real, bootstrap)),
        "columns": shapes,
        "floors": _scaled(floors, scale),
    }
    nulls, floors = fidelity.null_errors(real, synthetic), fidelity.null_errors(*floor)
    result["null_error"] = {
        **_against(_most(nulls), _most(floors) * scale),
        "columns": nulls,
        "floors": _scaled(floors, scale),
    }
    covered, floors = coverage(real, synthetic), coverage(*floor)
    result["coverage"] = {"value": _mean(covered), "floor": _mean(floors), "columns": covered, "floors": floors}

    progress(1, steps, "trends")
    result["trend_error"] = _trends(real, synthetic, floor, scale, seed)
    result["trend_error"]["bootstrap"] = fidelity.trend_errors(real, bootstrap, seed).mean

    extremes = ((latent or {}).get("protections") or {}).get("extremes", 1)
    if extremes > 1:  # numbers are cut into bins between each table's own extremes: a narrower table has other bins
        narrow = within_extremes(real, stack(samples.train, samples.holdout), extremes)
        result["trend_error"]["withheld"] = fidelity.trend_errors(real, narrow, seed).mean

    progress(2, steps, "three-way tables")
    result["three_way_error"] = _three_way(real, synthetic, floor, scale, seed)

    progress(3, steps, "two-sample classifier")
    result["two_sample_auc"] = _two_sample(real, synthetic, floor, seed)

    progress(5, steps, "utility")
    result["utility"] = utility(real, samples.holdout, synthetic, config.target, seed).to_dict()
    # Two scores on n rows differ by about 1/√n by chance.
    result["utility"]["floor"] = max(samples.holdout.rows, 1) ** -0.5

    progress(6, steps, "privacy")
    result["copies"] = {
        "synthetic": privacy.copies(samples.train, synthetic),
        "holdout": privacy.copies(samples.train, samples.holdout),
        "unprotected": samples.unprotected and privacy.copies(samples.train, samples.unprotected),
    }
    result |= {name: (latent or {}).get(name) for name in ("protections", "privacy")}
    distances = privacy.closest_records(samples.train, samples.holdout, synthetic, seed)
    result["dcr"] = asdict(distances) | {"floor": 0.5}
    attack = privacy.membership(samples.train, samples.holdout, synthetic, seed)
    result["membership"] = asdict(attack) | {"floor": 0.5, "false_alarms": privacy.FALSE_ALARMS}
    result["latent"] = _latent(latent)
    result["left_out"] = samples.left_out
    result["seconds"] = round(time.monotonic() - started, 2)
    progress(steps, steps)
    defined: dict[str, Any] = _defined(result)
    return defined


def _trends(real: Frame, synthetic: Frame, floor: tuple[Frame, Frame], scale: float, seed: int) -> dict[str, Any]:
    trends, floors = fidelity.trend_errors(real, synthetic, seed), fidelity.trend_errors(*floor, seed)
    floor_of = {(a, b): error * scale for a, b, error in floors.pairs}
    pairs = [{"a": a, "b": b, "value": e, "floor": floor_of.get((a, b), float("nan"))} for a, b, e in trends.pairs]
    return {
        **_against(trends.mean, floors.mean * scale),
        "pairs_total": trends.total,
        # what is above the noise floor first: a pair of sparse columns is far off in any sample
        "pairs": sorted(pairs, key=_excess, reverse=True),
    }


def _three_way(real: Frame, synthetic: Frame, floor: tuple[Frame, Frame], scale: float, seed: int) -> dict[str, Any]:
    found, floors = three_way_errors(real, synthetic, seed), three_way_errors(*floor, seed)
    floor_of = {(a, b, c): error * scale for a, b, c, error in floors.errors}
    triples = [{"columns": [a, b, c], "value": e, "floor": floor_of[a, b, c]} for a, b, c, e in found.errors]
    return {
        **_against(found.mean, floors.mean * scale),
        "interval": found.interval,
        "triples_total": found.total,
        "triples_counted": len(found.errors),
        "triples": sorted(triples, key=_excess, reverse=True)[:_WORST_TRIPLES],
    }


def _two_sample(real: Frame, synthetic: Frame, floor: tuple[Frame, Frame], seed: int) -> dict[str, Any]:
    found = two_sample.two_sample(real, synthetic, seed)
    alone = two_sample.marginal_aucs(real, synthetic, seed)
    chance = float("nan")
    if floor[0].rows >= _MIN_CLASSIFIED:
        chance = two_sample.two_sample(*floor, seed, importance=False).auc
    return {
        "value": found.auc,
        "floor": chance,
        "interval": found.interval,
        "score": two_sample.score(found.auc),
        "rows": found.rows,
        "columns": {name: {"alone": alone[name], "importance": found.importance[name]} for name in alone},
    }


def _latent(training: dict[str, Any] | None) -> dict[str, Any]:
    """KL in nats a row, active units and dimensions, of what training.json says."""
    training = training or {}
    per_dimension = training.get("kl_per_dimension")
    kl = sum(per_dimension) if per_dimension else None
    active = training.get("active_units")
    return {"kl": kl, "active_units": active, "dimensions": len(per_dimension) if per_dimension else None}


def _against(value: float, floor: float) -> dict[str, float]:
    """A figure beside its noise floor, and how many times the floor it is; that is not defined for a floor of 0."""
    return {"value": value, "floor": floor, "ratio": value / floor if floor else float("nan")}


def _scaled(floors: Mapping[str, float], scale: float) -> dict[str, float]:
    return {name: floor * scale for name, floor in floors.items()}


def _excess(found: dict[str, Any]) -> float:
    return float(found["value"] - (0.0 if math.isnan(found["floor"]) else found["floor"]))


def _most(errors: dict[str, float]) -> float:
    return max(errors.values(), default=float("nan"))


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
