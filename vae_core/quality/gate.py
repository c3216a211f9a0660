"""The gate: metrics beyond their thresholds keep a model from being published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vae_core.config import GateConfig
from vae_core.errors import GateRefusedError

_NAMED = 3  # columns that a violation names


@dataclass(frozen=True)
class Violation:
    """One metric beyond its threshold.

    Attributes:
        metric: as in the metrics, e.g. `shape_error`.
        value: what was measured.
        threshold: what is allowed: the configuration's figure, beyond the noise floor where there is one.
        columns: where to look, worst first.
        floor: the noise floor within `threshold`, 0 for metrics that have none.
    """

    metric: str
    value: float
    threshold: float
    columns: tuple[str, ...] = ()
    floor: float = 0.0

    def __str__(self) -> str:
        side = "below" if self.value < self.threshold else "above"
        where = f"; look at {', '.join(self.columns)}" if self.columns else ""
        allowed = f" ({self.threshold - self.floor:.4g} + noise floor {self.floor:.4g})" if self.floor else ""
        return f"{self.metric} is {self.value:.4g}, {side} the threshold {self.threshold:.4g}{allowed}{where}"


def check(metrics: dict[str, Any], config: GateConfig) -> list[Violation]:
    """What in `metrics` (see `assess`) is beyond the thresholds.

    Shape, trend, utility and missing values may exceed what a second real sample scores by their threshold: with few
    rows or many rare levels that alone is far from 0 (utility: 1/√held-out rows). What is not defined is not judged.
    """
    if not config.enabled:
        return []
    shape, trend, auc = metrics["shape_error"], metrics["trend_error"], metrics["two_sample_auc"]
    utility, nulls, copies = metrics["utility"], metrics["null_error"], metrics["copies"]
    pairs = tuple(f"{pair['a']} × {pair['b']}" for pair in trend["pairs"][:_NAMED])
    target = () if utility["target"] is None else (utility["target"],)
    telling = {name: max(found["alone"] - 0.5, found["importance"]) for name, found in auc["columns"].items()}
    excess = {name: value and value - (shape["floors"][name] or 0.0) for name, value in shape["columns"].items()}
    above = [
        _beyond_floor("shape_error", shape, config.max_shape_error, _worst(excess)),
        _beyond_floor("trend_error", trend, config.max_trend_error, pairs),
        Violation("two_sample_auc", auc["value"], config.max_two_sample_auc, _worst(telling)),
        _beyond_floor("utility_loss", utility | {"value": utility["loss"]}, config.max_utility_loss, target),
        _beyond_floor("null_error", nulls, config.max_null_error, _worst(nulls["columns"])),
        Violation("copy_excess", copies["synthetic"] - copies["holdout"], config.max_copy_excess),
    ]
    found = [v for v in above if v.value is not None and v.value > v.threshold]
    kl = metrics["latent"]["kl"]
    if kl is not None and kl < config.min_kl:
        found.append(Violation("latent_kl", kl, config.min_kl))
    return found


def enforce(metrics: dict[str, Any], config: GateConfig) -> None:
    """Refuse metrics that are beyond the thresholds.

    Raises:
        GateRefusedError: names every violation, in one line.
    """
    if violations := check(metrics, config):
        reasons = "; ".join(map(str, violations))
        raise GateRefusedError(f"the quality gate refused the model, nothing was published: {reasons}")


def _beyond_floor(name: str, metric: dict[str, Any], allowed: float, columns: tuple[str, ...]) -> Violation:
    floor = metric["floor"] or 0.0
    return Violation(name, metric["value"], allowed + floor, columns, floor)


def _worst(columns: dict[str, float | None]) -> tuple[str, ...]:
    known = sorted(((value, name) for name, value in columns.items() if value and value > 0), reverse=True)
    return tuple(name for _, name in known[:_NAMED])
