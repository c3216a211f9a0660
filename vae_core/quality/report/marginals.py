"""What is drawn of one column: the shares of its values, real beside synthetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from vae_core.quality.frames import Codes, Feature, Floats, Frame
from vae_core.schema import Kind

_MAX_BARS = 12
_BINS = 40
_ATOM = 0.1  # share of the real rows that makes a value worth a line of its own
_TAIL = 0.002  # share of the real values on either side that may fall outside the drawing


@dataclass(frozen=True)
class Bars:
    """Shares of the most frequent levels; with `others`, the last entry is the sum of all the rest."""

    labels: tuple[str, ...]
    real: tuple[float, ...]
    synthetic: tuple[float, ...]
    others: bool = False


@dataclass(frozen=True)
class Histogram:
    """Shares of numbers in equal bins between `low` and `high`; `atoms` are values drawn apart as bars."""

    low: float
    high: float
    ticks: tuple[str, ...]
    real: tuple[float, ...]
    synthetic: tuple[float, ...]
    atoms: Bars | None
    outside: tuple[float, float]


def missing_shares(real: Frame, synthetic: Frame, i: int) -> tuple[float, float]:
    """Shares of rows without a value in column `i`."""
    return float(real.missing(i).mean()), float(synthetic.missing(i).mean())


def marginal(real: Frame, synthetic: Frame, i: int) -> Bars | Histogram | None:
    """What to draw of column `i`; `None` where a side has no values."""
    feature = real.features[i]
    present = [~frame.missing(i) for frame in (real, synthetic)]
    if not all(side.any() for side in present):
        return None
    if not feature.numeric:
        return _levels(feature.levels, real.codes(i)[present[0]], synthetic.codes(i)[present[1]])
    a, b = real.numbers(i)[present[0]], synthetic.numbers(i)[present[1]]
    distinct, counts = np.unique(a, return_counts=True)
    if len(distinct) <= _MAX_BARS:
        return _values(feature, distinct, a, b)
    atoms = distinct[counts >= _ATOM * len(a)]
    rest = a[~np.isin(a, atoms)] if len(atoms) else a
    if len(np.unique(rest)) < 2:
        return _values(feature, atoms, a, b)
    low, high = _range(rest)
    edges = _edges(rest, low, high)
    inside = [side[~np.isin(side, atoms)] for side in (a, b)]
    shares = [np.histogram(side, edges)[0] / len(whole) for side, whole in zip(inside, (a, b), strict=True)]
    outside = [
        float(((side < edges[0]) | (side > edges[-1])).sum() / len(whole))
        for side, whole in zip(inside, (a, b), strict=True)
    ]
    # bins of whole numbers begin half a unit before them
    ticks = np.linspace(edges[0], edges[-1], 3)
    if edges[0] != low:
        ticks = np.floor(np.linspace(edges[0] + 0.5, edges[-1] - 0.5, 3))
    return Histogram(
        float(edges[0]),
        float(edges[-1]),
        tuple(show(feature, value, high - low) for value in ticks),
        tuple(map(float, shares[0])),
        tuple(map(float, shares[1])),
        _values(feature, atoms, a, b, others=False) if len(atoms) else None,
        (outside[0], outside[1]),
    )


def _levels(levels: tuple[str, ...], a: Codes, b: Codes) -> Bars:
    p, q = (np.bincount(side, minlength=len(levels)) / len(side) for side in (a, b))
    shown = np.argsort(-p, kind="stable")[:_MAX_BARS]
    return _bars([levels[k] for k in shown], p[shown], q[shown], len(levels))


def _values(feature: Feature, values: Floats, a: Floats, b: Floats, *, others: bool = True) -> Bars:
    p, q = (np.array([(side == value).mean() for value in values]) for side in (a, b))
    span = float(values.max() - values.min())
    total = len(np.union1d(np.unique(a), np.unique(b))) if others else len(values)
    return _bars([show(feature, value, span) for value in values], p, q, total)


def _bars(labels: list[str], real: Floats, synthetic: Floats, total: int) -> Bars:
    p, q = [float(v) for v in real], [float(v) for v in synthetic]
    others = total > len(labels)
    if others:
        labels = [*labels, f"{total - len(labels):,} others"]
        p, q = [*p, max(0.0, 1 - sum(p))], [*q, max(0.0, 1 - sum(q))]
    return Bars(tuple(labels), tuple(p), tuple(q), others)


def _range(values: Floats) -> tuple[float, float]:
    """From the smallest to the largest value, without tails that would squeeze the rest."""
    low, high = (float(v) for v in np.quantile(values, [_TAIL, 1 - _TAIL]))
    least, most = float(values.min()), float(values.max())
    wide = 0.5 * (high - low)
    return (least if low - least < wide else low), (most if most - high < wide else high)


def _edges(values: Floats, low: float, high: float) -> Floats:
    """Equal bins; on whole numbers each bin holds as many of them, or the drawing would have teeth."""
    if (values == np.round(values)).all() and high - low < 1e15:
        width = max(1.0, np.ceil((high - low + 1) / _BINS))
        return np.asarray(np.arange(low - 0.5, high + width, width))
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)


def show(feature: Feature, value: float, span: float) -> str:
    """A value as its column writes it, no finer than a `span` of values needs."""
    seconds = value / 1e9
    if feature.kind in (Kind.TIMESTAMP, Kind.DATE):
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        except OverflowError:
            return f"{value:.3g}"
        return moment.strftime("%Y-%m-%d" if span > 4 * 86_400e9 or feature.kind is Kind.DATE else "%m-%d %H:%M")
    if feature.kind is Kind.TIME:
        return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}"
    if feature.kind is Kind.DURATION:
        return f"{seconds:,.4g} s"
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e7 else f"{value:,.4g}"
