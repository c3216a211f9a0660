"""What each column is, told from its Arrow type and its values."""

from __future__ import annotations

import re

import pyarrow.types as pt

from vae_core.ingest.profile import MAX_LEVELS, ROWS_A_LEVEL, ColumnProfile
from vae_core.ingest.types import is_text
from vae_core.schema import Kind
from vae_core.text_forms import kind_of, measures

_ENOUGH = 20
_LEVELS = 200
_SUPPORTED = 1 / 3  # of the values, at least, where there are more levels than that
_KEY_NAME = re.compile(r"(^|[_\s.-])(id|uuid|guid|key|index|rowid|no|nr|pk)$", re.IGNORECASE)
_CALENDAR_NAME = re.compile(r"(^|[_\s.-])(year|yr|age|month|week|day|hour)s?$", re.IGNORECASE)
_CAMEL_KEY = re.compile(r"[a-z](Id|ID|Key|UUID)$")

_BY_TYPE = (
    (pt.is_boolean, Kind.BOOLEAN),
    (pt.is_integer, Kind.INTEGER),
    (pt.is_floating, Kind.REAL),
    (pt.is_decimal, Kind.DECIMAL),
    (pt.is_timestamp, Kind.TIMESTAMP),
    (pt.is_date, Kind.DATE),
    (pt.is_time, Kind.TIME),
    (pt.is_duration, Kind.DURATION),
)


def infer_kind(profile: ColumnProfile) -> tuple[Kind, str]:
    """The kind of a column, and in words why."""
    found = profile.field.type
    if profile.present == 0:
        return Kind.EMPTY, "every value is missing"
    distinct = profile.distinct
    if distinct == 1 and profile.nulls == 0:
        return Kind.CONSTANT, "every value is the same"
    if pt.is_dictionary(found):
        return Kind.CATEGORICAL, f"the Arrow type is {found}, with {_count(distinct)} levels in use"
    if is_text(found):
        return _text_kind(profile, distinct)
    if pt.is_integer(found) and (why := _key_reason(profile, distinct)):
        return Kind.IDENTIFIER, why
    kind = next(kind for check, kind in _BY_TYPE if check(found))
    return kind, f"the Arrow type is {found}, with {_count(distinct)} distinct values"


def nothing_to_learn(kinds: list[Kind]) -> bool:
    """Whether no column of these kinds has a distribution that could be learned."""
    return all(kind in (Kind.IDENTIFIER, Kind.TEXT, Kind.CONSTANT, Kind.EMPTY) for kind in kinds)


def _key_reason(profile: ColumnProfile, distinct: int | None) -> str:
    """Why a column of whole numbers identifies rows, empty if it doesn't."""
    if not profile.unique or profile.present < _ENOUGH or _CALENDAR_NAME.search(profile.field.name):
        return ""  # a year may stand once a row, but what comes after the last one is no year of this table
    assert profile.low is not None
    assert profile.high is not None
    span = profile.high - profile.low + 1
    seen = "no value stands twice" if distinct is not None else "none of the first million values stands twice"
    if span == profile.present:
        return f"{seen}, and they run from {profile.low} to {profile.high} without a gap"
    if _KEY_NAME.search(profile.field.name) or _CAMEL_KEY.search(profile.field.name):
        return f"{seen}, and the name says that it identifies rows"
    if profile.ascending and span <= 2 * profile.present:
        return f"{seen}, and they only go up, with few gaps"
    return ""


def _text_kind(profile: ColumnProfile, distinct: int | None) -> tuple[Kind, str]:
    words = _words_kind(profile, distinct)
    if profile.written is None:
        return words
    kind = kind_of(profile.written)
    if kind is Kind.INTEGER and words[0] is not Kind.TEXT and not measures(profile.written):
        return words  # whole numbers that are text on purpose: codes of a few things, or names of the rows
    return kind, f"text of kind {kind} in every row, written as {profile.written}"


def _words_kind(profile: ColumnProfile, distinct: int | None) -> tuple[Kind, str]:
    sample = profile.sample
    length = sum(map(len, sample)) / len(sample)
    spaced = sum(" " in value for value in sample) / len(sample)
    if profile.unique and profile.present >= _ENOUGH:
        if spaced < 0.05 and length <= 100:
            return Kind.IDENTIFIER, f"no value stands twice, and each is one word{_form(sample)}"
        return Kind.TEXT, f"no value stands twice; {length:.0f} characters on average"
    if distinct is None or distinct > MAX_LEVELS:
        return Kind.TEXT, f"more than {MAX_LEVELS:,} distinct values"
    support = profile.present / distinct
    if distinct > _LEVELS and profile.supported < _SUPPORTED:
        few = f"{profile.supported:.0%} of the values stand on {ROWS_A_LEVEL} rows or more"
        return Kind.TEXT, f"{distinct:,} distinct values, and {few}: too few to learn from"
    if distinct <= _LEVELS and profile.present >= _ENOUGH and distinct > profile.present / 2:
        return Kind.TEXT, f"{distinct:,} distinct values in {profile.present:,}: hardly any stands twice"
    return Kind.CATEGORICAL, f"strings with {distinct:,} levels, {support:,.1f} rows each"


def _form(sample: list[str]) -> str:
    """The form that all values share, in words, or nothing."""
    shapes = {re.sub(r"[0-9]+", "9", re.sub(r"[A-Za-z]+", "a", value)) for value in sample[:200]}
    lengths = {len(value) for value in sample[:200]}
    if len(lengths) == 1:
        return f" of {lengths.pop()} characters"
    return " of one form" if len(shapes) == 1 else ""


def _count(distinct: int | None) -> str:
    return "many" if distinct is None else f"{distinct:,}"
