"""Figures of the fidelity benchmark as means over seeds, a Markdown table and checks that the floors come out right."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

Summary = dict[str, dict[str, dict[str, dict[str, float]]]]

# figure: (heading, digits, factor)
FIGURES: dict[str, tuple[str, int, float]] = {
    "shape_error": ("shape error % ↓", 2, 1),
    "trend_error": ("trend error % ↓", 2, 1),
    "two_sample_score": ("C2ST ↑", 3, 1),
    "utility_synthetic": ("train on synthetic", 3, 1),
    "dcr_share": ("DCR share % → 50", 1, 1),
    "copies": ("copies %", 2, 100),
    "kl": ("KL, nats", 1, 1),
    "train_seconds": ("training, s", 0, 1),
    "train_processor_seconds": ("in processor time", 0, 1),
}
KEPT = (*FIGURES, "utility_real", "copies_of_test", "sample_seconds", "half_train_seconds")
NAMES = {
    "tvae": "TVAE (SDV)",
    "ctgan": "CTGAN (SDV)",
    "gaussian_copula": "GaussianCopula (SDV)",
    "bootstrap": "floor: bootstrap of the training rows",
    "independent": "floor: independent columns",
}


def summary(results: Iterable[dict[str, Any]]) -> Summary:
    """Mean, spread (standard deviation over seeds) and count: by table, method and figure."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for figures in results:
        for figure in KEPT:
            if isinstance(figures.get(figure), int | float):
                values.setdefault((figures["table"], figures["method"], figure), []).append(float(figures[figure]))
    means: Summary = {}
    for (table, method, figure), numbers in sorted(values.items()):
        means.setdefault(table, {}).setdefault(method, {})[figure] = {
            "mean": round(statistics.fmean(numbers), 5),
            "spread": round(statistics.stdev(numbers), 5) if len(numbers) > 1 else 0.0,
            "seeds": len(numbers),
        }
    return means


def sane(means: Summary) -> list[dict[str, Any]]:
    """What must be so if the protocol works: a bootstrap is undetectable, independent columns are detected."""
    checks: list[dict[str, Any]] = []
    for table, methods in means.items():
        for method, holds, text in (
            ("bootstrap", lambda score: score >= 0.95, "a bootstrap is not told apart"),
            ("independent", lambda score: score <= 0.5, "independent columns are told apart"),
        ):
            score = methods.get(method, {}).get("two_sample_score", {}).get("mean")
            if score is not None:
                checks.append({"table": table, "check": text, "two_sample_score": score, "holds": holds(score)})
    return checks


def markdown(means: Summary, published: dict[str, Any], checks: list[dict[str, Any]], options: dict[str, Any]) -> str:
    """A table for each benchmark table: ours first, then peers, published figures and floors."""
    lines = [
        "# Fidelity",
        "",
        "Made by `benchmarks/fidelity.py`, which tells the protocol. Mean ± standard deviation over "
        f"{options['seeds']} seed{'s' if options['seeds'] > 1 else ''}; {options['jobs']} at once. "
        f"Published: {published['source']}; its utility is by a tuned XGBoost, ours by a fixed one, so compare with "
        "train-on-real.",
    ]
    if options["rows"] or options["epochs"]:
        lines += ["", f"**Not the protocol**: rows {options['rows']}, epochs of the peers {options['epochs']}."]
    for table, methods in means.items():
        theirs = published["tables"].get(table, {})
        shown = [figure for figure in FIGURES if any(figure in figures for figures in methods.values())]
        lines += ["", f"## {table}", "", "| | " + " | ".join(FIGURES[figure][0] for figure in shown) + " |"]
        lines.append("|---" * (len(shown) + 1) + "|")
        own = [name for name in methods if name not in NAMES]
        peers = [name for name in NAMES if name in methods]
        for method in own + [name for name in peers if not NAMES[name].startswith("floor")]:
            lines.append(_row(NAMES.get(method, method), [_cell(methods[method].get(f), f) for f in shown]))
        for method, figures in theirs.items():
            name = published["methods"][method] + ("" if method == "best" else " (published)")
            lines.append(_row(name, [_plain(figures.get(figure), figure) for figure in shown]))
        for method in [name for name in peers if NAMES[name].startswith("floor")]:
            lines.append(_row(NAMES[method], [_cell(methods[method].get(f), f) for f in shown]))
        any_method = next(iter(methods.values()))
        if "utility_real" in any_method:
            lines += [
                "",
                f"Train on real: {any_method['utility_real']['mean']:.3f}. Exact copies among the test rows: "
                f"{100 * any_method['copies_of_test']['mean']:.2f} %.",
            ]
    if checks:
        lines += ["", "## Sanity", ""]
        lines += [
            f"- {check['table']}: {check['check']}: {'yes' if check['holds'] else '**no**'} "
            f"(C2ST {check['two_sample_score']:.3f})"
            for check in checks
        ]
    return "\n".join(lines) + "\n"


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _plain(value: float | None, figure: str) -> str:
    _, digits, factor = FIGURES[figure]
    return "" if value is None else f"{factor * value:.{digits}f}"


def _cell(value: dict[str, float] | None, figure: str) -> str:
    if value is None:
        return ""
    spread = f" ± {_plain(value['spread'], figure)}" if value["seeds"] > 1 else ""
    return _plain(value["mean"], figure) + spread
