"""Numbers that a table holds as text: how they are written, to the letter.

A form is written as in spreadsheets and in the Unicode locale data (UTS #35, number format patterns), but for its
marks, which are those that stand in the text: `0` is whole, `0.00` has two decimals, `0.0##` one to three, of which
those after the first aren't zeros at the end; `#,##0` has its thousands apart, `#.##0,00` in the German way. What
stands around each number is part of the form: `$#,##0.00`, `0.0%`, `0.0 kg`. A second half, as in `$0.00;($0.00)`,
says how negative numbers are written, where that isn't with a minus in front. `repr` is Python's way with floats. One
text that means missing may stand for a missing number, as in `0.00|NA`. Any other one would be written into the schema,
however few rows it has.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.config import MISSING
from vae_core.schema import Kind

Values: TypeAlias = "pa.Array | pa.ChunkedArray"

_REPR = "repr"
_SPACES = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
_MARKS = ((".", ""), (".", ","), (",", ""), (",", "."), *((mark, group) for group in f"'’{_SPACES}" for mark in ".,"))
"""Of decimals and of thousands; of two that all values follow, such as `1,234`, the first one is taken."""
_NEGATIVES = ("-{0}0{1}", "{0}-0{1}", "({0}0{1})")
_CODE = rf"(?:[A-Z]{{3}}[{_SPACES}])?"  # of a currency
_PLAIN = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?$"
_FLOAT = r"^-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?$"
_NEGATIVE_ZERO = r"^-0(?:\.0+)?$"
_DIGITS = 18  # of decimals whose unscaled integers surely fit in 64 bits


@dataclass(frozen=True)
class Style:
    """What stands in and around the digits of a number.

    Attributes:
        before, after: of positive numbers.
        mark: of decimals.
        group: between thousands, if anything.
        negative: one of `_NEGATIVES`.
    """

    before: str = ""
    after: str = ""
    mark: str = "."
    group: str = ""
    negative: str = _NEGATIVES[0]

    @property
    def around_negative(self) -> tuple[str, str]:
        """What stands around the digits of a negative number."""
        before, after = self.negative.format(self.before, self.after).split("0")
        return before, after

    def plain(self, values: Values) -> Values:
        """Numbers as `-1234.5`; missing where they aren't of this style."""
        group, mark = re.escape(self.group), re.escape(self.mark)
        whole = f"[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})*" if group else "[1-9][0-9]*"
        number = f"(?:0|{whole})(?:{mark}[0-9]+)?"
        found = pa.nulls(len(values), pa.string())
        if isinstance(values, pa.ChunkedArray):
            found = pa.chunked_array([found])
        for sign, (before, after) in (("", (self.before, self.after)), ("-", self.around_negative)):
            fits = pc.match_substring_regex(values, f"^{re.escape(before)}{number}{re.escape(after)}$")
            digits = pc.utf8_slice_codeunits(values, len(before), -len(after) or None)
            found = pc.if_else(fits, pc.binary_join_element_wise(sign, digits, ""), found)
        if self.group:
            found = pc.replace_substring(found, self.group, "")
        return found if self.mark == "." else pc.replace_substring(found, self.mark, ".")

    def dress(self, plain: Values) -> Values:
        """Inverse of `plain`."""
        negative = pc.starts_with(plain, "-")
        text = pc.utf8_ltrim(plain, "-")
        if self.group:
            parts = pc.extract_regex(text, r"^(?P<whole>[0-9]+)(?P<rest>.*)$")
            whole = pc.utf8_reverse(pc.struct_field(parts, "whole"))
            whole = pc.replace_substring_regex(whole, "([0-9]{3})", rf"\1{self.group}")
            whole = pc.utf8_reverse(pc.utf8_rtrim(whole, self.group))
            rest = pc.replace_substring(pc.struct_field(parts, "rest"), ".", self.mark)
            text = pc.binary_join_element_wise(whole, rest, "")
        elif self.mark != ".":
            text = pc.replace_substring(text, ".", self.mark)
        signed = [
            pc.binary_join_element_wise(before, text, after, "")
            for before, after in ((self.before, self.after), self.around_negative)
        ]
        return pc.if_else(negative, signed[1], signed[0])

    def form(self, decimals: str) -> str:
        """The form of numbers of this style with decimals such as `0##`."""
        number = ("#" + self.group + "##0" if self.group else "0") + (self.mark + decimals if decimals else "")
        form = self.before + number + self.after
        if self.negative == _NEGATIVES[0]:
            return form
        before, after = self.around_negative
        return f"{form};{before}{number}{after}"


