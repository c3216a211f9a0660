"""The plot of benchmarks/privacy.py: errors against epsilon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, GAP = 260, 150, 46, 34, 54
PANELS = (
    ("three_way_error", "three-way error, %", 100.0),
    ("two_sample_auc", "two-sample AUC", 1.0),
    ("utility_synthetic", "trained on synthetic, AUC", 1.0),
)


def draw(runs: dict[str, Any], path: Path) -> None:
    """Write the measures of `runs`, by epsilon, as SVG."""
    names = sorted((name for name in runs if name != "independent"), key=float)
    parts = [panel(runs, names, i, *spec) for i, spec in enumerate(PANELS)]
    width = LEFT + len(PANELS) * (WIDTH + GAP)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HEIGHT + 46}" '
        'font-family="system-ui, sans-serif" font-size="12">'
        "<style>text{fill:#333}.a{stroke:#999}.l{stroke:#2563a8;fill:none;stroke-width:2}.p{fill:#2563a8}"
        ".i{stroke:#c2571a;stroke-dasharray:5 4}@media(prefers-color-scheme:dark){text{fill:#ddd}"
        ".l{stroke:#6db0f2}.p{fill:#6db0f2}}</style>" + "".join(parts) + "</svg>\n",
        encoding="utf-8",
    )


def panel(runs: dict[str, Any], names: list[str], index: int, key: str, title: str, scale: float) -> str:
    """One measure: a line over the epsilons, and a dashed one where independent columns are."""
    values = [scale * runs[name][key] for name in names]
    apart = scale * runs["independent"][key]
    low, high = min([*values, apart]), max([*values, apart])
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    left = LEFT + index * (WIDTH + GAP)

    def x(i: int) -> float:
        return left + (i + 0.5) * WIDTH / len(names)

    def y(value: float) -> float:
        return TOP + HEIGHT * (high - value) / (high - low)

    digits = 1 if scale > 1 else 3
    lines = "".join(
        f'<circle class="p" cx="{x(i):.1f}" cy="{y(v):.1f}" r="3.5"/>'
        f'<text x="{x(i):.1f}" y="{y(v) - 8:.1f}" text-anchor="middle">{v:.{digits}f}</text>'
        f'<text x="{x(i):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">'
        f"{'∞' if names[i] == 'inf' else f'{float(names[i]):g}'}</text>"
        for i, v in enumerate(values)
    )
    points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values))
    return (
        f'<text x="{left}" y="16" font-weight="600">{title}</text>'
        f'<path class="a" d="M{left} {TOP}V{TOP + HEIGHT}H{left + WIDTH}" fill="none"/>'
        f'<line class="i" x1="{left}" x2="{left + WIDTH}" y1="{y(apart):.1f}" y2="{y(apart):.1f}"/>'
        f'<text x="{left + WIDTH}" y="{y(apart) - 5:.1f}" text-anchor="end">independent columns</text>'
        f'<polyline class="l" points="{points}"/>{lines}'
        f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 36}" text-anchor="middle">ε</text>'
    )
