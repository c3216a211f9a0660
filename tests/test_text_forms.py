"""Dates, moments and numbers that are text come out as such text, and fit together as real ones do."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vae_core as vs
from vae_core import text_forms
from vae_core.config import MISSING
from vae_core.ingest.infer import infer_kind
from vae_core.ingest.profile import ColumnProfile
from vae_core.number_forms import NumberForm
from vae_core.schema import Column, Kind, Schema

MOMENTS = st.datetimes(datetime(1600, 1, 1), datetime(2999, 12, 31))
NO_BREAK = "\N{NO-BREAK SPACE}"
AROUND = ["{}", "{};({})", "${}", "{}%", "€ {};€ -{}", "${};(${})", "{} kg", f"{{}}{NO_BREAK}€", "USD {}", "R$ {}"]
DIGITS = ["0", "0.0", "0.00", "0.#", "0.###", "0.0##", "#,##0", "#,##0.00", "#.##0,0#", "0,00", "#'##0.0", "# ##0,00"]
BLANK = st.sampled_from([*MISSING, " ", "\t", " NA"])


def form_of(*blocks: list[str | None]) -> str | None:
    """What is found of a column that comes in blocks."""
    search = text_forms.Search()
    for block in blocks:
        search.add(pa.array(block, pa.string()).drop_null())
    return search.form(sum(block.count(None) for block in blocks))


@given(form=st.sampled_from(sorted(text_forms.CALENDAR)), moments=st.lists(st.none() | MOMENTS, min_size=1))
def test_moments_are_written_as_they_were(form: str, moments: list[datetime | None]) -> None:
    text = pa.array([None if moment is None else moment.strftime(form) for moment in moments], pa.string())
    assert text_forms.write(text_forms.read(text, form), form, pa.string()).equals(text)
    levels = text_forms.read(text, form).dictionary_encode()
    assert text_forms.write(levels, form, pa.string()).cast(pa.string()).equals(text)
    if text.null_count < len(text):
        found = form_of(text.to_pylist())
        assert found is not None
        assert text_forms.write(text_forms.read(text, found), found, pa.string()).equals(text)
        assert found == form or all(moment is None or moment.day <= 12 for moment in moments)


@given(
    numbers=st.lists(st.decimals(-(10**12), 10**12, places=3), min_size=1),
    around=st.sampled_from(AROUND),
    digits=st.sampled_from(DIGITS),
    odd=st.none() | BLANK,
    cut=st.integers(0, 50),
)
def test_numbers_are_written_as_they_were(
    numbers: list[Decimal], around: str, digits: str, odd: str | None, cut: int
) -> None:
    """Whatever the form: what is found reads every number, and writes it as it was."""
    form = around.replace("{}", digits) + ("" if odd is None else f"|{odd}")
    most = NumberForm.parse(form).most
    numbers = [round(number, most) + 0 for number in numbers]
    exact = pa.array([*numbers, None], pa.decimal128(18, most))
    text = text_forms.write(exact if most else exact.cast(pa.int64()), form, pa.string())
    found = form_of(text.to_pylist()[:cut], text.to_pylist()[cut:])
    assert found is not None
    again = text_forms.read(text, found)
    assert again.cast(pa.decimal128(22, most)).equals(exact.cast(pa.decimal128(22, most)))
    assert text_forms.write(again, found, pa.string()).equals(text)
    assert text_forms.write(again.dictionary_encode(), found, pa.large_string()).cast(pa.string()).equals(text)
    assert text_forms.read(pa.chunked_array([text]), found).combine_chunks().equals(again)


@pytest.mark.parametrize(
    ("text", "form", "number"),
    [
        (["$1,234.50", "-$3.20"], "$#,##0.00", Decimal("1234.50")),
        (["$1,234.50", "$-3.20"], "$#,##0.00;$-#,##0.00", Decimal("1234.50")),
        (["(1,234)", "12"], "#,##0;(#,##0)", -1234),
        (["-1.234.567,8 €", "3,5 €"], "#.##0,0 €", Decimal("-1234567.8")),
        (["1'234.5", "0.25"], "#'##0.0#", Decimal("1234.5")),
        (["1\N{NARROW NO-BREAK SPACE}234,5", "2,0"], "#\N{NARROW NO-BREAK SPACE}##0,0", Decimal("1234.5")),
        (["45.1%", "3.0%"], "0.0%", Decimal("45.1")),
        (["70.5 kg", "64.0 kg"], "0.0 kg", Decimal("70.5")),
        (["12 m²", "7 m²"], "0 m²", 12),
        (["1,234", "5,678"], "#,##0", 1234),  # thousands rather than thousandths
        (["0,123", "1,234"], "0,000", Decimal("0.123")),
        (["-", "$5"], None, None),
    ],
)
def test_numbers_of_spreadsheets(text: list[str], form: str | None, number: Decimal | int | None) -> None:
    assert form_of(text) == form
    if form is not None:
        assert text_forms.read(pa.array(text), form)[0].as_py() == number


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0), min_size=1))
def test_floats_are_written_as_they_were(floats: list[float]) -> None:
    text = pa.array([repr(x) for x in floats])
    form = form_of(text.to_pylist())
    assert form is not None
    assert text_forms.write(text_forms.read(text, form), form, pa.string()).equals(text)


@pytest.mark.parametrize(
    "text",
    [
        ["2024-1-5"],
        ["2024-02-30"],
        [" 2024-01-05"],
        ["2024-01-05 24:00:00"],
        ["2024-01-05", "2024-01-05 10:00"],
        ["x"],
        [""],
        ["1.5", "a", "b"],
        ["1.50", "2.5"],  # versions, not numbers
        ["02139", "10001"],
        ["-0.0", "-0"],
        ["1.5", "?", None],  # a missing number would be written in two ways
        ["1234567890123456789012", "1.5"],
        ["1.5", " 2.5", "3.5 "],
        ["1234.5", "1,234.6"],  # thousands apart, and not
        ["12,34", "1,234.5"],
        ["$5", "€6"],
        ["5 kg", "6kg"],
        ["$0.00", "-$0.00"],
        ["192.168.1.1", "10.0.0.1"],
        ["12:30", "11:10"],
        ["no. 1, 2nd"],
        ["n1", "n2"],  # names
        ["Room 1", "Room 2"],
        ["1.5", "2.5", "call Jane Doe"],  # nobody's words go into the schema
        ["inf", "nan"],
        ["1.5", "٣"],
    ],
)
def test_other_text_has_no_form(text: list[str | None]) -> None:
    assert form_of(text) is None


@pytest.mark.parametrize("form", ["0", "0.00", "0.0#"])
@pytest.mark.parametrize("text", ["1.234", "12345678901234567890", "12345678901234567.5", "x", "", "1e5"])
def test_later_numbers_that_do_not_fit_are_missing(form: str, text: str) -> None:
    """Such as one row of a table to encode: it isn't of the form that was learned."""
    assert text_forms.read(pa.array([text, "7"]), form).is_null().to_pylist() == [True, False]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([f"{i % 997 / 4}" for i in range(3_000)], Kind.DECIMAL),
        ([f"{i / 7}" for i in range(3_000)], Kind.REAL),
        ([f"{i % 1999}" for i in range(3_000)], Kind.INTEGER),
        ([f"{i % 7}" for i in range(3_000)], Kind.CATEGORICAL),  # codes
        ([f"{10_000 + i}" for i in range(3_000)], Kind.IDENTIFIER),
        ([f"{i % 1999:05d}" for i in range(3_000)], Kind.TEXT),
        ([f"{10_000 + i:,}" for i in range(3_000)], Kind.INTEGER),  # thousands apart: an amount
        ([f"{i % 7}%" for i in range(3_000)], Kind.INTEGER),
        ([f"$ {i % 7}.50" for i in range(3_000)], Kind.DECIMAL),
        ([f"{12 * (i % 7)} months" for i in range(3_000)], Kind.CATEGORICAL),
        ([f"{i % 1999} ms" for i in range(3_000)], Kind.INTEGER),
    ],
)
def test_numbers_that_are_text_on_purpose_stay_text(values: list[str], kind: Kind) -> None:
    profile = ColumnProfile(pa.field("x", pa.string()), "rows")
    for start in range(0, 3_000, 1_000):
        profile.add(pa.chunked_array([values[start : start + 1_000]]))
    assert infer_kind(profile)[0] is kind


