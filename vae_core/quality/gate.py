"""The gate: metrics beyond their limits keep a model from being published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vae_core.config import GateConfig
from vae_core.errors import GateRefusedError

LEAST_FLOOR = 0.003
"""A noise floor below this counts as this: many rows make differences visible that matter to nobody."""

_NAMED = 3  # columns that a judgement names
_MUCH = 0.05  # of a table's rows, whose absence shows


@dataclass(frozen=True)
class Judgement:
    """One metric before its limit.

    Attributes:
        metric: as in the metrics, e.g. `shape_error`.
        value: what was measured; `None` when the table doesn't define it.
        floor: what other real rows score; `None` when unknown.
        limit: what is allowed, the strictest of what the configuration says; `None` when it says nothing.
        basis: how `limit` comes from a noise floor; empty for an absolute one.
        columns: where to look, worst first.
        at_least: whether values below the limit break it, rather than values above.
    """

    metric: str
    value: float | None
    floor: float | None
    limit: float | None
    basis: str = ""
    columns: tuple[str, ...] = ()
    at_least: bool = False

    @property
    def broken(self) -> bool:
        """Whether the value is beyond the limit; what is not defined is not judged."""
        if self.value is None or self.limit is None:
            return False
        return self.value < self.limit if self.at_least else self.value > self.limit

    def __str__(self) -> str:
        if self.value is None or self.limit is None:
            return f"{self.metric} is not judged"
        side = "below" if self.value < self.limit else "above" if self.value > self.limit else "at"
        where = f"; look at {', '.join(self.columns)}" if self.columns else ""
        basis = f" ({self.basis})" if self.basis else ""
        return f"{self.metric} is {self.value:.4g}, {side} the threshold {self.limit:.4g}{basis}{where}"


def judge(metrics: dict[str, Any], config: GateConfig) -> list[Judgement]:
    """Every metric that the gate looks at, with its limit; no limits when the gate is off.

    Errors may be as many times what a second real sample scores (`floor`) as the configuration says: with few rows or
    many rare levels that alone is far from 0. The others have absolute limits.
    """
    shape, trend, auc = metrics["shape_error"], metrics["trend_error"], metrics["two_sample_auc"]
    triples, nulls, utility = metrics["three_way_error"], metrics["null_error"], metrics["utility"]
    copies, attack, kl = metrics["copies"], metrics["membership"], metrics["latent"]["kl"]
    pairs = tuple(f"{pair['a']} × {pair['b']}" for pair in trend["pairs"][:_NAMED])
    threes = tuple(" × ".join(triple["columns"]) for triple in triples["triples"][:_NAMED])
    target = () if utility["target"] is None else (utility["target"],)
    telling = {name: max(found["alone"] - 0.5, found["importance"]) for name, found in auc["columns"].items()}
    lost = utility | {"value": utility["loss"]}
    chance = attack["interval"] or 0.0
    found = [
        _relative("shape_error", shape, config.max_shape_ratio, config.max_shape_error, _worst(_excess(shape))),
        _relative("trend_error", trend, config.max_trend_ratio, config.max_trend_error, pairs),
        _relative("three_way_error", triples, config.max_three_way_ratio, config.max_three_way_error, threes),
        _relative("null_error", nulls, config.max_null_ratio, config.max_null_error, _worst(_excess(nulls))),
        Judgement("two_sample_auc", auc["value"], auc["floor"], config.max_two_sample_auc, columns=_worst(telling)),
        _relative("utility_loss", lost, config.max_utility_ratio, config.max_utility_loss, target),
        Judgement("copy_excess", copies["synthetic"] - copies["holdout"], 0.0, config.max_copy_excess),
        Judgement(
            "membership_auc",
            attack["auc"],
            attack["floor"],
            config.max_membership_auc + chance,
            f"{config.max_membership_auc:g} + {chance:.4g}, half of its 95 % interval",
        ),
        Judgement("latent_kl", kl, None, config.min_kl, at_least=True),
    ]
    return found if config.enabled else [Judgement(j.metric, j.value, j.floor, None) for j in found]


def check(metrics: dict[str, Any], config: GateConfig) -> list[Judgement]:
    """What in `metrics` (see `assess`) is beyond its limit."""
    return [judgement for judgement in judge(metrics, config) if judgement.broken]


def enforce(metrics: dict[str, Any], config: GateConfig) -> None:
    """Refuse metrics that are beyond the limits.

    Raises:
        GateRefusedError: names every violation, in one line.
    """
    if violations := check(metrics, config):
        reasons = "; ".join([*map(str, violations), *_withheld(metrics)])
        raise GateRefusedError(f"the quality gate refused the model, nothing was published: {reasons}")


def _withheld(metrics: dict[str, Any]) -> list[str]:
    """That the protections may be why, where they withhold much of a table, and what they withhold."""
    found, rows = metrics["protections"], metrics["rows"]["table"]
    if found is None:
        return []
    reasons = []
    again = found.get("redrawn") or {"rows": 0}
    if again["rows"] and again["first"] >= _MUCH * again["rows"]:
        share = again["first"] / again["rows"]
        reasons.append(
            f"{share:.0%} of its rows were like rare rows and drawn again (training.codec.min_row_frequency)"
        )
    if pooled := [column for column in found["columns"] if column["level_rows"] >= _MUCH * rows]:
        worst = max(pooled, key=lambda column: column["level_rows"])
        share = worst["level_rows"] / rows
        reasons.append(f"{share:.0%} of {worst['name']} are rare levels, never given (training.codec.min_frequency)")
    return [f"protections withhold much of this table: {' and '.join(reasons)}"] if reasons else []


def _relative(
    name: str, metric: dict[str, Any], ratio: float | None, absolute: float | None, columns: tuple[str, ...]
) -> Judgement:
    """A metric whose limit is `ratio` times its noise floor, and `absolute` where that is given and stricter.

    What the extremes that are withheld cost a real sample (`withheld`) is allowed on top.
    """
    limits = [] if absolute is None else [(absolute, "")]
    if ratio is not None and metric["floor"] is not None:
        floor, withheld = max(metric["floor"], LEAST_FLOOR), metric.get("withheld") or 0.0
        basis = f"{ratio:g} × the noise floor {floor:.4g}"
        basis += f" + {withheld:.4g} for the extremes that are withheld" if withheld else ""
        limits.append((ratio * floor + withheld, basis))
    limit, basis = min(limits, default=(None, ""))
    return Judgement(name, metric["value"], metric["floor"], limit, basis, columns)


def _excess(metric: dict[str, Any]) -> dict[str, float | None]:
    """What each column is above its noise floor."""
    floors = metric["floors"]
    return {name: value and value - (floors[name] or 0.0) for name, value in metric["columns"].items()}


def _worst(columns: dict[str, float | None]) -> tuple[str, ...]:
    known = sorted(((value, name) for name, value in columns.items() if value and value > 0), reverse=True)
    return tuple(name for _, name in known[:_NAMED])
