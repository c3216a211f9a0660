"""Parts that say in which interval a number lies: whether somebody is of age, the bracket of an income.

A number's bins are cut where such a part changes, so that it follows from the number like any other dependent.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from vae_core.codec.bins import MIN_ROWS
from vae_core.codec.dependencies import Dependency
from vae_core.codec.drafts import Draft
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.storage import Array
from vae_core.config import CodecConfig

_MOST = 64  # intervals
_SAMPLE = 4_096  # rows on which pairs are tried before all of them
_OFF = 0.001  # share of rows that may get the interval beside theirs


@dataclass(frozen=True)
class _Steps:
    """Where a part changes with a number: ids of the number at which it does, and its own id at each of its ids."""

    edges: Array
    said: Array


def find_steps(drafts: list[Draft], spared: Set[int], config: CodecConfig) -> None:
    """Cut bins where other parts change, and make these dependents; of several numbers that of the fewest intervals.

    Args:
        drafts: the parts, whose dependents and nests are found.
        spared: columns whose numbers are left as they are.
        config: `min_frequency` and what bins are made by.
    """
    told = {a for draft in drafts if draft.dependency for a in draft.dependency.determinants}
    told |= {a for draft in drafts if draft.nest for a in draft.nest.sources}
    able = [k for k, draft in enumerate(drafts) if k not in told and draft.column not in spared]
    numbers = [k for k in able if _is_number(drafts[k])]
    targets = [k for k, draft in enumerate(drafts) if k not in told and _may_follow(draft)]
    best: dict[int, tuple[int, _Steps]] = {}
    for a in numbers:
        for b in _likely(drafts[a], [k for k in targets if k != a], drafts):
            steps = _steps(drafts[a], drafts[b], max(config.min_frequency, MIN_ROWS))
            if steps is not None and (b not in best or len(steps.edges) < len(best[b][1].edges)):
                best[b] = a, steps
    sources = {a for a, _ in best.values()}
    for a in sorted(sources):  # of which none follows from another one
        mine = {b: steps for b, (source, steps) in best.items() if source == a and b not in sources}
        if mine:
            _cut(drafts, a, mine, config)


def _cut(drafts: list[Draft], a: int, mine: dict[int, _Steps], config: CodecConfig) -> None:
    source = drafts[a]
    edges = np.unique(np.concatenate([steps.edges for steps in mine.values()]))
    uniques = np.asarray(source.uniques)
    leaves, mass = NumericLeaves.fit(uniques, source.counts, config, cuts=uniques[edges])
    leaf = np.append(leaves.encode(uniques), leaves.size)
    rows = np.bincount(source.ids, minlength=len(leaf))
    followed = False
    for b, steps in mine.items():
        size = len(drafts[b].uniques) + 1
        votes = np.zeros((leaves.size + 1, size))
        np.add.at(votes, (leaf, steps.said), rows)
        table = np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
        if rows[table[leaf] != steps.said].sum() <= _OFF * len(source.ids):
            drafts[b].dependency = Dependency((a,), table)
            followed = True
    if followed:
        source.leaves, source.mass, source.exact = leaves, mass, leaf


def _is_number(draft: Draft) -> bool:
    """Whether a part has numbers that are drawn from bins."""
    if not isinstance(draft.leaves, NumericLeaves) or draft.gaussian or draft.dependency or draft.nest:
        return False
    return draft.measured and draft.alone and draft.leaves.positioned and not draft.leaves.nan


def _may_follow(draft: Draft) -> bool:
    size = len(draft.uniques) + (draft.nulls > 0)
    dependent = not draft.gaussian and not draft.constant and (draft.alone or not draft.nulls)
    free = draft.dependency is None and draft.nest is None and draft.spans is None
    return dependent and free and 2 <= size <= _MOST


def _likely(source: Draft, targets: list[int], drafts: list[Draft]) -> list[int]:
    """Those that change as seldom in the order of the number on some rows as they may on all."""
    step = max(1, len(source.ids) // _SAMPLE)
    order = np.argsort(source.ids[::step], kind="stable")
    return [b for b in targets if np.count_nonzero(np.diff(drafts[b].ids[::step][order])) < _MOST]


def _steps(source: Draft, target: Draft, least: int) -> _Steps | None:
    """Where the target changes, if no number has two of its values, and intervals have enough rows.

    But for the outermost ones, which count to those beside them.
    """
    said = np.zeros(len(source.uniques) + 1, dtype=np.int64)
    said[source.ids] = target.ids
    if (said[source.ids] != target.ids).any():
        return None
    starts = np.append(0, np.flatnonzero(np.diff(said[:-1])) + 1)
    if not 1 < len(starts) <= _MOST:
        return None
    rows = np.add.reduceat(source.counts, starts)
    kept = np.flatnonzero(rows >= least)
    if not len(kept) or np.diff(kept).max(initial=1) > 1 or rows.sum() - rows[kept].sum() > _OFF * len(source.ids):
        return None
    nearest = np.arange(len(starts)).clip(kept[0], kept[-1])
    said[:-1] = np.repeat(said[starts[nearest]], np.diff(np.append(starts, len(source.uniques))))
    edges = np.flatnonzero(np.diff(said[:-1])) + 1
    return _Steps(edges, said) if len(edges) else None
