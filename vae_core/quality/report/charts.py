"""Charts as inline SVG. Colours are CSS variables of the page, so that they follow light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from vae_core.quality.report.marginals import Bars, Histogram

Point = tuple[float, float]

_LEAST_HEAT = 0.05  # excess that gets the full colour where no pair has more: noise doesn't glow


def svg(width: float, height: float, body: list[str], label: str) -> str:
    """A drawing of `body`, which `label` describes to those who can't see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


def text(x: float, y: float, words: str, css: str = "", *, limit: int = 24) -> str:
    """A line of text, cut to `limit` characters; hovering over it shows the rest."""
    shown = words if len(words) <= limit else words[: limit - 1] + "…"
    hint = f"<title>{escape(words)}</title>" if shown != words else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}">{escape(shown)}{hint}</text>'


def _rect(x: float, y: float, width: float, height: float, css: str, hint: str = "", extra: str = "") -> str:
    title = f"<title>{escape(hint)}</title>" if hint else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}" '
        f'class="{css}"{extra}>{title}</rect>'
    )


def percent(share: float) -> str:
    """A share in percent, with the digits that matter."""
    if share and abs(share) < 0.00005:
        return "<0.01 %"
    return f"{100 * share:.{2 if abs(share) < 0.1 else 1}f} %"


def bars(data: Bars, label: str, width: float = 320) -> str:
    """Pairs of horizontal bars: real above synthetic, for each level."""
    row, left, right = 18.0, 104.0, 46.0
    # the sum of the rest is cut where it would squeeze the levels themselves
    levels = len(data.labels) - data.others
    most = max(*data.real[:levels], *data.synthetic[:levels], 1e-9)
    scale = (width - left - right) / most
    body = []
    for i, (name, p, q) in enumerate(zip(data.labels, data.real, data.synthetic, strict=True)):
        y, wide = i * row, (min(p, most) * scale, min(q, most) * scale)
        hint = f"{name}: real {percent(p)}, synthetic {percent(q)}"
        body += [
            text(left - 6, y + 12, name, "end", limit=16),
            _rect(left, y + 3, wide[0], 6, "real", hint),
            _rect(left, y + 9, wide[1], 6, "synthetic", hint),
            text(left + max(wide) + 5, y + 12.5, percent(q), "faint"),
        ]
    return svg(width, row * len(data.labels) + 4, body, label)


def histogram(data: Histogram, label: str, width: float = 320) -> str:
    """Real as an area, synthetic as a line over it."""
    top, height, n = 6.0, 110.0, len(data.real)
    most = max(*data.real, *data.synthetic, 1e-12)
    step = width / n
    body = [
        _rect(i * step, top + height * (1 - p / most), step + 0.2, height * p / most, "real")
        for i, p in enumerate(data.real)
    ]
    path = [f"M0 {top + height:.1f}"]
    for i, q in enumerate(data.synthetic):
        path.append(f"V{top + height * (1 - q / most):.1f}H{(i + 1) * step:.1f}")
    path.append(f"V{top + height:.1f}")
    body.append(f'<path d="{"".join(path)}" class="line synthetic-line"/>')
    body.append(f'<path d="M0 {top + height:.1f}H{width:g}" class="axis"/>')
    for position, (tick, css) in enumerate(zip(data.ticks, ("faint", "faint middle", "faint end"), strict=True)):
        body.append(text(width * position / 2, top + height + 14, tick, css))
    return svg(width, top + height + 20, body, label)


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between `low` and `high`."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= count + 0.5)
    first = math.ceil(low / step) * step
    return [first + k * step for k in range(int((high - first) / step + 1e-9) + 1)]


