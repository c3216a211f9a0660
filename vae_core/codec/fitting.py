"""Fitting a codec: parts are factorised once, then everything is decided on the integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vae_core.codec.affiliation import nest_drafts
from vae_core.codec.arithmetic import find_arithmetic
from vae_core.codec.association import names_only, order_levels
from vae_core.codec.bends import find_bends
from vae_core.codec.curves import find_curves
from vae_core.codec.dependencies import Dependency
from vae_core.codec.drafts import Draft, Withheld, as_levels, draft_parts
from vae_core.codec.forms import Form, IntegerForm, Leaves, LevelForm, is_ordered
from vae_core.codec.gaussian import Gaussian
from vae_core.codec.joints import Joining, find_joints
from vae_core.codec.layout import Layout
from vae_core.codec.leaves import NumericLeaves
from vae_core.codec.levels import Levels
from vae_core.codec.pairs import find_functions
from vae_core.codec.parts import GaussianPart, Part, SubColumn
from vae_core.codec.relations import Relation, in_order, numbers
from vae_core.codec.repeats import find_repeats
from vae_core.codec.seasons import YEARS, spans
from vae_core.codec.steps import find_steps
from vae_core.codec.storage import Array
from vae_core.codec.temporal import WEEK, CalendarForm, years
from vae_core.codec.times import find_times
from vae_core.config import CodecConfig
from vae_core.schema import Schema


def find_relations(arrays: Mapping[int, pa.Array], schema: Schema, config: CodecConfig) -> list[Relation]:
    """The columns that others nearly say, each after those."""
    curves = find_curves(arrays, schema, config)
    curves += find_bends(arrays, schema, config, {curve.column: curve.sources[0] for curve in curves})
    origins = {curve.column: curve.sources[0] for curve in curves}
    relations = [*find_arithmetic(arrays, schema, config, origins), *find_times(arrays, schema, config), *curves]
    repeats = find_repeats(arrays, schema, config, {relation.column for relation in relations})
    return in_order([*repeats, *relations])


def fit_parts(
    forms: dict[int, Form],
    arrays: dict[int, pa.Array],
    schema: Schema,
    config: CodecConfig,
    relations: Sequence[Relation] = (),
    spared: Set[int] = frozenset(),
) -> tuple[dict[int, Form], list[Part | GaussianPart], Joining, list[Withheld]]:
    """The forms, some of which change, their parts in this order, the parts' sub-columns, and what is withheld.

    The bins of columns that are `spared` aren't cut where other columns change.
    """
    rests = {r.column: r.rest(numbers(arrays[r.column]), arrays) for r in relations}
    drafts = [
        draft
        for index, form in forms.items()
        for draft in draft_parts(index, form, arrays[index], rests.get(index), schema, config)
    ]
    candidates = [draft.candidate(k == _carrier(drafts, draft.column)) for k, draft in enumerate(drafts)]
    for b, dependency in find_functions(candidates, config.split_above, config.min_frequency).items():
        drafts[b].dependency = dependency
    for a in {a for draft in drafts if draft.dependency for a in draft.dependency.determinants}:
        source = drafts[a]
        if isinstance(source.leaves, NumericLeaves) and source.leaves.positioned:
            source.leaves, source.mass = NumericLeaves.fit(
                np.asarray(source.uniques), source.counts, config, closed=True
            )
    related = {k for r in relations for k in (r.column, *r.sources)}
    forms = forms | _name_keys(
        drafts, {k: form for k, form in forms.items() if k not in related}, arrays, schema, config
    )
    forms = forms | _split_weeks(drafts, forms, arrays, schema, config)
    _order(drafts, config)
    if config.relations:
        drafts, changed = nest_drafts(drafts, {k: forms[k] for k in forms if k not in related}, arrays, schema, config)
        forms = forms | changed
        find_steps(drafts, spared | {r.column for r in relations}, config)  # what is left: post codes are no amounts
    parts, subs = _build(drafts, schema, config)
    joints = find_joints(parts, lambda k: drafts[k].leaf_of_id()[drafts[k].ids], subs, config.joint_codes)
    return forms, parts, Joining(tuple(subs), joints), [draft.withheld(config) for draft in drafts]


def _name_keys(
    drafts: list[Draft], forms: dict[int, Form], arrays: dict[int, pa.Array], schema: Schema, config: CodecConfig
) -> dict[int, Form]:
    """Make levels of integers that only name something, such as schools; the forms that changed.

    They determine what is known of it, and their neighbours are no more alike than others.
    """
    changed: dict[int, Form] = {}
    for a, draft in enumerate(drafts):
        form = forms.get(draft.column)
        number = isinstance(form, IntegerForm) and draft.measured and not pa.types.is_uint64(form.type)
        if form is None or not number or draft.leaves.size <= config.split_above:
            continue
        said = [
            other.dependency.table
            for other in drafts
            if other.dependency is not None
            and other.dependency.determinants == (a,)
            and len(other.uniques) <= config.split_above
        ]
        if not names_only(draft.exact[:-1], said):
            continue
        if (named := as_levels(draft, arrays[draft.column], schema, config)) is not None:
            drafts[a], changed[draft.column] = named, LevelForm(form.type)
    return changed


def _split_weeks(
    drafts: list[Draft], forms: dict[int, Form], arrays: dict[int, pa.Array], schema: Schema, config: CodecConfig
) -> dict[int, Form]:
    """Replace weeks by years and weeks of the year, which say what comes back every year; the forms that changed.

    Not where other columns follow from the week, as months do, or tell it.
    """
    changed: dict[int, Form] = {}
    for index, form in forms.items():
        if not isinstance(form, CalendarForm) or WEEK not in form.parts:
            continue
        at = next(k for k, draft in enumerate(drafts) if draft.column == index)
        told = {a for draft in drafts if draft.dependency for a in draft.dependency.determinants}
        count = len(np.unique(years(np.asarray(drafts[at].uniques))[0]))
        most = config.split_above - (drafts[at].nulls > 0)
        if at in told or drafts[at].dependency is not None or not YEARS <= count <= most:
            continue
        changed[index] = form.by_year()
        new = draft_parts(index, changed[index], arrays[index], None, schema, config)[:2]
        for draft in new:
            draft.leaves, draft.mass = NumericLeaves.fit(np.asarray(draft.uniques), draft.counts, config, closed=True)
        year, week = (draft.leaf_of_id()[draft.ids[draft.ids < len(draft.uniques)]] for draft in new)
        new[1].spans = spans(year, week, new[0].leaves.size, config.extremes)
        drafts[at : at + 1] = new
        for draft in drafts:
            if draft.dependency is not None:
                moved = tuple(a + (a > at) for a in draft.dependency.determinants)
                draft.dependency = Dependency(moved, draft.dependency.table)
    return changed


def _order(drafts: list[Draft], config: CodecConfig) -> None:
    """Put the many levels of a split part in the order of what they go with."""
    others = []
    split = []
    for draft in drafts:
        if draft.gaussian or draft.constant:
            continue
        size = draft.leaves.size + (draft.nulls > 0)
        if size <= config.split_above:
            others.append((draft.leaf_of_id()[draft.ids], size))
        elif not draft.dependency and isinstance(draft.leaves, Levels) and not is_ordered(draft.leaves.values.type):
            split.append(draft)
    for draft in split:  # their order is free
        assert isinstance(draft.leaves, Levels)
        count = len(draft.leaves.values)
        order = order_levels(draft.leaf_of_id()[draft.ids], count, others)
        draft.leaves = draft.leaves.reordered(order)
        draft.mass[:count] = draft.mass[order]


def _build(
    drafts: list[Draft], schema: Schema, config: CodecConfig
) -> tuple[list[Part | GaussianPart], list[SubColumn]]:
    subs: list[SubColumn] = []
    parts: list[Part | GaussianPart] = []
    first_sub: dict[int, int] = {}  # of each column that has one
    for k, draft in enumerate(drafts):
        column = schema.columns[draft.column].name
        new: list[SubColumn] = []
        position = sum(sub.position or sub.gaussian for sub in subs)
        if draft.gaussian:
            gaussian = _gaussian(draft, len(subs), position, sum(sub.gaussian for sub in subs), config)
            new = gaussian.sub_columns(draft.name, column, subs)
            parts.append(gaussian)
        elif draft.dependency:
            determinants = draft.dependency.determinants
            leaves, table = _looked_up(draft, [drafts[a] for a in determinants])
            parts.append(Part(draft.column, leaves, determinants=determinants, table=table))
        elif draft.constant and (not draft.nulls or k != _carrier(drafts, draft.column)):
            parts.append(Part(draft.column, draft.leaves, table=np.flatnonzero(draft.leaves.allowed)))
        elif draft.nest is not None:
            layout = draft.nest.layout(draft.nulls > 0)
            part = Part(draft.column, draft.leaves, layout, (len(subs), len(subs) + 1), nest=draft.nest)
            new = part.sub_columns(draft.name, column, subs)
            parts.append(part)
        else:
            pooled = len(draft.mass) - 1 if not draft.leaves.allowed.all() else None
            most = config.split_above if draft.spans is None else len(draft.mass) + 1
            layout = Layout.fit(draft.mass, draft.nulls > 0, most, pooled)
            indices = tuple(range(len(subs), len(subs) + len(layout.sizes)))
            tied = first_sub.get(draft.column) if draft.nulls or draft.spans is not None else None
            part = Part(
                draft.column,
                draft.leaves,
                layout,
                indices,
                position if draft.leaves.positioned else None,
                tied=tied,
                spans=draft.spans,
            )
            new = part.sub_columns(draft.name, column, subs)
            parts.append(part)
        if new:
            first_sub.setdefault(draft.column, len(subs))
        subs.extend(new)
    return parts, _distinct_names(subs)


def _carrier(drafts: list[Draft], column: int) -> int:
    """The draft of a column that says where the column is missing: the first that is not constant, if one isn't."""
    own = [k for k, draft in enumerate(drafts) if draft.column == column]
    return next((k for k in own if not drafts[k].constant), own[0])