@dataclass(frozen=True)
class NumberForm:
    """A form, taken apart.

    Attributes:
        style: of the numbers; of `repr` the plain one.
        least, most: decimals.
        odd: the text that stands for a missing number.
    """

    style: Style
    least: int = 0
    most: int = 0
    odd: str | None = None
    repr: bool = False

    @classmethod
    def parse(cls, form: str) -> NumberForm:
        """Inverse of `Search.form`."""
        pattern, bar, odd = form.partition("|")
        missing = odd if bar else None
        if pattern == _REPR:
            return cls(Style(), odd=missing, repr=True)
        positive, _, negative = pattern.partition(";")
        found = re.fullmatch(r"([^0#]*)(?:#(.)##)?0(?:([.,])(0*)(#*))?([^0#]*)", positive)
        assert found is not None
        before, group, mark, zeros, optional, after = found.groups("")
        style = Style(before, after, mark or ("," if group == "." else "."), group)
        if negative:
            number = positive[len(before) : len(positive) - len(after)]
            ways = {way.format(before, after).replace("0", number): way for way in _NEGATIVES}
            style = Style(before, after, style.mark, group, ways[negative])
        return cls(style, len(zeros), len(zeros) + len(optional), missing)

    @property
    def kind(self) -> Kind:
        """What the numbers are."""
        return Kind.REAL if self.repr else Kind.DECIMAL if self.most else Kind.INTEGER

    @property
    def measures(self) -> bool:
        """Whether thousands apart, or a sign beside it, say that a whole number is an amount, and names nothing."""
        return bool(self.style.group) or any(map(_is_sign, self.style.before + self.style.after))

    def read(self, text: Values) -> Values:
        """Text as int64, decimal128 or float64; missing where it isn't of this form."""
        if self.repr:
            numeric = pc.match_substring_regex(text, _FLOAT)
            return pc.if_else(numeric, text, pa.scalar(None, pa.string())).cast(pa.float64())
        decimals = rf"(?:\.[0-9]{{1,{self.most}}})?" if self.most else ""
        fitting = rf"^-?(?:0|[1-9][0-9]{{0,{_DIGITS - self.most - 1}}}){decimals}$"  # others have no place in the type
        plain = self.style.plain(text)
        plain = pc.if_else(pc.match_substring_regex(plain, fitting), plain, pa.scalar(None, pa.string()))
        return plain.cast(pa.decimal128(_DIGITS, self.most) if self.most else pa.int64())

    def write(self, numbers: Values) -> Values:
        """Inverse of `read`; missing numbers stay so."""
        if self.repr:
            return _repr(numbers)
        text = numbers.cast(pa.string())
        if self.most > self.least:
            text = pc.replace_substring_regex(text, f"0{{1,{self.most - self.least}}}$", "")
            text = pc.replace_substring_regex(text, r"\.$", "")
        return text if self.style == Style() else self.style.dress(text)


class Search:
    """In which form all values of a column of text are written, told while they stream by."""

    def __init__(self) -> None:
        self._odd: set[str] = set()
        self._left: list[_Candidate] | None = None  # none before the first digit

    def add(self, values: pa.Array) -> bool:
        """Look at values of which none is missing; whether a form is left."""
        if self._left is None:
            digits = pc.match_substring_regex(values, "[0-9]")
            if not pc.any(digits, min_count=0).as_py():
                self._odd.update(values.to_pylist()[:2])
                return len(self._odd) < 2 and _mean_missing(self._odd)
            self._left = [_Candidate(style, set(self._odd)) for style in _styles(values.filter(digits)[0].as_py())]
        self._left = [candidate for candidate in self._left if candidate.add(values)]
        return bool(self._left)

    def form(self, nulls: int) -> str | None:
        """The form, if there is one, of a column with so many missing values beside those looked at."""
        forms = (candidate.form(nulls) for candidate in self._left or [])
        return next((form for form in forms if form is not None), None)


