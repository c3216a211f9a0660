"""Dates, moments and numbers that a table holds as text: read to be learned, and written as they were.

A form of dates and moments is that of `strftime`; those of numbers are in `vae_core.number_forms`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vae_core import number_forms
from vae_core.number_forms import NumberForm, Values
from vae_core.schema import Kind

_DAYS = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d")
_TIMES = (" %H:%M:%S", " %H:%M")
CALENDAR = (
    dict.fromkeys(_DAYS, Kind.DATE)
    | {day + time: Kind.TIMESTAMP for day in _DAYS for time in _TIMES}
    | {f"%Y-%m-%dT{time}": Kind.TIMESTAMP for time in ("%H:%M:%S", "%H:%M", "%H:%M:%SZ")}
)
"""What text of each form is. Of two that all values follow, such as `01/02/2024`, the first one is taken."""

_HEAD = 9  # values by which text of other forms is told soon


def kind_of(form: str) -> Kind:
    """What text of a form is."""
    return CALENDAR[form] if form in CALENDAR else NumberForm.parse(form).kind


def measures(form: str) -> bool:
    """Whether text of this form names nothing, however few or distinct its values are."""
    return form in CALENDAR or NumberForm.parse(form).measures


class Search:
    """In which form all values of a column of text are written, told while they stream by."""

    def __init__(self) -> None:
        self._calendar: list[str] = list(CALENDAR)
        self._numbers: number_forms.Search | None = number_forms.Search()

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


def read(values: Values, form: str) -> Values:
    """Text as date32, timestamp[s], int64, decimal128 or float64; missing where it isn't of this form."""
    values = values.cast(pa.string())
    if form in CALENDAR:
        moments = pc.strptime(values, format=form, unit="s", error_is_null=True)
        return moments.cast(pa.date32()) if CALENDAR[form] is Kind.DATE else moments
    return NumberForm.parse(form).read(values)


def write(values: Values, form: str, kind: pa.DataType) -> Values:
    """Inverse of `read`, as text of type `kind`; a dictionary stays one."""
    odd = None if form in CALENDAR else NumberForm.parse(form).odd
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


def _write(values: Values, form: str) -> Values:
    if form in CALENDAR:
        return pc.strftime(values, format=form, locale="C").cast(pa.string())
    return NumberForm.parse(form).write(values)


def _follows(values: pa.Array, form: str) -> bool:
    again = write(read(values, form), form, pa.string())
    return bool(again.null_count == 0 and pc.all(pc.equal(again, values), min_count=0).as_py())