def _gaussian(draft: Draft, first: int, position: int, value: int, config: CodecConfig) -> GaussianPart:
    uniques, counts = np.asarray(draft.uniques), draft.counts
    finite = ~np.isnan(uniques)
    nan = not bool(finite.all())
    law = Gaussian.fit(uniques[finite], counts[finite], config.extremes)
    subs = (first, first + 1) if nan or draft.nulls else (first,)
    return GaussianPart(draft.column, law, subs, position, value, nan and not draft.nulls)


def _looked_up(draft: Draft, sources: list[Draft]) -> tuple[Leaves, Array]:
    """The leaves of a dependent part, and its leaf for each (pair of) leaf of its determinants, missing included."""
    assert draft.dependency is not None
    axes = []
    for source in sources:
        axis = np.full(source.leaves.size + 1, -1, dtype=np.int64)  # leaf id of each leaf
        axis[source.leaf_of_id()[source.exact >= 0]] = source.exact[source.exact >= 0]
        axes.append(axis)
    said = np.asarray(draft.dependency.table[np.ix_(*axes)])
    for n, axis in enumerate(axes):
        said[(slice(None),) * n + (axis < 0,)] = -1
    ids = np.where(said >= 0, said, int(np.argmax(draft.counts))).ravel()
    absent = len(draft.uniques)
    if isinstance(draft.leaves, NumericLeaves) and not np.isnan(draft.leaves.limits).any():
        finite = absent - draft.leaves.nan  # NaN is the last
        first, last = np.searchsorted(draft.uniques[:finite], draft.leaves.limits)
        ids = np.where(ids < finite, np.clip(ids, first, last), ids)
    reached = np.unique(ids[ids < absent])
    table = np.where(ids < absent, np.searchsorted(reached, ids), len(reached))
    if isinstance(draft.uniques, pa.Array):
        return Levels(draft.uniques.take(pa.array(reached)), False, 0), table
    return NumericLeaves.of_values(draft.uniques[reached]), table


def _distinct_names(subs: list[SubColumn]) -> list[SubColumn]:
    taken: set[str] = set()
    named = []
    for sub in subs:
        name = sub.name
        while name in taken:
            name += "'"
        taken.add(name)
        named.append(replace(sub, name=name))
    return named
