"""The report's page: metrics in plain words, beside what a second real sample would score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae_core.quality.frames import Frame
from vae_core.quality.gate import Violation
from vae_core.quality.report import charts
from vae_core.quality.report.charts import percent
from vae_core.quality.report.marginals import Bars, Histogram, marginal, missing_shares

MAX_DRAWN = 60
"""Columns drawn; the others are in the table."""

_WORST_PAIRS = 16


@dataclass(frozen=True)
class Card:
    """A headline figure. `tone` is good, fair, poor or none; `floor` says what the figure is compared with."""

    name: str
    value: str
    floor: str
    verdict: str
    tone: str
    meaning: str


def render(
    metrics: Mapping[str, Any],
    real: Frame,
    synthetic: Frame,
    *,
    title: str,
    training: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    violations: Sequence[Violation] = (),
) -> str:
    """Write the report.

    Args:
        metrics: of `assess`.
        real: the real rows that were compared.
        synthetic: the synthetic rows that were compared.
        title: names the model.
        training: training.json, for the curves; left out when `None`.
        provenance: what made the model, as pairs of words.
        violations: what the gate found.

    Returns:
        A whole HTML page that loads nothing else. Names and values are escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"percent": _percent, "number": _number, "svg": Markup}
    return environment.get_template("template.html").render(
        title=title,
        m=metrics,
        cards=cards(metrics),
        violations=[str(violation) for violation in violations],
        columns=_columns(metrics, real, synthetic),
        drawn=MAX_DRAWN,
        heat=_heat(metrics),
        pairs=metrics["trend_error"]["pairs"][:_WORST_PAIRS],
        telling=_telling(metrics),
        curves=_curves(training or {}),
        provenance={key: value for key, value in (provenance or {}).items() if value is not None},
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def cards(metrics: Mapping[str, Any]) -> list[Card]:
    """The headline figures, each with its verdict in plain words."""
    shape, trend, auc = metrics["shape_error"], metrics["trend_error"], metrics["two_sample_auc"]
    nulls, copies, dcr, latent = metrics["null_error"], metrics["copies"], metrics["dcr"], metrics["latent"]
    return [
        _error_card("Shape error", shape, "how far each column's distribution is off, on average"),
        _error_card("Trend error", trend, "how far the relations of pairs of columns are off, on average"),
        Card(
            "Two-sample AUC",
            _number(auc["value"]),
            _against(_number(auc["floor"]), auc["floor"]),
            *_graded(auc["value"], (0.55, "can't be told apart"), (0.7, "told apart at times"), "told apart easily"),
            "how well trees tell synthetic rows from real ones; 0.5 is a coin toss",
        ),
        _utility_card(metrics["utility"]),
        _error_card("Missing values", nulls, "largest difference of a column's missing share"),
        Card(
            "Exact copies",
            _percent(copies["synthetic"]),
            f"{_percent(copies['holdout'])} of held-out real rows",
            *_graded(copies["synthetic"] - copies["holdout"], (0.001, "no more than chance"), (0.02, "a few"), "many"),
            "synthetic rows that are equal to a training row",
        ),
        Card(
            "Nearer to training rows",
            _percent(dcr["share"]),
            f"50 % ± {100 * dcr['interval']:.1f} when nothing leaks",
            *_graded(
                dcr["share"] - 0.5, (0.01 + dcr["interval"], "as expected"), (0.05, "slightly nearer"), "memorised"
            ),
            "share of synthetic rows nearer to a training row than to a held-out one",
        ),
        Card(
            "Latent in use",
            f"{_number(latent['kl'], 2)} nats",
            f"{latent['active_units']} of {latent['dimensions']} dimensions active",
            *_graded(-(latent["kl"] or 0), (-2, "in use"), (-0.5, "little used"), "collapsed"),
            "what the latent carries about a row; near 0, encoding and interpolation mean nothing",
        )
        if latent["kl"] is not None
        else Card("Latent in use", "–", "", "not measured", "none", "no training record was given"),
    ]


def _error_card(name: str, metric: Mapping[str, Any], meaning: str) -> Card:
    value, floor = metric["value"], metric["floor"]
    grade = _graded(
        None if value is None else value / max(floor or 0.0, 0.003),
        (1.5, "at the noise floor"),
        (2.5, "close"),
        "visibly off",
    )
    return Card(name, _percent(value), _against(_percent(floor), floor), *grade, meaning)


def _utility_card(utility: Mapping[str, Any]) -> Card:
    if utility["metric"] is None:
        return Card("Utility", "–", "", "not measured", "none", utility["reason"])
    return Card(
        "Utility",
        f"{utility['synthetic']:.3f}",
        f"{utility['real']:.3f} trained on real rows",
        *_graded(utility["loss"], (0.01, "as good as real"), (0.05, "slightly worse"), "worse than real"),
        f"{utility['metric']} on held-out real rows of a model that predicts {utility['target']} "
        "and was trained on synthetic ones",
    )


def _against(text: str, floor: float | None) -> str:
    return "no second real sample" if floor is None else f"{text} for a second real sample"


def _graded(value: float | None, good: tuple[float, str], fair: tuple[float, str], poor: str) -> tuple[str, str]:
    """The verdict and its tone: below the first bound, below the second, or above both."""
    if value is None:
        return "not defined", "none"
    if value <= good[0]:
        return good[1], "good"
    return (fair[1], "fair") if value <= fair[0] else (poor, "poor")


def _columns(metrics: Mapping[str, Any], real: Frame, synthetic: Frame) -> list[dict[str, Any]]:
    """Every column, the most above its noise floor first, the first `MAX_DRAWN` with their drawing."""
    errors, floors = metrics["shape_error"]["columns"], metrics["shape_error"]["floors"]
    alone = metrics["two_sample_auc"]["columns"]

    def badness(i: int) -> float:
        name = real.features[i].name
        return math.inf if errors[name] is None else float(errors[name] - (floors[name] or 0.0))

    found = []
    for place, i in enumerate(sorted(range(len(real.features)), key=badness, reverse=True)):
        feature = real.features[i]
        data = marginal(real, synthetic, i) if place < MAX_DRAWN else None
        missing = missing_shares(real, synthetic, i)
        found.append(
            {
                "name": feature.name,
                "kind": feature.kind.value,
                "error": errors[feature.name],
                "floor": floors[feature.name],
                "alone": alone[feature.name]["alone"],
                "missing": missing,
                "any_missing": max(missing) > 0,
                "svg": _drawing(data, feature.name),
                "atoms": _drawing(data.atoms if isinstance(data, Histogram) else None, feature.name),
                "outside": data.outside if isinstance(data, Histogram) and max(data.outside) > 0 else None,
            }
        )
    return found


def _drawing(data: Bars | Histogram | None, name: str) -> str:
    label = f"distribution of {name}"
    if data is None:
        return ""
    return charts.bars(data, label) if isinstance(data, Bars) else charts.histogram(data, label)


def _heat(metrics: Mapping[str, Any]) -> str:
    """The map of pair errors; on wide tables, of the columns that exceed their floor most."""
    errors = {(p["a"], p["b"]): (p["value"], p["floor"] or 0.0) for p in metrics["trend_error"]["pairs"]}
    if not errors:
        return ""
    names = list(metrics["shape_error"]["columns"])
    if len(names) > MAX_DRAWN:
        worst: dict[str, float] = {}
        for pair, (error, floor) in errors.items():
            for name in pair:
                worst[name] = max(worst.get(name, -1.0), error - floor)
        chosen = set(sorted(worst, key=lambda name: -worst[name])[:MAX_DRAWN])
        names = [name for name in names if name in chosen]
    shown = {pair: error for pair, error in errors.items() if pair[0] in names and pair[1] in names}
    return charts.heat_map(names, shown, "errors of pairs of columns")


def _telling(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The columns that give synthetic rows away, most telling first."""
    columns = metrics["two_sample_auc"]["columns"]
    most = max((c["importance"] for c in columns.values()), default=0.0) or 1.0
    order = sorted(columns, key=lambda name: -max(columns[name]["importance"], columns[name]["alone"] - 0.5))
    return [{"name": name, **columns[name], "width": 100 * columns[name]["importance"] / most} for name in order[:12]]


def _curves(training: Mapping[str, Any]) -> dict[str, Any]:
    """Drawings of training.json: losses, KL, and the KL of each latent dimension, largest first."""
    steps = training.get("steps") or []
    losses = [
        (name, css, training[key])
        for key, name, css in (
            ("train_loss", "training", "real-line"),
            ("holdout_loss", "held-out", "synthetic-line"),
        )
        if training.get(key)
    ]
    kl = training.get("kl_curve") or training.get("kl")
    per_dimension = sorted(training.get("kl_per_dimension") or [], reverse=True)
    return {
        "losses": charts.lines(steps, losses, "loss against steps") if losses else "",
        "kl": charts.lines(steps, [("KL", "accent-line", kl)], "KL against steps") if isinstance(kl, list) else "",
        "dimensions": charts.columns(per_dimension, "KL of each latent dimension", "nats") if per_dimension else "",
        "seconds": training.get("total_seconds"),
        "stopped": training.get("stopped"),
        "explained": training.get("explained"),
    }
