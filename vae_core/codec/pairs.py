"""Parts that are functions of others, of two as well: the distance between an origin and a destination."""

from __future__ import annotations

from collections.abc import Set
from itertools import combinations

import numpy as np

from vae_core.codec.association import names_only
from vae_core.codec.dependencies import MAX_VALUES, Candidate, Dependency, Told, find, tell
from vae_core.codec.storage import Array

MAX_CELLS = 1_000_000  # pairs of leaves of two determinants, seen or not
_SUPPORT = 8  # rows a seen pair, on average
_MINORITY_SUPPORT = 5  # the same among the pairs that do not have the dependent's commonest value
_RARE = 0.1  # share of rows whose pair may be too rare to be kept
_MINORITY = 0.01  # share of rows without the commonest value, at least, of a dependent of two values
_NEAR_ROWS = 0.001  # share of rows that may differ from the rest of their pair's rows ...
_NEAR = 0.001  # ... by this share of the range of the dependent's inner 98 %
_SOURCES = 64  # parts that are tried as determinants: those with the fewest leaves
_STEPS = (128, 1_024, 8_192)  # rows on which pairs are tried before all of them
_RARE_ROWS = 4  # rows of each part without its commonest value that are among them
_CHECKED_ROWS = 100_000_000  # rows that are looked at over all checks on all rows
_COMPLETE = 0.5  # share of all pairs of leaves that occur, at least, of a pair that something stands for


def find_functions(candidates: list[Candidate], most: int, few: int) -> dict[int, Dependency]:
    """The parts that are functions of one other part, or of two, which are never dependents themselves.

    What merely stands for two others is a function of these rather than the other way round: see `_stand_ins`.

    Args:
        candidates: the parts.
        most: values of a part that stands for itself.
        few: rows of a pair that is kept, at least.
    """
    told = tell(candidates)
    stand_ins = _stand_ins(candidates, told, most, few)
    while True:
        rest = {b: {a: table for a, table in tables.items() if a not in stand_ins} for b, tables in told.items()}
        single = find(candidates, rest)
        found = single | _find_pairs(candidates, single, stand_ins, few)
        if stand_ins <= found.keys():
            return found
        stand_ins &= found.keys()


def _find_pairs(
    candidates: list[Candidate], single: dict[int, Dependency], stand_ins: set[int], few: int
) -> dict[int, Dependency]:
    """The parts that are functions of two others, none of which is one of `stand_ins`.

    A pair seen in fewer than `few` rows counts as unseen, for what it says would point at them. An unseen pair says the
    dependent's commonest value under that of its two leaves whose part has more of them.

    Of parts that are functions of each other the last is the dependent. Of several pairs of determinants the one with
    the fewest possible pairs of leaves is taken.

    Args:
        candidates: the parts.
        single: what is a function of one part already.
        stand_ins: what is a function of two others, if of anything.
        few: rows of a pair that is kept, at least.
    """
    if not candidates:
        return {}
    determinants = {a for dependency in single.values() for a in dependency.determinants}
    sources = _sources(candidates, single.keys() | stand_ins)
    targets = [k for k, c in enumerate(candidates) if k not in single and k not in determinants and _varies(c)]
    found: dict[int, Dependency] = {}
    left = _CHECKED_ROWS
    for target, pairs in reversed(_screen(candidates, sources, targets).items()):
        if target in determinants:
            continue
        for pair in sorted(pairs, key=lambda p: candidates[p[0]].leaf_count * candidates[p[1]].leaf_count):
            left -= len(candidates[0].values)
            if left < 0:
                return found
            if found.keys() & set(pair):
                continue
            table = _table(candidates[pair[0]], candidates[pair[1]], candidates[target], few)
            if table is not None:
                found[target] = Dependency(pair, table)
                determinants.update(pair)
                break
    return found