def test_only_such_columns_change_what_a_schema_is_written_as() -> None:
    """A codec that stands keeps its digest, by which its decoder knows it."""
    arrow = pa.schema([("day", pa.string()), ("n", pa.int64())])
    columns = (Column("day", Kind.DATE, "", text="%Y-%m-%d"), Column("n", Kind.INTEGER, ""))
    written = Schema(arrow, columns, 9).to_dict()
    assert ["text" in column for column in written["columns"]] == [True, False]
    assert Schema.from_dict(written) == Schema(arrow, columns, 9)


@pytest.mark.parametrize("day", ["%Y-%m-%d", "%d.%m.%Y"])
def test_a_stay_ends_after_it_began(tmp_path, monkeypatch, day: str) -> None:
    """Learned as dates: levels would know nothing of how long a stay is."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 600, 3_000), unit="D")
    end = start + pd.to_timedelta(rng.integers(1, 9, 3_000), unit="D")
    frame = pd.DataFrame({"start": start.strftime(day), "end": end.strftime(day)})
    frame["booked"] = (start - pd.to_timedelta(rng.integers(0, 10**7, 3_000), unit="s")).strftime(f"{day} %H:%M")
    frame["rooms"] = rng.integers(1, 4, 3_000)
    frame.loc[rng.random(3_000) < 0.1, "booked"] = None
    model = vs.fit(frame, name="stays", training={"max_steps": 100, "hidden": 16}, progress=False)
    rows = model.sample(2_000, seed=1)
    assert rows.dtypes.equals(frame.dtypes)
    first, last = (pd.to_datetime(rows[name], format=day) for name in ("start", "end"))
    length = (last - first).dt.days
    assert length.between(1, 8).mean() > 0.99
    booked = pd.to_datetime(rows["booked"].dropna(), format=f"{day} %H:%M")
    assert booked.between("2022-08-01", "2024-09-01").all() and 0.02 < rows["booked"].isna().mean() < 0.25
    mu, _ = model.encode(frame.head(50))
    assert np.isfinite(mu).all() and len(mu) == 50


def test_an_amount_that_is_text_is_what_the_numbers_say(tmp_path, monkeypatch) -> None:
    """As in a table of customers whose newest ones have a blank for the total."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    months, price = rng.integers(0, 60, 3_000), rng.integers(1_800, 12_000, 3_000) / 100
    total = [f"{m * p:.2f}" if m else " " for m, p in zip(months, price, strict=True)]
    frame = pd.DataFrame({"months": months, "price": price, "total": total})
    model = vs.fit(frame, name="customers", training={"max_steps": 50, "hidden": 16}, progress=False)
    rows = model.sample(2_000, seed=1)
    assert rows.dtypes.equals(frame.dtypes)
    blank = rows["total"] == " "
    assert 0 < blank.mean() < 0.1
    paid = rows[~blank]
    assert paid["total"].str.fullmatch(r"[0-9]+\.[0-9]{2}").all()
    ratio = paid["total"].astype(float) / (paid["months"] * paid["price"])
    assert ratio[paid["months"] > 0].between(0.5, 2).mean() > 0.9


