"""The report's page: metrics in plain words, beside what a second real sample would score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_core.quality.frames import Frame
from vae_core.quality.gate import Judgement
from vae_core.quality.protections import protections
from vae_core.quality.report import charts
from vae_core.quality.report.cards import cards, number, percent_or_dash
from vae_core.quality.report.marginals import Bars, Histogram, marginal, missing_shares
from vae_core.quality.report.omissions import omissions
from vae_core.quality.report.pairs import Pairs

MAX_DRAWN = 60
"""Columns drawn; the others are in the table."""

MAX_PAIRS = 500
"""Pairs of columns that can be looked at, about 4 kB each."""

_WORST_PAIRS, _WORST_TRIPLES = 16, 8


def render(
    metrics: Mapping[str, Any],
    real: Frame,
    synthetic: Frame,
    *,
    title: str,
    training: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    judgements: Sequence[Judgement] = (),
) -> str:
    """Write the report.

    Args:
        metrics: of `assess`.
        real: the real rows that were compared.
        synthetic: the synthetic rows that were compared.
        title: names the model.
        training: training.json, for the curves; left out when `None`.
        provenance: what made the model, as pairs of words.
        judgements: what the gate says of each figure.

    Returns:
        A whole HTML page that loads nothing else. Names and values are escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"percent": percent_or_dash, "number": number, "svg": Markup}
    drawn, labels = _pairs(metrics, real, synthetic)
    return environment.get_template("template.html").render(
        title=title,
        m=metrics,
        cards=cards(metrics),
        judgements=judgements,
        broken=[str(judgement) for judgement in judgements if judgement.broken],
        columns=_columns(metrics, real, synthetic),
        drawn=MAX_DRAWN,
        heat=_heat(metrics, {(pair["a"], pair["b"]): pair["anchor"] for pair in drawn}),
        pairs=drawn,
        labels=labels,
        worst_pairs=_WORST_PAIRS,
        triples=metrics["three_way_error"]["triples"][:_WORST_TRIPLES],
        telling=_telling(metrics),
        protections=protections(metrics["protections"]),
        curves=_curves(training or {}),
        laws=(training or {}).get("laws", []),
        discriminator=(training or {}).get("discriminator"),
        omissions=omissions(metrics, MAX_DRAWN, MAX_PAIRS),
        provenance={key: value for key, value in (provenance or {}).items() if value is not None},
    )


def _columns(metrics: Mapping[str, Any], real: Frame, synthetic: Frame) -> list[dict[str, Any]]:
    """Every column, the most above its noise floor first, the first `MAX_DRAWN` with their drawing."""
    errors, floors = metrics["shape_error"]["columns"], metrics["shape_error"]["floors"]
    alone, covered = metrics["two_sample_auc"]["columns"], metrics["coverage"]

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
                "covered": covered["columns"][feature.name],
                "covered_floor": covered["floors"][feature.name],
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


def _pairs(metrics: Mapping[str, Any], real: Frame, synthetic: Frame) -> tuple[list[dict[str, Any]], str]:
    """The pairs most above their noise floor, each with its drawing, and the labels that the drawings share."""
    pairs = Pairs(real, synthetic)
    drawn = []
    for pair in metrics["trend_error"]["pairs"][:MAX_PAIRS]:
        a, b = pair["a"], pair["b"]
        drawing, words = pairs.draw(a, b)
        drawn.append({**pair, "anchor": pairs.anchor(a, b), "svg": drawing, "words": words})
    return drawn, pairs.labels() if drawn else ""


def _heat(metrics: Mapping[str, Any], anchors: Mapping[tuple[str, str], str]) -> str:
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
    return charts.heat_map(names, shown, anchors, "errors of pairs of columns")


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
