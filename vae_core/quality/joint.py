"""Joint tables of coarse columns: what three of them together show, and what the report draws of two."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from vae_core.quality.frames import Codes, Floats, Frame

CELLS = 10
"""Values or bins of a coarse column in a drawing, at most; missing values are one more."""

THREE_WAY_CELLS = 5
"""The same where three columns are counted: more cells than rows would show little but noise."""

MAX_TRIPLES = 600
"""Triples of columns that are counted; with more of them, a seeded sample of so many is."""


@dataclass(frozen=True)
class Coarse:
    """A column of few values.

    Attributes:
        codes: int32 [n], below `size`.
        size: the number of codes; the last one is of missing values.
        edges: for a number, float64 [size - 2]: code k lies between edges k - 1 and k (that one not included); `None`
            for a category, whose codes are its most frequent levels, then all others together.
    """

    codes: Codes
    size: int
    edges: Floats | None


@dataclass(frozen=True)
class Triples:
    """Errors of triples of columns.

    Attributes:
        mean: over all triples, of those that were counted; NaN without any.
        interval: half the width of the mean's 95 % confidence interval, on account of the triples that weren't.
        errors: (column, column, column, error), the largest first.
        total: triples there are.
    """

    mean: float
    interval: float
    errors: tuple[tuple[str, str, str, float], ...]
    total: int


def coarse(reference: Frame, frames: tuple[Frame, ...], i: int, cells: int = CELLS) -> list[Coarse]:
    """Column `i` of each of `frames`, cut into `cells` parts that hold as many rows of `reference` each, about."""
    feature, edges = reference.features[i], None
    if feature.numeric:
        values = reference.numbers(i)
        present = values[~np.isnan(values)]
        edges = np.unique(np.quantile(present, np.linspace(0, 1, cells + 1)[1:-1])) if len(present) else np.empty(0)
        edges = edges[edges > present.min()] if len(present) else edges
    found = []
    for frame in frames:
        if edges is not None:
            size = len(edges) + 2
            codes = np.searchsorted(edges, frame.numbers(i), side="right")
        else:
            size = min(len(feature.levels), cells) + 1
            codes = np.minimum(frame.codes(i), size - 2)
        found.append(Coarse(np.where(frame.missing(i), size - 1, codes).astype(np.int32), size, edges))
    return found


def shares(columns: tuple[Coarse, ...]) -> npt.NDArray[np.float64]:
    """The share of the rows in each cell of the columns' joint table, float64 [size, ...]."""
    sizes = tuple(column.size for column in columns)
    cells = np.ravel_multi_index([column.codes for column in columns], sizes)
    return np.bincount(cells, minlength=int(np.prod(sizes))).reshape(sizes) / max(1, len(cells))


def three_way_errors(real: Frame, synthetic: Frame, seed: int = 0) -> Triples:
    """Total variation of the joint table of three columns, each cut into five parts, for triples of columns.

    1 minus the mean is what is known as three-way accuracy.

    Args:
        real: whose fifths are the cuts.
        synthetic: what is compared with it.
        seed: chooses the triples when there are more than `MAX_TRIPLES`.
    """
    names = [feature.name for feature in real.features]
    total = len(names) * (len(names) - 1) * (len(names) - 2) // 6
    triples = set(combinations(range(len(names)), 3)) if total <= MAX_TRIPLES else set()
    generator = np.random.default_rng([seed, 5])
    while len(triples) < min(total, MAX_TRIPLES):
        i, j, k = sorted(generator.choice(len(names), 3, replace=False).tolist())
        triples.add((i, j, k))
    columns = {
        i: coarse(real, (real, synthetic), i, THREE_WAY_CELLS) for i in {i for triple in triples for i in triple}
    }
    errors = []
    for i, j, k in sorted(triples):
        a, b = (shares((columns[i][side], columns[j][side], columns[k][side])) for side in (0, 1))
        errors.append((names[i], names[j], names[k], float(np.abs(a - b).sum() / 2)))
    values = np.array([error for *_, error in errors])
    interval = 0.0
    if len(values) < total:
        # of a sample without replacement, from all the triples
        interval = float(1.96 * values.std(ddof=1) * np.sqrt((1 - len(values) / total) / len(values)))
    mean = float(values.mean()) if len(values) else float("nan")
    return Triples(mean, interval, tuple(sorted(errors, key=lambda found: -found[3])), total)
