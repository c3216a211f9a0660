"""Dates of many years: what comes back every year is told by the week of the year, and no date is made up."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.temporal import years
from vae_core.config import CodecConfig

Fit = Callable[..., Codec]
SEASON = ["day.year", "day.week", "day.weekday"]


def dates(first: str, days: int, rows_a_day: int = 1) -> pa.Array:
    start = np.datetime64(first, "D").astype(np.int32)
    return pa.array(np.repeat(start + np.arange(days, dtype=np.int32), rows_a_day)).cast(pa.date32())


def names(codec: Codec) -> list[str]:
    return [sub.name for sub in codec.sub_columns if sub.column == "day"]


@given(st.integers(-100_000, 100_000))
def test_weeks_of_the_year_are_those_of_the_standard(day: int) -> None:
    date = dt.date(1970, 1, 1) + dt.timedelta(days=day)
    year, week = years(np.array([(day + 3) // 7]))
    assert (int(year[0]), int(week[0])) == date.isocalendar()[:2]


@pytest.mark.parametrize(("days", "found"), [(9_000, SEASON), (20_000, ["day.week", "day.week.fine", "day.weekday"])])
def test_many_days_fall_into_weeks_and_weekdays(
    days: int, found: list[str], fit: Fit, random_codes: Callable[..., np.ndarray]
) -> None:
    """Shops that close on Sundays stay closed, however many years there are."""
    table = pa.table({"day": dates("1970-01-01", days, 2)})
    table = table.filter(pc.not_equal(pc.day_of_week(table["day"]), 6))
    codec = fit(table)
    assert names(codec) == found
    encoded = codec.encode(table)
    position = np.random.default_rng(0).random((len(encoded.codes), codec.positions)).astype(np.float32)
    decoded = codec.decode(encoded.codes, position, 0)
    assert 6 not in set(pc.day_of_week(decoded.column(0)).to_pylist())
    assert np.array_equal(codec.encode(decoded).codes, encoded.codes)


@given(
    first=st.dates(dt.date(1990, 1, 1), dt.date(2020, 12, 31)),
    days=st.integers(1_100, 4_000),
    missing=st.sampled_from([0.0, 0.2]),
    kind=st.sampled_from([pa.date32(), pa.date64(), pa.timestamp("us"), pa.timestamp("s", "Europe/Berlin")]),
)
@settings(max_examples=15, deadline=None)
def test_no_date_lies_beyond_those_of_the_source(
    first: dt.date, days: int, missing: float, kind: pa.DataType, fit: Fit, random_codes: Callable[..., np.ndarray]
) -> None:
    """The first and the last year are seldom whole, and most years have 52 weeks."""
    array = dates(first.isoformat(), days, 2).cast(pa.timestamp("s")).cast(pa.timestamp("us"))
    if pa.types.is_timestamp(kind) and kind.tz:
        array = pc.assume_timezone(array, kind.tz)
    absent = np.random.default_rng(0).random(len(array)) < missing
    array = pc.if_else(pa.array(absent), pa.scalar(None, array.type), array).cast(kind)
    table = pa.table({"day": array, "other": np.arange(len(array)) % 3})
    codec = fit(table, extremes=1, min_frequency=1, atom_rows=1)
    assert names(codec)[:3] == SEASON
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    decoded = again.decode(codec.encode(table).codes, None, 0)
    assert decoded.column(0).equals(table["day"].combine_chunks())

    codes = random_codes(codec, 3_000)
    drawn = codec.decode(codes, None, 0)
    assert np.array_equal(codec.encode(drawn).codes, codes)
    ends = [pc.min_max(column).as_py() for column in (drawn.column(0), table["day"])]
    week = dt.timedelta(days=7)
    assert ends[1]["min"] - week < ends[0]["min"] and ends[0]["max"] < ends[1]["max"] + week
    assert (drawn.column(0).null_count > 0) == (missing > 0)


def test_dates_that_tell_months_and_weekdays_go_on_telling_them(
    fit: Fit, random_codes: Callable[..., np.ndarray]
) -> None:
    day = dates("2010-01-04", 1_498, 25)  # whole weeks
    table = pa.table({"day": day, "month": pc.month(day), "weekday": pc.day_of_week(day), "year": pc.year(day)})
    codec = fit(table)
    assert names(codec) == ["day.week", "day.week.fine", "day.weekday"]
    drawn = codec.decode(random_codes(codec, 3_000), None, 0).to_pandas()
    moments = pd.to_datetime(drawn["day"])
    assert (drawn["month"] == moments.dt.month).all()
    assert (drawn["weekday"] == moments.dt.day_of_week).all()
    assert (drawn["year"] == moments.dt.year).all()


def test_a_weekday_that_the_date_tells_is_looked_up_beside_years(
    fit: Fit, random_codes: Callable[..., np.ndarray]
) -> None:
    day = dates("2010-01-01", 1_500, 4)
    table = pa.table({"weekday": pc.day_of_week(day), "day": day})
    codec = fit(table)
    assert len(names(codec)) == 2 and names(codec)[0] == "day.year"  # the weekday's code is the other column's
    drawn = codec.decode(random_codes(codec, 3_000), None, 0).to_pandas()
    assert (drawn["weekday"] == pd.to_datetime(drawn["day"]).dt.day_of_week).all()


def test_the_order_of_drawing_changes_codes_but_no_rows(fit: Fit) -> None:
    day = dates("2010-01-04", 1_498)
    values = np.arange(len(day))
    table = pa.table({"x": values % 5, "y": values * 1.5, "day": day, "z": pc.month(day)})
    source = fit(table)
    other = Codec.fit(table, source.schema, CodecConfig(), first=[2])
    drawn = [list(dict.fromkeys(sub.column for sub in codec.sub_columns)) for codec in (source, other)]
    assert drawn == [["x", "y", "day", "z"], ["day", "x", "y", "z"]]
    assert sorted(sub.name for sub in other.sub_columns) == sorted(sub.name for sub in source.sub_columns)
    again = Codec.from_dict(json.loads(json.dumps(other.to_dict())))
    position = np.full((len(day), other.positions), 0.5, np.float32)
    rows = [codec.decode(codec.encode(table).codes, position, 0) for codec in (source, other, again)]
    assert rows[0].equals(rows[1]) and rows[0].equals(rows[2])
