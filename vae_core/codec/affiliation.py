"""Which columns belong to others: cities to a state, flight numbers to a carrier's route, products to a category."""

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
_SOURCES = 3
_GAIN = 0.1  # nats that each source says of the values, at least ...
_WORTH = 1.0  # ... and all of them
_TOLD = 0.7  # of what there is to say about a source, the share that values say, at least
_UNSEEN = 0.02  # share of the rows whose value stands nowhere else beside what the sources say, at most
_RARE = 0.05  # share of the rows whose value is in no list, at most
_ROWS = 500_000  # on which sources are looked for
_SPREAD = 0.05  # share of a number's variance that values explain, below which they aren't put in its order


def nest_drafts(
    drafts: list[Draft], forms: dict[int, Form], arrays: dict[int, pa.Array], schema: Schema, config: CodecConfig
) -> tuple[list[Draft], dict[int, Form]]:
    """Nest columns of many values in those that they go with; the drafts, each after those, and the forms that changed.

    The last column, by custom the one that is to be predicted, is left alone.
    """
    changed: dict[int, Form] = {}
    told = {a for draft in drafts if draft.dependency for a in draft.dependency.determinants}
    plain = [
        k
        for k, draft in enumerate(drafts[:-1])
        if draft.alone and not (draft.gaussian or draft.constant or draft.dependency or draft.leaves.positioned)
    ]
    leaves = {k: (drafts[k].leaf_of_id()[drafts[k].ids], drafts[k].leaves.size + 1) for k in plain}
    numbers = [
        np.where(draft.ids < len(draft.uniques), draft.ids, np.nan)
        for draft in drafts
        if isinstance(draft.leaves, NumericLeaves)
    ]
    sources: set[int] = set()
    for k in sorted(range(len(drafts) - 1), key=lambda k: -len(drafts[k].uniques)):
        draft, size = drafts[k], len(drafts[k].uniques)
        number = isinstance(forms.get(draft.column), IntegerForm) and draft.measured and k not in told
        if k in sources or draft.dependency or draft.gaussian or not _may_nest(draft, number, config):
            continue
        free = [a for a in plain if a != k and drafts[a].nest is None and len(drafts[a].uniques) < size]
        found = find_sources(draft.ids, size + 1, leaves, free, config.min_frequency)
        if not found or (number and not names_only(np.arange(size), [_modal(draft, drafts[a]) for a in found])):
            continue
        levels = as_levels(draft, arrays[draft.column], schema, config) if number else draft
        if levels is None or not isinstance(levels.leaves, Levels):
            continue
        own = levels.leaf_of_id()[levels.ids]
        context = np.zeros(len(own), np.int64)
        for a in found:
            context = _numbered(context * leaves[a][1] + leaves[a][0])
        order = within(context, own, numbers)
        nest = Nest.fit({a: leaves[a] for a in found}, own, len(levels.leaves.values), config.min_frequency, order)
        if nest is None:
            continue
        levels.nest, drafts[k] = nest, levels
        sources |= set(found)
        if number:
            changed[draft.column] = LevelForm(arrays[draft.column].type)
    return _after_sources(drafts), changed


def _may_nest(draft: Draft, number: bool, config: CodecConfig) -> bool:
    """Whether a column has more values than are learned well one by one, each on several rows."""
    free = number or (isinstance(draft.leaves, Levels) and not is_ordered(draft.leaves.values.type))
    size = len(draft.uniques)
    return free and draft.alone and config.split_above < size < len(draft.ids) / _SUPPORT


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
    where = [max([k, *(a + 0.5 for a in draft.nest.sources)]) if draft.nest else k for k, draft in enumerate(drafts)]
    order = np.argsort(where, kind="stable")
    moved = np.argsort(order).tolist()
    for draft in drafts:
        if draft.dependency is not None:
            determinants = tuple(moved[a] for a in draft.dependency.determinants)
            draft.dependency = Dependency(determinants, draft.dependency.table)
        if draft.nest is not None:
            draft.nest = replace(draft.nest, sources=tuple(moved[a] for a in draft.nest.sources))
    return [drafts[k] for k in order]


def find_sources(
    target: Array, size: int, others: Mapping[int, tuple[Array, int]], free: Sequence[int], few: int
) -> list[int]:
    """Those of `free` that a column's values belong to, the one that says most first; none where they don't.

    Args:
        target: the column's value of each row, int [n], below `size`.
        size: number of values.
        others: the leaf of each row [n], and the number of leaves, of other parts.
        free: indices of these.
        few: a value that goes with the same on fewer rows is in no list.
    """
    step = max(1, len(target) // _ROWS)
    own = target[::step].astype(np.int64)
    context, chosen = np.zeros(len(own), np.int64), list[int]()
    left = whole = _entropy(own)
    while len(chosen) < _SOURCES:
        best: tuple[float, int, Array] | None = None
        for k in free:
            if k in chosen:
                continue
            leaf, leaves = others[k]
            both = _numbered(context * leaves + leaf[::step])
            pair = both * size + own
            entropy = _entropy(both)
            gain = left - (_entropy(pair) - entropy)
            told = gain >= max(_GAIN, _TOLD * (entropy - _entropy(context)))
            if told and (best is None or gain > best[0]) and _known(pair, few):
                best = gain, k, both
        if best is None:
            break
        gain, k, context = best
        chosen.append(k)
        left -= gain
    return chosen if whole - left >= _WORTH else []


def within(context: Array, own: Array, numbers: Sequence[Array]) -> Array:
    """The one of `numbers` that values explain best where the context is the same; how frequent each is, if none is.

    Args:
        context: what the sources say, int [n].
        own: the value, int [n].
        numbers: floats [n] each, NaN where missing.
    """
    pair = _numbered(context.astype(np.int64) * (int(own.max(initial=0)) + 1) + own)
    best = _SPREAD
    order = -np.bincount(pair)[pair].astype(np.float64)
    for number in numbers:
        there = ~np.isnan(number)
        if not there.any():
            continue
        inner = number - means(context[there], number[there], int(context.max()) + 1)[context]
        mean = means(pair[there], inner[there], int(pair.max()) + 1)[pair]
        total = float((inner[there] ** 2).sum())
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
