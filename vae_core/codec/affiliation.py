"""Which columns belong to others: customers to a town, flight numbers to a carrier's route, planes to a carrier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vae_core.codec.association import names_only
from vae_core.codec.dependencies import Dependency
from vae_core.codec.drafts import Draft, as_levels
from vae_core.codec.forms import Form, IntegerForm, LevelForm, is_ordered
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.levels import Levels
from vae_core.codec.nesting import Nest, means
from vae_core.codec.storage import Array
from vae_core.config import CodecConfig
from vae_core.schema import Schema

_SUPPORT = 5  # rows a value, on average, at least
_MANY = 5.5  # nats: fewer values, or more unevenly frequent ones, are learned well one by one
_SOURCES = 3
_NUMBERS = 128  # values of a number that others belong to, at most: the combinations of more are drawn only roughly
_GAIN = 0.1  # nats that each source says of the values, at least, or a tenth if they say all of it ...
_WORTH = 1.0  # ... and all of them together
_TOLD = 0.7  # of what there is to say about a source, the share that values say, at least
_ALL = 0.99  # the same, where there is little to say
_UNSEEN = 0.02  # share of the rows whose value stands nowhere else beside it, at most
_RARE = 0.05  # share of the rows whose value is rare beside what the sources say, at most
_POOLED = 0.25  # share of the rows whose value is rare by itself, at most: others of the same list stand in for it
_CANDIDATES = 32  # columns that may belong to others, and those that others may belong to, at most
_COMPARED = 30_000_000  # rows, times pairs of columns, on which they are looked for
_SPREAD = 0.05  # share of a number's variance that values explain, below which they aren't put in its order


def nest_drafts(
    drafts: list[Draft], forms: dict[int, Form], arrays: dict[int, pa.Array], schema: Schema, config: CodecConfig
) -> tuple[list[Draft], dict[int, Form]]:
    """Nest columns of many values in those that they go with; the drafts, each after those, and the forms that changed.

    The last column, by custom the one that is to be predicted, is left alone, and so is what others follow from.
    """
    told = {a for draft in drafts if draft.dependency for a in draft.dependency.determinants}
    numbers = {
        k for k, draft in enumerate(drafts) if isinstance(forms.get(draft.column), IntegerForm) and draft.measured
    }
    targets = [k for k, d in enumerate(drafts[:-1]) if k not in told and _may_nest(d, k in numbers, config)]
    targets = sorted(targets, key=lambda k: (k in numbers, -len(drafts[k].uniques)))[:_CANDIDATES]
    free = [k for k, draft in enumerate(drafts[:-1]) if _may_hold(draft, k in told)]
    free = sorted(free, key=lambda k: isinstance(drafts[k].leaves, NumericLeaves))[:_CANDIDATES]
    step = max(1, len(targets) * len(free) * len(drafts[0].ids) // _COMPARED)
    changed: dict[int, Form] = {}
    for k in sorted(targets, key=lambda k: len(drafts[k].uniques)):  # so that what is nested may hold others
        draft, size = drafts[k], len(drafts[k].uniques)
        others = {a: drafts[a] for a in free if len(drafts[a].uniques) < size}
        found = _find_sources(draft, others, step, config.min_frequency)
        if k in numbers and not any(names_only(np.arange(size), [_modal(draft, drafts[a])]) for a in found):
            continue
        levels = as_levels(draft, arrays[draft.column], schema, config, _POOLED) if k in numbers else draft
        if not found or levels is None or (nest := _fit(levels, found, drafts, config.min_frequency)) is None:
            continue
        levels.nest, drafts[k] = nest, levels
        if k in numbers:
            changed[draft.column] = LevelForm(arrays[draft.column].type)
            free = [*free, k] if k not in free else free
    return _after_sources(drafts), changed


def _fit(draft: Draft, sources: Sequence[int], drafts: Sequence[Draft], few: int) -> Nest | None:
    """The nest of levels; `None` where too many go with the same."""
    assert isinstance(draft.leaves, Levels)
    own, count = _leaves(draft)
    leaves = {a: _leaves(drafts[a]) for a in sources}
    context = np.zeros(len(own), np.int64)
    for leaf, leaf_count in leaves.values():
        context = _numbered(context * leaf_count + leaf)
    others = [other for other in drafts if other.column != draft.column]
    order = _within(context, _numbered(context * count + own), others)
    return Nest.fit(leaves, own, len(draft.leaves.values), few, order)


def _leaves(draft: Draft) -> tuple[Array, int]:
    """The leaf of each row [n], and the number of leaves, missing included."""
    return draft.leaf_of_id()[draft.ids], draft.leaves.size + 1


def _may_nest(draft: Draft, number: bool, config: CodecConfig) -> bool:
    """Whether a column has more values than are learned well one by one, each on several rows."""
    free = number or (isinstance(draft.leaves, Levels) and not is_ordered(draft.leaves.values.type))
    learned = draft.alone and not draft.dependency and not draft.gaussian
    return free and learned and config.split_above < len(draft.uniques) < len(draft.ids) / _SUPPORT


def _may_hold(draft: Draft, key: bool) -> bool:
    """Whether other columns may belong to it: one that is drawn exactly, and with others in combinations that exist.

    Args:
        draft: the column.
        key: whether others follow from it.
    """
    drawn = draft.alone and not (draft.gaussian or draft.constant or draft.dependency or draft.leaves.positioned)
    return drawn and (isinstance(draft.leaves, Levels) or draft.leaves.size <= _NUMBERS or key)


def _modal(draft: Draft, other: Draft) -> Array:
    """The commonest value of another column beside each of a column's, int [its values]."""
    size = len(other.counts) + 1
    pairs, rows = np.unique(draft.ids.astype(np.int64) * size + other.ids, return_counts=True)
    modal = np.zeros(len(draft.uniques) + 1, np.int64)
    by_rows = pairs[np.argsort(rows, kind="stable")]
    modal[by_rows // size] = by_rows % size
    return modal[:-1]


def _after_sources(drafts: list[Draft]) -> list[Draft]:
    """The drafts, those that are nested right after the last of their sources."""
    order, left = list[int](), list(range(len(drafts)))
    while left:
        order.append(next(k for k in left if (nest := drafts[k].nest) is None or not {*nest.sources} & {*left}))
        left.remove(order[-1])
    moved = np.argsort(order).tolist()
    for draft in drafts:
        if draft.dependency is not None:
            determinants = tuple(moved[a] for a in draft.dependency.determinants)
            draft.dependency = Dependency(determinants, draft.dependency.table)
        if draft.nest is not None:
            draft.nest = replace(draft.nest, sources=tuple(moved[a] for a in draft.nest.sources))
    return [drafts[k] for k in order]


def _find_sources(target: Draft, others: Mapping[int, Draft], step: int, few: int) -> list[int]:
    """Those of `others` that a column's values belong to, the one that says most first; none where they don't.

    Args:
        target: the column.
        others: those that may say something of it.
        step: one row of so many is looked at.
        few: a value that goes with the same on fewer rows is in no list.
    """
    ids, size = target.ids[::step].astype(np.int64), len(target.uniques) + 1
    rows = np.bincount(ids, minlength=size)[ids] >= max(few, 2)  # those that may be given, and can say something
    own, chosen = ids[rows], list[int]()
    if len(own) < (1 - _POOLED) * len(ids) or (whole := _entropy(own)) < _MANY:
        return []
    context, left = np.zeros(len(own), np.int64), whole
    while len(chosen) < _SOURCES:
        best: tuple[float, int, Array] | None = None
        for k, other in others.items():
            if k in chosen:
                continue
            both = _numbered(context * (other.leaves.size + 1) + other.leaf_of_id()[other.ids[::step][rows]])
            pair = both * size + own
            entropy = _entropy(both)
            gain, said = left - (_entropy(pair) - entropy), entropy - _entropy(context)
            told = gain >= max(_GAIN, _TOLD * said) or gain >= max(_GAIN / 10, _ALL * said)
            if told and (best is None or gain > best[0]) and _known(pair, few):
                best = gain, k, both
        if best is None:
            break
        gain, k, context = best
        chosen.append(k)
        left -= gain
    return chosen if whole - left >= _WORTH else []


def _within(context: Array, pair: Array, others: Sequence[Draft]) -> Array:
    """Where values stand among those that go with the same: by the number that they explain best, or by their rows.

    Args:
        context: what the sources say, numbered, int [n].
        pair: that with the value, numbered, int [n].
        others: the other columns.
    """
    best = _SPREAD
    order = -np.bincount(pair)[pair].astype(np.float64)
    for other in others:
        there = other.ids < len(other.uniques)
        if not isinstance(other.leaves, NumericLeaves) or not there.any():
            continue
        number = other.ids - means(context[there], other.ids[there], int(context.max()) + 1)[context]
        mean = means(pair[there], number[there], int(pair.max()) + 1)[pair]
        total = float((number[there] ** 2).sum())
        share = float((mean[there] ** 2).sum()) / total if total > 0 else 0.0
        if share > best:
            best, order = share, mean
    return order


def _numbered(ids: Array) -> Array:
    """The same with numbers from 0, as they are met."""
    import pandas as pd  # only here: generation, which never fits, starts 0.3 s sooner without it

    return np.asarray(pd.factorize(ids)[0])


def _entropy(ids: Array) -> float:
    """In nats, with Miller's (1955) correction."""
    counts = np.bincount(_numbered(ids))
    p = counts / len(ids)
    return float(-(p * np.log(p)).sum() + (len(counts) - 1) / (2 * len(ids)))


def _known(ids: Array, few: int) -> bool:
    """Whether few rows have a rare id, and few new ones one that no row has: as many as stand alone (Good 1953)."""
    counts = np.bincount(_numbered(ids))
    alone, rare = np.count_nonzero(counts == 1), counts[counts < few].sum()
    return bool(alone <= _UNSEEN * len(ids) and rare <= _RARE * len(ids))
