"""Dates, moments and numbers that a table holds as text: read to be learned, and written as they were.

A form of dates and moments is that of `strftime`. One of numbers says how many decimals there are: `0` none, `0.00`
two, `0.0##` one to three, of which those after the first aren't zeros at the end; `repr` is Python's way with floats.
One text that means missing may stand for a missing number, as in `0.00|NA`. Any other one would be written into the
schema, however few rows it has.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.config import MISSING
from vae_core.schema import Kind

_DAYS = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d")
_TIMES = (" %H:%M:%S", " %H:%M")
CALENDAR = (
    dict.fromkeys(_DAYS, Kind.DATE)
    | {day + time: Kind.TIMESTAMP for day in _DAYS for time in _TIMES}
    | {f"%Y-%m-%dT{time}": Kind.TIMESTAMP for time in ("%H:%M:%S", "%H:%M", "%H:%M:%SZ")}
)
"""What text of each form is. Of two that all values follow, such as `01/02/2024`, the first one is taken."""

_REPR = "repr"
_PLAIN = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$"
_FLOAT = r"^-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?$"
_NEGATIVE_ZERO = r"^-0(?:\.0+)?$"
_HEAD = 9  # values by which text of other forms is told soon
_DIGITS = 18  # of decimals whose unscaled integers surely fit in 64 bits


def kind_of(form: str) -> Kind:
    """What text of a form is."""
    if form in CALENDAR:
        return CALENDAR[form]
    pattern, _ = _parse(form)
    return {_REPR: Kind.REAL, "0": Kind.INTEGER}.get(pattern, Kind.DECIMAL)


class Search:
    """In which form all values of a column of text are written, told while they stream by."""

    def __init__(self) -> None:
        self._calendar: list[str] = list(CALENDAR)
        self._numbers: _Numbers | None = _Numbers()

    def add(self, values: pa.Array) -> None:
        """Look at values of which none is missing; any number of times at the same ones."""
        values = values.cast(pa.string())
        for part in (values.slice(0, _HEAD), values):
            self._calendar = [form for form in self._calendar if _follows(part, form)]
            if self._numbers is not None and not self._numbers.add(part):
                self._numbers = None

    @property
    def ended(self) -> bool:
        """Whether no form is left."""
        return not self._calendar and self._numbers is None

    def form(self, nulls: int) -> str | None:
        """The form, if there is one, of a column with so many missing values beside those looked at."""
        if self._calendar:
            return self._calendar[0]
        return None if self._numbers is None else self._numbers.form(nulls)


class _Numbers:
    """Which numbers were seen, and the one text that was none."""

    def __init__(self) -> None:
        self.odd: str | None = None
        self.any = False
        self.repr = True  # all are as Python writes floats
        self.decimal = True  # all are plain decimals
        self.whole = 0  # digits before the point, at most
        self.least, self.most = _DIGITS, 0  # decimals
        self.zero = 0  # most decimals of which the last is a zero

    def add(self, values: pa.Array) -> bool:
        """Whether all values so far may be numbers, but one text."""
        numeric = pc.and_not(pc.match_substring_regex(values, _FLOAT), pc.match_substring_regex(values, _NEGATIVE_ZERO))
        odd: set[str] = {*values.filter(pc.invert(numeric)).to_pylist()}
        if self.odd is not None:
            odd.add(self.odd)
        if len(odd) > 1 or not all(text.strip() in MISSING for text in odd):
            return False
        self.odd = next(iter(odd), None)
        values = values.filter(numeric)
        if len(values):
            self.any = True
            self.decimal = self.decimal and pc.all(pc.match_substring_regex(values, _PLAIN)).as_py()
            if self.decimal:
                self._measure(values)
            self.repr = self.repr and bool(pc.all(pc.equal(_repr(values.cast(pa.float64())), values)).as_py())
        return self.repr or self.decimal

    def _measure(self, values: pa.Array) -> None:
        lengths = pc.utf8_length(pc.utf8_ltrim(values, "-")).to_numpy()
        point = pc.find_substring(pc.utf8_ltrim(values, "-"), ".").to_numpy()
        scale = np.where(point < 0, 0, lengths - point - 1)
        self.whole = max(self.whole, int(np.where(point < 0, lengths, point).max()))
        self.least, self.most = min(self.least, int(scale.min())), max(self.most, int(scale.max()))
        zeros = scale[pc.match_substring_regex(values, r"\..*0$").to_numpy(zero_copy_only=False)]
        self.zero = max(self.zero, int(zeros.max(initial=0)))
        self.decimal = self.zero <= self.least and self.whole + self.most <= _DIGITS

    def form(self, nulls: int) -> str | None:
        if not self.any or (self.odd is not None and nulls):  # a missing number would be written in two ways
            return None
        pattern = _REPR
        if self.decimal:
            pattern = "0" + "." * (self.most > 0) + "0" * self.least + "#" * (self.most - self.least)
        return pattern if self.odd is None else f"{pattern}|{self.odd}"


def read(values: pa.Array | pa.ChunkedArray, form: str) -> pa.Array | pa.ChunkedArray:
    """Text as date32, timestamp[s], int64, decimal128 or float64; missing where it isn't of this form."""
    values = values.cast(pa.string())
    if form in CALENDAR:
        moments = pc.strptime(values, format=form, unit="s", error_is_null=True)
        return moments.cast(pa.date32()) if CALENDAR[form] is Kind.DATE else moments
    pattern, _ = _parse(form)
    most = max(len(pattern) - 2, 0)
    decimals = rf"(?:\.[0-9]{{1,{most}}})?" if most else ""
    fitting = rf"^-?(?:0|[1-9][0-9]{{0,{_DIGITS - most - 1}}}){decimals}$"  # others have no place in the type
    numeric = pc.match_substring_regex(values, _FLOAT if pattern == _REPR else fitting)
    numbers = pc.if_else(numeric, values, pa.scalar(None, pa.string()))
    if pattern == _REPR:
        return numbers.cast(pa.float64())
    return numbers.cast(pa.decimal128(_DIGITS, most) if most else pa.int64())


