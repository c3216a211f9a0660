"""Dates and moments that are text come out as such text, and follow one another as real ones do."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vae_core as vs
from vae_core import calendar_text
from vae_core.schema import Column, Kind, Schema

MOMENTS = st.datetimes(datetime(1600, 1, 1), datetime(2999, 12, 31))


@given(form=st.sampled_from(sorted(calendar_text.FORMATS)), moments=st.lists(st.none() | MOMENTS, min_size=1))
def test_what_is_read_is_written_as_it_was(form: str, moments: list[datetime | None]) -> None:
    text = pa.array([None if moment is None else moment.strftime(form) for moment in moments], pa.string())
    assert calendar_text.follows(text, form)
    assert calendar_text.write(calendar_text.read(text, form), form, pa.string()).equals(text)
    levels = calendar_text.read(text, form).dictionary_encode()
    assert calendar_text.write(levels, form, pa.string()).cast(pa.string()).equals(text)
    assert {calendar_text.format_of(value) for value in text.drop_null().to_pylist()} <= {form}


@pytest.mark.parametrize("text", ["2024-1-5", "2024-02-30", "20240105", " 2024-01-05", "2024-01-05 24:00:00", "", "x"])
def test_text_of_another_form_is_no_date(text: str) -> None:
    assert calendar_text.format_of(text) is None


def test_only_such_columns_change_what_a_schema_is_written_as() -> None:
    """A codec that stands keeps its digest, by which its decoder knows it."""
    arrow = pa.schema([("day", pa.string()), ("n", pa.int64())])
    columns = (Column("day", Kind.DATE, "", text="%Y-%m-%d"), Column("n", Kind.INTEGER, ""))
    written = Schema(arrow, columns, 9).to_dict()
    assert ["text" in column for column in written["columns"]] == [True, False]
    assert Schema.from_dict(written) == Schema(arrow, columns, 9)


def test_a_stay_ends_after_it_began(tmp_path, monkeypatch) -> None:
    """Learned as dates: levels would know nothing of how long a stay is."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 600, 3_000), unit="D")
    end = start + pd.to_timedelta(rng.integers(1, 9, 3_000), unit="D")
    frame = pd.DataFrame({"start": start.strftime("%Y-%m-%d"), "end": end.strftime("%Y-%m-%d")})
    frame["booked"] = (start - pd.to_timedelta(rng.integers(0, 10**7, 3_000), unit="s")).strftime("%Y-%m-%d %H:%M:%S")
    frame["rooms"] = rng.integers(1, 4, 3_000)
    frame.loc[rng.random(3_000) < 0.1, "booked"] = None
    model = vs.fit(frame, name="stays", training={"max_steps": 100, "hidden": 16}, progress=False)
    rows = model.sample(2_000, seed=1)
    assert rows.dtypes.equals(frame.dtypes)
    first, last = (pd.to_datetime(rows[name], format="%Y-%m-%d") for name in ("start", "end"))
    length = (last - first).dt.days
    assert length.between(1, 8).mean() > 0.99
    booked = pd.to_datetime(rows["booked"].dropna(), format="%Y-%m-%d %H:%M:%S")
    assert booked.between("2022-08-01", "2024-09-01").all() and 0.02 < rows["booked"].isna().mean() < 0.25
    mu, _ = model.encode(frame.head(50))
    assert np.isfinite(mu).all() and len(mu) == 50