def _stand_ins(candidates: list[Candidate], told: Told, most: int, few: int) -> set[int]:
    """The parts that merely stand for a pair of others.

    In a panel of states and years, an income that no other state or year has says which they are. But it says nothing
    by its size; the state and the year do, and are few. Such a part has more than `most` values, is a name or a number
    whose neighbours aren't alike, and a function of a pair of which each has less than half as many values, and most
    combinations occur.
    """
    determining = {a for tables in told.values() for a in tables}
    suspects = [k for k in sorted(determining) if candidates[k].size > most and _is_name(k, candidates, told)]
    if not suspects:
        return set()
    found = set()
    for target, pairs in _screen(candidates, _sources(candidates, set()), suspects).items():
        for pair in pairs:
            a, b = (candidates[k] for k in pair)
            least = _COMPLETE * a.leaf_count * b.leaf_count  # pairs that occur
            fewer = 2 * max(a.leaf_count, b.leaf_count) < candidates[target].size
            if not fewer or least * _SUPPORT > len(candidates[target].values):
                continue
            assert a.leaves is not None and b.leaves is not None
            known = (a.leaves >= 0) & (b.leaves >= 0)
            seen = np.unique(a.leaves[known].astype(np.int64) * b.leaf_count + b.leaves[known])
            if len(seen) >= least and _table(a, b, candidates[target], few) is not None:
                found.add(target)
                break
    return found


def _is_name(part: int, candidates: list[Candidate], told: Told) -> bool:
    """Whether a part that determines others says nothing by its size; times do."""
    candidate = candidates[part]
    if not _varies(candidate) or candidate.numbers is None:
        return candidate.names
    tables = [tables[part] for tables in told.values() if part in tables]
    return names_only(np.arange(candidate.leaf_count), tables)


def _sources(candidates: list[Candidate], others: Set[int]) -> list[int]:
    """The parts that may be one of two determinants, but for `others`: those with the fewest leaves."""
    may = [k for k, c in enumerate(candidates) if c.leaves is not None and c.leaf_count >= 2 and not c.loose]
    return sorted((k for k in may if k not in others), key=lambda k: candidates[k].leaf_count)[:_SOURCES]


def _varies(candidate: Candidate) -> bool:
    if not candidate.dependent or not 2 <= candidate.size <= MAX_VALUES:
        return False
    counts = np.bincount(candidate.values)
    return bool(np.count_nonzero(counts) >= 3 or counts.max() <= (1 - _MINORITY) * counts.sum())


def _screen(candidates: list[Candidate], sources: list[int], targets: list[int]) -> dict[int, list[tuple[int, int]]]:
    """For each target the pairs of sources that no two rows of a sample speak against, the one of more leaves first."""
    possible: dict[int, list[tuple[int, int]]] = {target: [] for target in targets}
    sample = _sample([candidates[k].values for k in targets], len(candidates[0].values))
    leaves = {k: np.asarray(candidates[k].leaves)[sample].astype(np.int64) for k in sources}
    values = np.empty((len(sample), len(targets)))
    for j, k in enumerate(targets):
        ids, numbers = candidates[k].values[sample], candidates[k].numbers
        values[:, j] = ids if numbers is None else numbers[ids]
    slack = np.array([_slack(candidates[k]) for k in targets])
    sizes = np.array([candidates[k].size for k in targets])
    which = np.array(targets)
    latest = np.empty(MAX_CELLS, dtype=np.int64)  # row of each cell; what was not written is not read
    for b, a in combinations(sources, 2):
        cells = candidates[a].leaf_count * candidates[b].leaf_count
        if cells > MAX_CELLS:
            continue
        left = np.flatnonzero((sizes <= cells) & (which != a) & (which != b))
        for step in _STEPS:
            if not len(left):
                break
            row = np.flatnonzero((leaves[a][:step] >= 0) & (leaves[b][:step] >= 0))
            cell = leaves[a][row] * candidates[b].leaf_count + leaves[b][row]
            latest[cell] = row
            other = latest[cell]
            row, other = row[other != row], other[other != row]
            with np.errstate(invalid="ignore"):  # both missing: inf - inf
                apart = np.abs(values[np.ix_(row, left)] - values[np.ix_(other, left)]) > slack[left]
            left = left[~apart.any(axis=0)]
        for target in which[left]:
            possible[int(target)].append((a, b))
    return possible