@dataclass
class _Candidate:
    """What the numbers of a style were like so far, and the one text that was none."""

    style: Style
    odd: set[str]
    any: bool = False
    repr: bool = field(init=False)  # all are as Python writes floats
    decimal: bool = True  # all are plain decimals
    whole: int = 0  # digits before the mark, at most
    least: int = _DIGITS  # decimals
    most: int = 0
    zero: int = 0  # most decimals of which the last is a zero

    def __post_init__(self) -> None:
        self.repr = self.style == Style()

    def add(self, values: pa.Array) -> bool:
        """Whether all values so far may be numbers, but one text."""
        numbers = values if self.repr else self.style.plain(values)
        numeric = pc.and_not(
            pc.match_substring_regex(numbers, _FLOAT), pc.match_substring_regex(numbers, _NEGATIVE_ZERO)
        ).fill_null(False)
        self.odd.update(values.filter(pc.invert(numeric)).to_pylist())
        if len(self.odd) > 1 or not _mean_missing(self.odd):
            return False
        numbers = numbers.filter(numeric)
        if len(numbers):
            self.any = True
            self.decimal = self.decimal and pc.all(pc.match_substring_regex(numbers, _PLAIN)).as_py()
            if self.decimal:
                self._measure(numbers)
            self.repr = self.repr and bool(pc.all(pc.equal(_repr(numbers.cast(pa.float64())), numbers)).as_py())
        return self.repr or self.decimal

    def _measure(self, numbers: pa.Array) -> None:
        unsigned = pc.utf8_ltrim(numbers, "-")
        lengths, point = pc.utf8_length(unsigned).to_numpy(), pc.find_substring(unsigned, ".").to_numpy()
        scale = np.where(point < 0, 0, lengths - point - 1)
        self.whole = max(self.whole, int(np.where(point < 0, lengths, point).max()))
        self.least, self.most = min(self.least, int(scale.min())), max(self.most, int(scale.max()))
        zeros = scale[pc.match_substring_regex(numbers, r"\..*0$").to_numpy(zero_copy_only=False)]
        self.zero = max(self.zero, int(zeros.max(initial=0)))
        self.decimal = self.zero <= self.least and self.whole + self.most <= _DIGITS

    def form(self, nulls: int) -> str | None:
        odd = next(iter(self.odd), None)
        if not self.any or (odd is not None and nulls):  # a missing number would be written in two ways
            return None
        decimals = "0" * self.least + "#" * (self.most - self.least)
        form = self.style.form(decimals) if self.decimal else _REPR
        return form if odd is None else f"{form}|{odd}"


def _styles(text: str) -> Iterator[Style]:
    """Styles that a number may have, the likeliest first."""
    digits = [i for i, character in enumerate(text) if character in "0123456789"]
    before, after = text[: digits[0]], text[digits[-1] + 1 :]
    if before.startswith("(") and after.endswith(")"):
        before, after = before[1:], after[:-1]
    else:
        before = before.removesuffix("-") if before.endswith("-") else before.removeprefix("-")
    if not (_is_currency(before) and _is_unit(after.lstrip(_SPACES), after)):
        before = after = ""
    for mark, group in _MARKS:
        for negative in _NEGATIVES if before else (_NEGATIVES[0], _NEGATIVES[2]):
            yield Style(before, after, mark, group, negative)


def _is_currency(before: str) -> bool:
    """Whether this may stand before a number: nothing, a sign, as in `US$`, or a code; other letters make it a name."""
    signed = any(map(_is_sign, before)) and _is_unit(before.rstrip(_SPACES), before)
    return signed or re.fullmatch(_CODE, before) is not None


def _is_unit(unit: str, affix: str) -> bool:
    """Whether this may stand beside a number: signs, letters, and one space between these and it at most."""
    told = all(c.isalpha() or c in "/²³" or _is_sign(c) for c in unit.removesuffix("."))
    return told and len(affix) - len(unit) <= bool(unit)


def _is_sign(character: str) -> bool:
    return character in "%‰°" or unicodedata.category(character) == "Sc"


def _mean_missing(texts: set[str]) -> bool:
    return all(text.strip() in MISSING for text in texts)


def _repr(values: Values) -> Values:
    return pa.array([None if value is None else repr(value) for value in values.to_pylist()], pa.string())
