"""The figures of the generation benchmark as a Markdown table and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

NAMES = {
    "ours": "vaesynth",
    "tvae": "SDV TVAE",
    "ctgan": "SDV CTGAN",
    "gaussian_copula": "SDV GaussianCopula",
}

STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .value { font-variant-numeric: tabular-nums }
  .note { font-size: 12px; fill: #59636e }
  rect { fill: #8c959f }
  rect.ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 } rect { fill: #656c76 } rect.ours { fill: #4493f8 }
  }
"""


def table(result: dict[str, Any]) -> str:
    """All figures, with ratios and goals."""
    lines = ["| | rows/s | ratio | goal | ratio of processor time |", "|---|---|---|---|---|"]
    ours = result["ours"]["rows_per_second"]
    lines.append(f"| end to end, {result['ours']['rows']:,} rows, {result['workers']} workers | {ours:,} | | | |")
    for method, figures in result["peers"].items():
        goal = "10× (5× at least)" if method == "tvae" else ""
        name = f"{NAMES[method]}, `sample` + `to_parquet`, {figures['rows']:,} rows"
        ratios = f"{figures['ratio']:.1f}× | {goal} | {figures['processor_ratio']:.1f}×"
        lines.append(f"| {name} | {figures['rows_per_second']:,} | {ratios} |")
    for name, text in (("products", "trunk and heads"), ("all_products", "and the triangular ones")):
        figures = result["bare"][name]
        goal = "≥ 0.5" if name == "products" else ""
        lines.append(f"| bare products: {text} | {figures['rows_per_second']:,} | {figures['ratio']:.2f} | {goal} | |")
    lines += ["", "| where the time goes, one core | ns a row | share |", "|---|---|---|"]
    for step, value in result["processor_ns_per_row"].items():
        lines.append(f"| {step} | {value} | {100 * result['share'][step]:.1f} % |")
    matrices = sum(
        share for kind, share in result["profile"]["operators"].items() if "Gemm" in kind or "MatMul" in kind
    )
    lines += [
        f"| sum | {result['sum_of_steps_ns']} | |",
        "",
        f"A row is drawn {result['profile']['draws_per_row']:.2f} times. Matrix products, the triangular ones "
        f"included, are {100 * matrices:.0f} % of the decoder's time.",
    ]
    lines += ["", "| rows | rows/s | cores busy | peak MiB | bytes a row |", "|---|---|---|---|---|"]
    for run in result["runs"]:
        lines.append(
            f"| {run['rows']:,} | {run['rows_per_second']:,} | {100 * run['busy']:.0f} % | {run['peak_mib']} | "
            f"{run['bytes_per_row']} |"
        )
    peaks = [run["peak_mib"] for run in result["runs"]]
    if len(peaks) > 1:
        lines += ["", f"Peak of the largest run: {peaks[-1] / peaks[0]:.2f}× that of the smallest (goal ≤ 1.1)."]
    lines += [
        "",
        f"Start-up, `vaesynth generate MODEL --rows 1000` as a fresh process: {result['startup_seconds']:.2f} s "
        "(goal ≤ 1.5).",
        f"The same bytes with one worker: {'yes' if result['same_bytes'] else '**no**'}.",
    ]
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any]) -> str:
    """Rows per second of us and the peers as horizontal bars: an SVG file that follows light and dark."""
    rates: Mapping[str, int] = {"ours": result["ours"]["rows_per_second"]} | {
        method: figures["rows_per_second"] for method, figures in result["peers"].items()
    }
    left, width, step, most = 160, 460, 34, max(rates.values())
    parts = []
    for i, (method, rate) in enumerate(sorted(rates.items(), key=lambda item: -item[1])):
        y, length = 40 + i * step, max(2.0, width * rate / most)
        parts += [
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end">{escape(NAMES[method])}</text>',
            f'<rect class="{method}" x="{left}" y="{y}" width="{length:.1f}" height="22" rx="2"/>',
            f'<text class="value" x="{left + length + 8:.1f}" y="{y + 16}">{rate:,}</text>',
        ]
    height = 40 + len(rates) * step + 30
    measured = f"{result['cpus']} cores, medians of {result['repeats']}, interleaved"
    note = f"{result['table'].capitalize()} to Parquet on disk, {measured}"
    title = "Rows per second, end to end"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" width="720" height="{height}" role="img" '
        f'aria-label="{title}">\n<style>{STYLE}</style>\n<text class="title" x="0" y="20">{title}</text>\n'
        + "\n".join(parts)
        + f'\n<text class="note" x="0" y="{height - 10}">{escape(note)}</text>\n</svg>\n'
    )