def _sample(targets: list[Array], rows: int) -> Array:
    """Rows spread over the table, a few of all kinds first, and such without each target's commonest value."""
    spread = np.unique(np.linspace(0, rows - 1, min(rows, _STEPS[-1]), dtype=np.int64))
    rare = [np.flatnonzero(values != np.argmax(np.bincount(values))) for values in targets]
    picked = [r[np.linspace(0, len(r) - 1, min(len(r), _RARE_ROWS), dtype=np.int64)] for r in rare]
    order = np.concatenate([spread[:: max(1, len(spread) // _STEPS[0])], *picked, spread])
    return order[np.sort(np.unique(order, return_index=True)[1])]


def _slack(target: Candidate) -> float:
    """How far apart two numbers may be that count as near; 0 where none may."""
    if target.numbers is None:
        return 0.0
    cumulative = np.cumsum(np.bincount(target.values, minlength=target.size)[: len(target.numbers) - 1])
    low, high = np.searchsorted(cumulative, cumulative[-1] * np.array([0.01, 0.99]))
    return float(target.numbers[high] - target.numbers[low]) * _NEAR


def _table(a: Candidate, b: Candidate, target: Candidate, few: int) -> Array | None:
    """The target's value id for each pair of leaf ids [a, b] (-1: unknown), if it is a function of them."""
    assert a.leaves is not None and b.leaves is not None
    known = np.flatnonzero((a.leaves >= 0) & (b.leaves >= 0))
    shape = (a.leaf_count, b.leaf_count)
    cell = a.leaves[known].astype(np.int64) * b.leaf_count + b.leaves[known]
    values = target.values[known]
    rows = np.bincount(cell, minlength=shape[0] * shape[1])
    seen = np.flatnonzero(rows)
    if not len(seen) or len(seen) * _SUPPORT > len(known):
        return None
    table = np.full(len(rows), -1, dtype=np.int64)
    table[cell] = values
    differs = np.zeros(len(rows), dtype=bool)
    differs[cell[table[cell] != values]] = True
    if differs.any():
        there = differs[cell]
        settled = _settle(cell[there], values[there], target, len(known))
        if settled is None:
            return None
        table[settled[0]] = settled[1]
    if not _is_evident(table[seen], rows[seen]):
        return None
    kept = seen[rows[seen] >= few]
    if rows[kept].sum() < (1 - _RARE) * len(known):
        return None
    leaf, value, _ = _commonest(kept // shape[1], table[kept], rows[kept], target.size)
    filled = np.full(shape, -1, dtype=np.int64)
    filled[leaf] = value[:, None]
    filled.reshape(-1)[kept] = table[kept]
    return filled


def _settle(cell: Array, values: Array, target: Candidate, rows: int) -> tuple[Array, Array] | None:
    """The commonest value of each cell whose rows have several, if few rows differ from it, and little."""
    if target.numbers is None:
        return None
    cells, value, share = _commonest(cell, values, np.ones(len(cell)), target.size)
    if len(cell) - share.sum() > _NEAR_ROWS * rows:
        return None
    far = np.zeros((2, len(cells)))
    group = np.searchsorted(cells, cell)
    np.minimum.at(far[0], group, target.numbers[values] - target.numbers[value][group])
    np.maximum.at(far[1], group, target.numbers[values] - target.numbers[value][group])
    return None if (far[1] - far[0]).max() > _slack(target) else (cells, value)


def _commonest(group: Array, values: Array, weights: Array, size: int) -> tuple[Array, Array, Array]:
    """The groups [g], the value id, below `size`, of the greatest weight in each, and that weight."""
    keys, inverse = np.unique(group.astype(np.int64) * size + values, return_inverse=True)
    weight = np.bincount(inverse, weights=weights)
    order = np.lexsort((weight, keys // size))
    groups = keys[order] // size
    last = order[np.flatnonzero(np.append(np.diff(groups) > 0, np.ones(min(1, len(groups)), dtype=bool)))]
    return keys[last] // size, keys[last] % size, weight[last]


def _is_evident(values: Array, rows: Array) -> bool:
    """Whether the pairs, of `values` over `rows` each, that stray from the commonest value have rows enough each."""
    minority = values != int(np.argmax(np.bincount(values, weights=rows)))
    return bool(minority.any()) and int(rows[minority].sum()) >= _MINORITY_SUPPORT * int(minority.sum())