def write(values: pa.Array | pa.ChunkedArray, form: str, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Inverse of `read`, as text of type `kind`; a dictionary stays one."""
    _, odd = ("", None) if form in CALENDAR else _parse(form)
    if pa.types.is_dictionary(values.type):
        levels = _write(values.dictionary, form)
        if odd is None or not values.null_count:
            return pa.DictionaryArray.from_arrays(values.indices, levels)
        last = pa.scalar(len(levels), values.indices.type)
        return pa.DictionaryArray.from_arrays(
            values.indices.fill_null(last), pa.concat_arrays([levels, pa.array([odd])])
        )
    text = _write(values, form)
    return (text if odd is None else text.fill_null(odd)).cast(kind)


def _write(values: pa.Array | pa.ChunkedArray, form: str) -> pa.Array | pa.ChunkedArray:
    if form in CALENDAR:
        return pc.strftime(values, format=form, locale="C").cast(pa.string())
    pattern, _ = _parse(form)
    if pattern == _REPR:
        return _repr(values)
    text = values.cast(pa.string())
    if pattern.endswith("#"):
        text = pc.replace_substring_regex(text, f"0{{1,{pattern.count('#')}}}$", "")
        text = pc.replace_substring_regex(text, r"\.$", "")
    return text


def _follows(values: pa.Array, form: str) -> bool:
    again = write(read(values, form), form, pa.string())
    return bool(again.null_count == 0 and pc.all(pc.equal(again, values), min_count=0).as_py())


def _repr(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pa.array([None if value is None else repr(value) for value in values.to_pylist()], pa.string())


def _parse(form: str) -> tuple[str, str | None]:
    """The pattern of a form of numbers, and what stands for a missing one."""
    found = re.fullmatch(r"([^|]*)(?:\|(.*))?", form, re.DOTALL)
    assert found is not None
    return found[1], found[2]