def test_the_columns_of_a_spreadsheet_are_learned(tmp_path, monkeypatch) -> None:
    """Amounts, shares and weights as people write them, through the whole of a fit: what they say is learned."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    price, count = rng.lognormal(7, 1, 3_000).round(2), rng.integers(1, 9, 3_000)
    balance = (price * count).round(2) * np.where(rng.random(3_000) < 0.3, -1, 1)
    frame = pd.DataFrame(
        {
            "count": count,
            "price": [f"${x:,.2f}" for x in price],
            "balance": [f"{x:,.2f}" if x > 0 else f"({-x:,.2f})" for x in balance],
            "rate": [f"{x:.1f}%" for x in price % 40],
        }
    )
    frame.to_csv("orders.csv", index=False)
    model = vs.fit("orders.csv", name="orders", training={"max_steps": 100, "hidden": 16}, progress=False)
    rows = model.sample(2_000, seed=1)
    assert rows["price"].str.fullmatch(r"\$[1-9]\d{0,2}(,\d{3})*\.\d{2}").all()
    assert rows["balance"].str.fullmatch(r"\(?[1-9]\d{0,2}(,\d{3})*\.\d{2}\)?").all()
    assert rows["rate"].str.fullmatch(r"\d+\.\d%").all()
    drawn, owed = rows["price"].str.replace(r"[$,]", "", regex=True).astype(float), rows["balance"].str.startswith("(")
    assert drawn.quantile([0.1, 0.5, 0.9]).to_numpy() == pytest.approx(np.quantile(price, [0.1, 0.5, 0.9]), rel=0.15)
    assert owed.mean() == pytest.approx(0.3, abs=0.05)
    mu, _ = model.encode(frame.head(50))
    assert np.isfinite(mu).all() and len(mu) == 50
