"""Forms of dates, times and timestamps: the day and the time of day, in the local time of the column's zone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_core.codec import storage
from vae_core.codec.forms import Form, Leaves, Values
from vae_core.codec.storage import Array, Bools, Ints

PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_MONDAY = 3  # 1970-01-01 was a Thursday
DAY, YEAR, WEEK, WEEKDAY, TIME, FOLD = "day", "year", "week", "weekday", "time", "fold"


@dataclass(frozen=True)
class CalendarForm(Form):
    """Dates and timestamps.

    Parts: `day` since the epoch, or `week` and `weekday` (Monday is 0) where there are many days; `time` of day in the
    column's unit; `fold`, 1 for the second of two equal local times when clocks go back. With a `year`, the week is
    that of the year (ISO 8601, 1 to 53), else it is counted since the epoch. A zone's column is taken apart in local
    time, so that schedules survive; a local time that does not exist becomes the next one that does.
    """

    tag = "calendar"

    @classmethod
    def fit(cls, array: pa.Array, max_days: int) -> CalendarForm:
        """Parts for `array`; weeks and weekdays when it has more than `max_days` days."""
        kind = array.type
        present = array.drop_null()
        ticks = _local(present)
        day = ticks // _per_day(kind)
        parts = [WEEK, WEEKDAY] if len(np.unique(day)) > max_days else [DAY]
        if pa.types.is_timestamp(kind):
            parts.append(TIME)
            if kind.tz is not None and _fold(present, ticks).any():
                parts.append(FOLD)
        return cls(kind, tuple(parts) if len(parts) > 1 else ("",))

    def by_year(self) -> CalendarForm:
        """The same with years and weeks of the year instead of weeks."""
        at = self.parts.index(WEEK)
        return CalendarForm(self.type, (*self.parts[:at], YEAR, *self.parts[at:]))

    def split(self, array: pa.Array) -> list[Values]:
        """Day, or week and weekday, or those with the year; time of day; fold."""
        ticks = _local(array)
        day, time = np.divmod(ticks, _per_day(self.type))
        found: dict[str, Array] = {"": day, DAY: day, TIME: time}
        if WEEK in self.parts:
            found[WEEK], found[WEEKDAY] = np.divmod(day + _MONDAY, 7)
        if YEAR in self.parts:
            found[YEAR], found[WEEK] = years(found[WEEK])
        if FOLD in self.parts:
            found[FOLD] = _fold(array, ticks).astype(np.int64)
        return [found[part] for part in self.parts]

    def join(self, values: list[Array], leaves: list[Leaves], missing: Bools | None) -> pa.Array:
        """The instants with these parts."""
        found = dict(zip(self.parts, values, strict=True))
        week = found.get(WEEK)
        if week is not None and YEAR in found:
            week = _first_week(found[YEAR]) + week - 1
        day = found.get(DAY, values[0]) if week is None else week * 7 + found[WEEKDAY] - _MONDAY
        ticks = day * _per_day(self.type)
        if TIME in found:
            ticks = ticks + found[TIME]
        zone = getattr(self.type, "tz", None)
        if zone is None:
            return storage.from_integers(ticks, missing, self.type)
        local = storage.from_integers(ticks, missing, pa.timestamp(self.type.unit))
        instant = _instant(local, zone, "earliest")
        if FOLD in found:
            later = pa.array(found[FOLD].astype(bool))
            instant = pc.if_else(later, _instant(local, zone, "latest"), instant)
        return instant


@dataclass(frozen=True)
class TimeForm(Form):
    """Times of day, in the column's unit."""

    tag = "time"
    parts: tuple[str, ...] = ("",)

    def split(self, array: pa.Array) -> list[Values]:
        """The stored integers."""
        return [storage.integers(array)]

    def join(self, values: list[Array], leaves: list[Leaves], missing: Bools | None) -> pa.Array:
        """The stored integers as times, kept within the day."""
        last = PER_DAY[self.type.unit] - 1
        return storage.from_integers(np.clip(values[0], 0, last), missing, self.type)


def years(week: Ints) -> tuple[Ints, Ints]:
    """The year [n] and the week of the year [n], 1 to 53, of weeks since the epoch: of their Thursdays (ISO 8601)."""
    year = (7 * week).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return year, week - _first_week(year) + 1


def _first_week(year: Ints) -> Ints:
    """The week since the epoch that has the first Thursday of the year."""
    january = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return np.asarray((january + 6) // 7)  # the first Thursday from there on: day 0 is one


def _per_day(kind: pa.DataType) -> int:
    if pa.types.is_date32(kind):
        return 1
    return PER_DAY["ms"] if pa.types.is_date64(kind) else PER_DAY[kind.unit]


def _local(array: pa.Array) -> Ints:
    """Ticks since the epoch in the column's unit, of local time where there is a zone."""
    zoned: Any = getattr(array.type, "tz", None)
    return storage.integers(pc.local_timestamp(array) if zoned else array)


def _instant(local: pa.Array, zone: str, ambiguous: str) -> pa.Array:
    return pc.assume_timezone(local, zone, ambiguous=ambiguous, nonexistent="latest")


def _fold(array: pa.Array, ticks: Ints) -> Bools:
    """Where the first reading of the local time is not the instant in `array`."""
    local = storage.from_integers(ticks, None, pa.timestamp(array.type.unit))
    first = storage.integers(_instant(local, array.type.tz, "earliest"))
    differs = first != storage.integers(array)
    missing = storage.missing_mask(array)
    return np.asarray(differs if missing is None else differs & ~missing)
