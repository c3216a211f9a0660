"""What is drawn of two columns: the joint table of the real rows, of the synthetic rows, and their difference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vae_core.quality.frames import Floats, Frame
from vae_core.quality.joint import CELLS, Coarse, coarse, shares
from vae_core.quality.report.charts import percent, svg, text
from vae_core.quality.report.marginals import show

_CELL = 20
_LEFT, _TOP, _BELOW, _GAP = 112, 20, 78, 28
_TITLE = 160  # width that the longest title needs
_TONES = 8  # shades of a drawing
_LEAST = 0.005  # difference of shares that gets the full shade where no cell has more: noise doesn't glow


class Pairs:
    """Draws any pair of columns of two frames; every column is cut, and its labels are written, once."""

    def __init__(self, real: Frame, synthetic: Frame) -> None:
        """Draw rows of `real` beside rows of `synthetic`, cut at the tenths of `real`."""
        self._real, self._synthetic = real, synthetic
        self._index = {feature.name: i for i, feature in enumerate(real.features)}
        self._columns: dict[int, tuple[list[Coarse], list[str]]] = {}

    def anchor(self, a: str, b: str) -> str:
        """The id of the drawing of columns `a` and `b`, in this order."""
        return f"pair-{self._index[a]}-{self._index[b]}"

    def draw(self, a: str, b: str) -> tuple[str, str]:
        """Draw columns `a`, downwards, and `b`, across.

        Returns:
            The drawing, which needs `labels`, and where the two sides differ most, in words.
        """
        i, j = self._index[a], self._index[b]
        (down, rows), (across, columns) = self._column(i), self._column(j)
        real, synthetic = (shares((down[side], across[side]))[: len(rows), : len(columns)].round(12) for side in (0, 1))
        width, height = len(columns) * _CELL, len(rows) * _CELL
        most, off = max(real.max(), synthetic.max(), 1e-12), synthetic - real
        scale = max(np.abs(off).max(), _LEAST)
        panels = [
            ("real", [("real-cells", np.sqrt(real / most))]),
            ("synthetic", [("synthetic", np.sqrt(synthetic / most))]),
            (
                "red too many, blue too few",
                [("heat", np.maximum(off, 0) / scale), ("fewer", np.maximum(-off, 0) / scale)],
            ),
        ]
        body, step = [], max(width, _TITLE) + _GAP
        for place, (title, layers) in enumerate(panels):
            body.append(f'<g transform="translate({_LEFT + place * step} {_TOP})">')
            body += [
                f'<path d="M0 0h{width}v{height}h-{width}z" class="blank"/>',
                text(0, -6, title, "faint", limit=40),
            ]
            body += [_shaded(strength, css) for css, strength in layers]
            body.append(f'<use href="#across-{j}" y="{height}"/>' + (f'<use href="#down-{i}"/>' if not place else ""))
            body.append("</g>")
        p, q = np.unravel_index(int(np.abs(off).argmax()), off.shape)
        words = (
            f"furthest off: {a} {rows[p]} with {b} {columns[q]}, "
            f"real {percent(float(real[p, q]))}, synthetic {percent(float(synthetic[p, q]))}"
        )
        return svg(_LEFT + 3 * step, _TOP + height + _BELOW, body, f"joint distribution of {a} and {b}"), words

    def labels(self) -> str:
        """The labels of the columns that were drawn; they have to be somewhere on the page."""
        groups = []
        for i, (_, names) in sorted(self._columns.items()):
            down = "".join(text(-6, (k + 0.7) * _CELL, name, limit=16) for k, name in enumerate(names))
            turned = (f'<g transform="translate({(k + 0.6) * _CELL:.1f} 10) rotate(-60)">' for k in range(len(names)))
            across = "".join(f"{g}{text(0, 0, name, limit=12)}</g>" for g, name in zip(turned, names, strict=True))
            # an attribute, as rules of the page don't reach what <use> repeats
            for name, words in (("down", down), ("across", across)):
                groups.append(f'<g id="{name}-{i}" text-anchor="end">{words}</g>')
        return f'<svg width="0" height="0" class="labels" aria-hidden="true"><defs>{"".join(groups)}</defs></svg>'

    def _column(self, i: int) -> tuple[list[Coarse], list[str]]:
        """The column on both sides, and the names of its codes: without that of missing values where there are none."""
        if i not in self._columns:
            sides = coarse(self._real, (self._real, self._synthetic), i)
            feature, edges = self._real.features[i], sides[0].edges
            if edges is None:
                names = list(feature.levels[: CELLS - 1])
                if len(feature.levels) == CELLS:
                    names.append(feature.levels[-1])
                elif len(feature.levels) > CELLS:
                    names.append(f"{len(feature.levels) - CELLS + 1:,} others")
            elif len(edges):
                span = float(edges[-1] - edges[0])
                names = [f"< {show(feature, edges[0], span)}", *(f"≥ {show(feature, edge, span)}" for edge in edges)]
            else:
                names = ["any value"]
            if any(side.codes.max(initial=0) == side.size - 1 for side in sides):
                names.append("missing")
            self._columns[i] = (sides, names)
        return self._columns[i]


def _shaded(strength: Floats, css: str) -> str:
    """Cells [rows, columns] in shades of one colour, a path each; `strength` is in [0, 1]."""
    tones = np.ceil(strength * _TONES).astype(int)
    drawn = []
    for tone in range(1, _TONES + 1):
        cells = "".join(_runs(np.flatnonzero(row == tone), y) for y, row in enumerate(tones))
        if cells:
            drawn.append(f'<path d="{cells}" class="{css}" fill-opacity="{tone / _TONES:.3g}"/>')
    return f'<g transform="scale({_CELL})">{"".join(drawn)}</g>'


def _runs(cells: npt.NDArray[np.int64], y: int) -> str:
    """The cells of row `y`, neighbours in one rectangle."""
    found = []
    for run in np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1):
        if len(run):
            found.append(f"M{run[0]} {y}h{len(run)}v1h-{len(run)}z")
    return "".join(found)
