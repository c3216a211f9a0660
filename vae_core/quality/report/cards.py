"""The headline figures: each beside what real rows score, with a verdict in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vae_core.quality.gate import LEAST_FLOOR
from vae_core.quality.report.charts import percent


@dataclass(frozen=True)
class Card:
    """A headline figure. `tone` is good, fair, poor or none; `floor` says what the figure is compared with."""

    name: str
    value: str
    floor: str
    verdict: str
    tone: str
    meaning: str


def percent_or_dash(value: float | None) -> str:
    """A share in percent; a dash for what is not defined."""
    return "–" if value is None else percent(value)


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, never -0; a dash for what is not defined."""
    return "–" if value is None else f"{value:z.{digits}f}"


def cards(metrics: Mapping[str, Any]) -> list[Card]:
    """The headline figures: fidelity, use, privacy."""
    auc, covered, copies = metrics["two_sample_auc"], metrics["coverage"], metrics["copies"]
    dcr, attack = metrics["dcr"], metrics["membership"]
    missed = None if covered["value"] is None else (covered["floor"] or 1.0) - covered["value"]
    return [
        _error_card("Shape error", metrics["shape_error"], "how far each column's distribution is off, on average"),
        _error_card("Trend error", metrics["trend_error"], "how far the relations of pairs of columns are off"),
        _error_card("Three-way error", metrics["three_way_error"], "how far joint tables of three columns are off"),
        _error_card("Missing values", metrics["null_error"], "largest difference of a column's missing share"),
        Card(
            "Two-sample AUC",
            number(auc["value"]) + ("" if auc["interval"] is None else f" ± {auc['interval']:.3f}"),
            _against(number(auc["floor"]), auc["floor"]),
            *_graded(auc["value"], (0.55, "can't be told apart"), (0.7, "told apart at times"), "told apart easily"),
            "how well trees tell synthetic rows from real ones; 0.5 is a coin toss",
        ),
        _utility_card(metrics["utility"]),
        Card(
            "Coverage",
            percent_or_dash(covered["value"]),
            _against(percent_or_dash(covered["floor"]), covered["floor"]),
            *_graded(missed, (0.02, "as real rows do"), (0.1, "some missing"), "much is missing"),
            "of the categories and of the ranges of numbers that occur among real rows, on average",
        ),
        _latent_card(metrics["latent"]),
        Card(
            "Exact copies",
            percent_or_dash(copies["synthetic"]),
            f"{percent_or_dash(copies['holdout'])} of held-out real rows",
            *_graded(copies["synthetic"] - copies["holdout"], (0.001, "no more than chance"), (0.02, "a few"), "many"),
            "synthetic rows that are equal to a training row",
        ),
        Card(
            "Nearer to training rows",
            percent_or_dash(dcr["share"]),
            f"50 % ± {100 * dcr['interval']:.1f} when nothing leaks",
            *_graded(
                dcr["share"] - 0.5, (0.01 + dcr["interval"], "as expected"), (0.05, "slightly nearer"), "memorised"
            ),
            "share of synthetic rows nearer to a training row than to a held-out one",
        ),
        Card(
            "Neighbour ratio",
            number(dcr["ratio_p5"]),
            f"{number(dcr['real_ratio_p5'])} for held-out real rows",
            *_graded(dcr["real_ratio_p5"] - dcr["ratio_p5"], (0.03, "as expected"), (0.15, "lower"), "at single rows"),
            "nearest against second nearest training row, 5th percentile; near 0, single rows are copied",
        ),
        Card(
            "Membership attack",
            number(attack["auc"]) + ("" if attack["interval"] is None else f" ± {attack['interval']:.3f}"),
            "0.5 when it learns nothing",
            *_graded(
                attack["auc"] - (attack["interval"] or 0.0),
                (0.51, "learns next to nothing"),
                (0.55, "learns a little"),
                "tells who was trained on",
            ),
            "AUC of guessing, from the synthetic rows, whether a real row was trained on",
        ),
    ]


def _error_card(name: str, metric: Mapping[str, Any], meaning: str) -> Card:
    value, floor = metric["value"], metric["floor"]
    grade = _graded(
        None if value is None else value / max(floor or 0.0, LEAST_FLOOR),
        (1.5, "at the noise floor"),
        (2.5, "close"),
        "visibly off",
    )
    times = "" if metric["ratio"] is None else f"{metric['ratio']:.2f} × the "
    return Card(name, percent_or_dash(value), times + _against(percent_or_dash(floor), floor), *grade, meaning)


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


def _latent_card(latent: Mapping[str, Any]) -> Card:
    if latent["kl"] is None:
        return Card("Latent in use", "–", "", "not measured", "none", "no training record was given")
    return Card(
        "Latent in use",
        f"{number(latent['kl'], 2)} nats",
        f"{latent['active_units']} of {latent['dimensions']} dimensions active",
        *_graded(-latent["kl"], (-2, "in use"), (-0.5, "little used"), "collapsed"),
        "what the latent carries about a row; near 0, encoding and interpolation mean nothing",
    )


def _against(text: str, floor: float | None) -> str:
    return "no second real sample" if floor is None else f"{text} of a second real sample"


def _graded(value: float | None, good: tuple[float, str], fair: tuple[float, str], poor: str) -> tuple[str, str]:
    """The verdict and its tone: below the first bound, below the second, or above both."""
    if value is None:
        return "not defined", "none"
    if value <= good[0]:
        return good[1], "good"
    return (fair[1], "fair") if value <= fair[0] else (poor, "poor")