def lines(
    x: Sequence[float], series: Sequence[tuple[str, str, Sequence[float]]], label: str, width: float = 500
) -> str:
    """Curves over `x`; `series` are (name, CSS class, values). The steep start, the top twentieth, is cut off."""
    left, top, height, bottom = 46.0, 8.0, 190.0, 38.0
    known = sorted(v for *_, values in series for v in values if math.isfinite(v))
    if len(x) < 2 or not known:
        return ""
    # the first steps start far above the rest, which is what matters
    low, high = known[0], known[min(len(known) - 1, int(0.95 * len(known)))]
    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    low, high = low - 0.04 * (high - low), high + 0.06 * (high - low)

    def place(a: float, b: float) -> Point:
        across = (a - x[0]) / ((x[-1] - x[0]) or 1)
        return left + across * (width - left - 18), top + height * (1 - (b - low) / (high - low))

    body = []
    for tick in _ticks(low, high):
        y = place(x[0], tick)[1]
        body += [
            f'<path d="M{left} {y:.1f}H{width - 18}" class="grid"/>',
            text(left - 6, y + 4, f"{tick:g}", "faint end"),
        ]
    for tick in _ticks(x[0], x[-1], 5):
        body.append(text(place(tick, low)[0], top + height + 16, f"{tick:,g}", "faint middle"))
    body.append(text(left + (width - left) / 2, top + height + 32, "optimiser steps", "faint middle"))
    for name, css, values in series:
        points = [place(a, b) for a, b in zip(x, values, strict=False) if b <= high]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        body.append(f'<path d="M{path}" class="line {css}"><title>{escape(name)}</title></path>')
    return svg(width, top + height + bottom, body, label)


def columns(values: Sequence[float], label: str, unit: str, width: float = 500) -> str:
    """Vertical bars, one a value, with their number below."""
    left, top, height = 46.0, 8.0, 190.0
    high = max(max(values, default=0.0), 1e-9) * 1.06
    step = (width - left - 18) / max(1, len(values))
    body = []
    for tick in _ticks(0, high):
        y = top + height * (1 - tick / high)
        body += [
            f'<path d="M{left} {y:.1f}H{width - 18}" class="grid"/>',
            text(left - 6, y + 4, f"{tick:g}", "faint end"),
        ]
    every = math.ceil(len(values) / 20)
    for i, value in enumerate(values):
        tall = height * max(0.0, value) / high
        hint = f"dimension {i + 1}: {value:.3f} {unit}"
        body.append(_rect(left + i * step + step * 0.12, top + height - tall, step * 0.76, tall, "accent", hint))
        if i % every == 0:
            body.append(text(left + (i + 0.5) * step, top + height + 16, str(i + 1), "faint middle"))
    body.append(text(left + (width - left) / 2, top + height + 32, "latent dimension", "faint middle"))
    return svg(width, top + height + 38, body, label)


def heat_map(
    names: Sequence[str],
    errors: Mapping[tuple[str, str], tuple[float, float]],
    anchors: Mapping[tuple[str, str], str],
    label: str,
) -> str:
    """A square for each pair of columns: its error, on the colour of what that is above its noise floor.

    `errors` are (error, floor) of pairs; a square without a number is not defined. `anchors` are the ids that the
    squares lead to.
    """
    cell = 30.0 if len(names) <= 24 else max(11.0, 720 / len(names))
    left, top = 112.0, 96.0
    most = max([_LEAST_HEAT, *(error - floor for error, floor in errors.values())])
    body = []
    for i, first in enumerate(names):
        centre = (i + 0.7) * cell
        body.append(text(left - 6, top + centre, first, "end", limit=17))
        turned = f'<g transform="translate({left + centre:.1f} {top - 6}) rotate(-60)">'
        body.append(turned + text(0, 0, first, limit=15) + "</g>")
        for j, second in enumerate(names):
            pair = (first, second) if (first, second) in errors else (second, first)
            found = errors.get(pair)
            x, y = left + j * cell, top + i * cell
            if i == j or found is None:
                body.append(_rect(x, y, cell - 1, cell - 1, "blank"))
                continue
            error, strength = found[0], max(0.0, found[0] - found[1]) / most
            hint = f"{first} × {second}: {percent(error)}, noise floor {percent(found[1])}"
            opacity = f' fill-opacity="{0.05 + 0.95 * strength:.3f}"'
            square = _rect(x, y, cell - 1, cell - 1, "heat", hint, opacity)
            if cell >= 28:
                strong = " strong" if strength > 0.55 else ""
                square += text(x + cell / 2 - 0.5, y + cell / 2 + 3.5, f"{100 * error:.1f}", f"cell middle{strong}")
            body.append(f'<a href="#{anchors[pair]}">{square}</a>' if pair in anchors else square)
    return svg(left + len(names) * cell + 60, top + len(names) * cell + 4, body, label)
