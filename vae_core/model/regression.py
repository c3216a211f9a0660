"""Where on its scale a number lies, as told by the columns before it: least squares over their splines.

Numbers that say each other finely, as a temperature and a dew point say the humidity, are a thousand leaves each:
weights from hidden units to codes learn such a line only roughly. So the normal score of a number is predicted from
those before it, additively (Hastie & Tibshirani 1986), and the `Located` likelihood puts a peak there. Training goes on
from the least squares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from vae_core.codec import Codec
from vae_core.model.places import PLACES, places

LEAST = 0.3  # share of the variance of other rows' scores that is told; below, hidden units do as well
CODES = 12  # of a number that is predicted, at least
LEVELS = 64  # of a category that predicts, at most
FEATURES = 2_000  # of all columns, at most: of many columns each has fewer
ENTRIES = 4_000_000  # what codes add to predictions, at most: of many columns those that are told best are predicted
WIDTHS = (PLACES, 2 + 4 + 8, 2 + 4, 2)  # features of a number: all, or those without the finer splines
RIDGE = 10.0  # rows that say that a coefficient is nothing
ROWS = 100_000  # that are fitted, at most
CHUNK = 8_192
FAR = 1e3  # score of a code that has no place among the others

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Term:
    """What predictions read of a variable.

    Attributes:
        features: float32 [rows, width]; a row a code, or a row a pair with the coarse code.
        within: index of the coarse variable, for a fine code; it shares the coefficients of that.
        first: of its coefficients.
    """

    features: Floats
    within: int | None
    first: int

    @property
    def coefficients(self) -> slice:
        """Its rows among the coefficients of all terms."""
        return slice(self.first, self.first + self.features.shape[1])


class Design:
    """The features of rows: 1, then those of each variable that has a term.

    Attributes:
        terms: of each variable.
        scores: as those of `Regression`.
        width: number of features.
    """

    def __init__(self, codec: Codec, codes: npt.NDArray[np.integer]) -> None:
        """Place the codes of `codec`'s sub-columns by how many of the rows `codes` [n, sub_columns] have each."""
        subs = codec.sub_columns
        self._fine = {c: f for part, c, f in codec.split_parts if part.ordered}
        numbers = [
            j for j, sub in enumerate(subs) if sub.ordered > 2 and not sub.gaussian and j not in self._fine.values()
        ]
        each = next((width for width in WIDTHS if width * len(numbers) <= FEATURES), 0)
        self.terms: list[Term | None] = [None] * len(subs)
        self.scores: dict[int, Floats] = {}
        first = 0
        for j, sub in enumerate(subs):
            features = None
            if j in numbers:
                place = places(np.bincount(codes[:, j], minlength=sub.size), sub.ordered)
                features = place[:, :each]
                self.scores[j] = _scores(place, sub.ordered)[None]
                if (fine := self._fine.get(j)) is not None:
                    size = subs[fine].size
                    pairs = codes[:, j].astype(np.int64) * size + codes[:, fine]
                    inner = places(np.bincount(pairs, minlength=sub.size * size), sub.ordered * size)
                    self.terms[fine] = Term((inner - np.repeat(place, size, axis=0))[:, :each], j, first)
                    self.scores[fine] = _scores(inner, sub.ordered * size).reshape(sub.size, size)
            elif sub.ordered <= 2 and sub.size <= min(LEVELS, FEATURES - first):
                features = np.eye(sub.size, dtype=np.float32)
            if features is not None:
                self.terms[j] = Term(features, None, first)
                first += features.shape[1]
        self.width = 1 + first
        self.numbers = [j for j in numbers if each and subs[j].size >= CODES]

    def before(self, target: int) -> int:
        """How many features come before a variable."""
        return 1 + sum(int(term.features.shape[1]) for term in self.terms[:target] if term and term.within is None)

    def chunks(
        self, codes: npt.NDArray[np.integer], targets: Sequence[int]
    ) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Features [m, width] and the targets' scores [m, targets] of codes [n, variables], some rows at a time."""
        for start in range(0, len(codes), CHUNK):
            part = codes[start : start + CHUNK].T.astype(np.int64)
            x = np.ones((part.shape[1], self.width))
            x[:, 1:] = 0.0
            for j, term in enumerate(self.terms):
                if term is not None:
                    outer = 0 if term.within is None else part[term.within] * self.scores[j].shape[1]
                    x[:, 1:][:, term.coefficients] += term.features[outer + part[j]]
            yield x, np.stack([self._score(j, part) for j in targets], axis=1)

    def _score(self, target: int, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        fine = self._fine.get(target)
        found = self.scores[target][0, codes[target]]
        if fine is not None:
            found = self.scores[fine][codes[target], codes[fine]]
        return np.where(found < FAR, found, 0.0)  # a missing number says nothing


@dataclass(frozen=True)
class Regression:
    """The predictions of some numbers by all that comes before each.

    Attributes:
        terms: of each variable, or None where nothing is read of it.
        targets: of each prediction the variable, coarse where the number has two; it reads the variables before it.
        intercept: float32 [targets].
        coefficients: float32 [features, targets].
        spread: float64 [targets], of what is left: the standard deviation of a Gaussian with the same median.
        scores: of each number's variables the normal scores of their codes, float32 [1 or coarse codes, size];
            FAR for codes without a place.
    """

    terms: tuple[Term | None, ...]
    targets: tuple[int, ...]
    intercept: Floats
    coefficients: Floats
    spread: npt.NDArray[np.float64]
    scores: dict[int, Floats]

    @classmethod
    def fit(cls, design: Design, codes: npt.NDArray[np.integer], targets: Sequence[int]) -> Regression:
        """Least squares, a little towards zero; all zeros of no rows.

        Args:
            design: the features.
            codes: integer [n, variables].
            targets: the variables that are predicted.
        """
        rows = codes[:: -(-len(codes) // ROWS) or 1]
        solution, spread = np.zeros((design.width, len(targets))), np.ones(len(targets))
        if len(rows) and targets:
            gram, moment = np.zeros((design.width, design.width)), np.zeros((design.width, len(targets)))
            for x, y in design.chunks(rows, targets):
                gram += x.T @ x
                moment += x.T @ y
            factor = cholesky(gram + RIDGE * np.eye(design.width), lower=True)
            for i, target in enumerate(targets):
                # The upper left of a Cholesky factor is that of the first features alone.
                before = factor[: design.before(target), : design.before(target)]
                half = solve_triangular(before, moment[: len(before), i], lower=True)
                solution[: len(before), i] = solve_triangular(before, half, lower=True, trans="T")
            x, y = next(design.chunks(rows, targets))
            spread = np.median(np.abs(y - x @ solution), axis=0) / 0.6745
        found = solution.astype(np.float32)
        return cls(tuple(design.terms), tuple(targets), found[0], found[1:], spread, design.scores)

    @property
    def predicted(self) -> dict[int, tuple[int, float]]:
        """For each variable of a number that is predicted: the prediction that is about it, and the spread around that.

        A coarse code hides where inside it the number lies.
        """
        found = {}
        for i, (target, spread) in enumerate(zip(self.targets, self.spread, strict=True)):
            least = max(float(spread), 1e-3)
            found[target] = i, float(np.sqrt(least * (least + 3 / self.scores[target].shape[1])))
            if target + 1 < len(self.terms) and (fine := self.terms[target + 1]) and fine.within == target:
                found[target + 1] = i, least
        return found


def told(codec: Codec, codes: npt.NDArray[np.integer]) -> tuple[int, ...]:
    """The numbers that those before them tell, judged by rows that the least squares didn't see.

    Args:
        codec: whose sub-columns are the variables.
        codes: integer [n, sub_columns], training rows.
    """
    design = Design(codec, codes)
    if not design.numbers:
        return ()
    sample = codes[:: -(-len(codes) // ROWS)]
    judges = np.zeros(len(sample), bool)
    judges[:: max(5, -(-len(sample) // CHUNK))] = True
    fitted = Regression.fit(design, sample[~judges], design.numbers)
    x, y = next(design.chunks(sample[judges], design.numbers))
    left = y - x @ np.concatenate([fitted.intercept[None], fitted.coefficients])
    share = 1 - left.var(axis=0) / np.maximum(y.var(axis=0), 1e-12)
    most = ENTRIES // sum(len(term.features) for term in design.terms if term)
    best = np.argsort(-share, kind="stable")[:most]
    return tuple(sorted(design.numbers[i] for i in best if share[i] >= LEAST))


def _scores(place: Floats, ordered: int) -> Floats:
    """Normal scores of codes, float32 [codes], of their `places`."""
    return np.where(np.arange(len(place)) < ordered, place[:, 0], np.float32(FAR))
