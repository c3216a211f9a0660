"""A column that is two lines of another one, which meet, is so in every row, whatever the codes."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.laws import laws

Fit = Callable[..., Codec]
ROWS = 4_000


def paid(seed: int = 0) -> dict[str, np.ndarray]:
    """Hours and what is paid for them, an income and its tax, fares, changes."""
    rng = np.random.default_rng(seed)
    hours, income = (rng.normal(41, 6, ROWS).clip(5, 80) * 4).round() / 4, rng.lognormal(10, 0.8, ROWS).round(2)
    distance, change = rng.gamma(2, 5, ROWS).round(1), rng.normal(0, 20, ROWS)
    return {
        "overtime": np.maximum(hours - 40, 0),
        "hours": hours,
        "income": income,
        "insured": np.minimum(income, 50_000),
        "tax": np.where(income < 30_000, 0.1 * income, 3_000 + 0.3 * (income - 30_000)).round(2),
        "distance": distance,
        "fare": np.where(distance < 10, 3 + 2 * distance, 23 + 1.2 * (distance - 10)).round(2),
        "change": change,
        "size": np.abs(change),
        "from the middle": np.abs(change.astype(np.float32) - np.float32(1.5)).astype(np.float64),
        "age": rng.integers(18, 90, ROWS),
    }


FORMULAS = {
    "overtime": "max(hours - 40, 0)",
    "insured": "min(income, 50000)",
    "tax": "0.1 × min(income - 30000, 0) + 0.3 × max(income - 30000, 0) + 3000",
    "fare": "2 × min(distance - 10, 0) + 1.2 × max(distance - 10, 0) + 23",
    "size": "|change|",
    "from the middle": "|change - 1.5|",
}


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.table(paid())


@pytest.fixture(scope="module")
def codec(table: pa.Table, fit: Fit) -> Codec:
    return fit(table)


def said(codec: Codec) -> dict[str, str]:
    """What is told of each column."""
    return {name: why.removesuffix(", except where the source differs") for name, why in laws(codec)}


def off(made: pa.RecordBatch | pa.Table) -> dict[str, float]:
    """The farthest that a row lies from each of the bends."""
    x = {name: made[name].to_numpy() for name in made.schema.names}
    tax = np.where(x["income"] < 30_000, 0.1 * x["income"], 3_000 + 0.3 * (x["income"] - 30_000))
    fare = np.where(x["distance"] < 10, 3 + 2 * x["distance"], 23 + 1.2 * (x["distance"] - 10))
    wanted = {
        "overtime": np.maximum(x["hours"] - 40, 0),
        "insured": np.minimum(x["income"], 50_000),
        "tax": tax,
        "fare": fare,
        "size": np.abs(x["change"]),
        "from the middle": np.abs(x["change"] - 1.5),
    }
    return {name: float(np.abs(x[name] - each).max()) for name, each in wanted.items()}


def test_bends_are_found_and_nothing_else(codec: Codec) -> None:
    assert said(codec) == {name: f"is {formula}" for name, formula in FORMULAS.items()}
    assert {sub.column for sub in codec.sub_columns} >= {"hours", "income", "distance", "change", "age"}


def test_any_codes_lie_on_the_lines(codec: Codec, random_codes, positions) -> None:
    far = off(codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0))
    # A cent is rounded either way where it lies between two: the rest of such rows is learned.
    assert far.pop("tax") < 0.0151 and far.pop("fare") < 0.0151 and max(far.values()) < 1e-4


def test_rows_come_back(codec: Codec, table: pa.Table) -> None:
    back = codec.decode(codec.encode(table).codes, None, 0)
    far = off(back)
    assert far.pop("tax") < 0.0151 and far.pop("fare") < 0.0151 and max(far.values()) < 1e-4
    assert back.schema.equals(table.schema)
    assert np.array_equal(back["size"].to_numpy(), np.abs(back["change"].to_numpy()))  # to the last digit


def test_a_codec_with_bends_survives_json(codec: Codec, table: pa.Table) -> None:
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    codes = codec.encode(table).codes
    assert again.decode(codes, None, 0).equals(codec.decode(codes, None, 0))


def test_rows_off_the_lines_stay_off_and_what_is_missing_stays_missing(fit: Fit) -> None:
    values = paid()
    rng = np.random.default_rng(1)
    wrong, missing = rng.random(ROWS) < 0.03, rng.random(ROWS) < 0.1
    fare = np.where(wrong, values["fare"] + rng.integers(100, 900, ROWS) / 100, values["fare"])
    table = pa.table({"distance": values["distance"], "fare": pa.array(fare, mask=missing), "age": values["age"]})
    codec = fit(table)
    assert said(codec) == {"fare": f"is {FORMULAS['fare']}"}
    back = codec.decode(codec.encode(table).codes, None, 0)
    found, distance = back["fare"].to_numpy(zero_copy_only=False), back["distance"].to_numpy()
    assert np.array_equal(back["fare"].is_null().to_numpy(zero_copy_only=False), missing)
    on = np.abs(found - np.where(distance < 10, 3 + 2 * distance, 23 + 1.2 * (distance - 10))) < 0.006
    assert on[~wrong & ~missing].all() and not on[wrong & ~missing].any()


def test_bends_go_into_sums_and_logarithms_of_them(fit: Fit, random_codes) -> None:
    values = paid()
    bonus = np.random.default_rng(2).integers(0, 900_00, ROWS) / 100
    table = pa.table(
        {
            "total": (values["insured"] + bonus).round(2),
            "insured": values["insured"],
            "log": np.log1p(values["size"]),
            "bonus": bonus,
            "income": values["income"],
            "size": values["size"],
            "change": values["change"],
        }
    )
    codec = fit(table)
    made = codec.decode(random_codes(codec, 3_000), None, 0)
    x = {name: made[name].to_numpy() for name in made.schema.names}
    assert np.abs(x["insured"] - np.minimum(x["income"], 50_000)).max() < 1e-6
    assert np.abs(x["log"] - np.log1p(x["size"])).max() < 1e-4
    assert said(codec)["total"] == "is insured + bonus"


@given(
    at=st.integers(-30, 30),
    below=st.integers(-30, 30),
    above=st.integers(-30, 30),
    digits=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_any_two_lines_that_meet_are_found(at: int, below: int, above: int, digits: int, seed: int, fit: Fit) -> None:
    """With rates of one decimal, whatever the column is rounded to; of one line nothing is said here."""
    rng = np.random.default_rng(seed)
    x = rng.normal(at + 5, 20, ROWS).round(1)
    y = (7 + 0.1 * np.where(x < at, below, above) * (x - at)).round(digits)
    codec = fit(pa.table({"x": x, "y": y, "z": rng.integers(0, 9, ROWS)}))
    bends = [relation for relation in codec.relations if relation.bend is not None]
    if below == above or len(np.unique(y)) < 300:  # few values stay codes
        return
    assert [relation.column for relation in bends] in ([1], [0])
    back = codec.decode(codec.encode(pa.table({"x": x, "y": y, "z": x.astype(int) % 9})).codes, None, 0)
    made, wanted = (
        back["y"].to_numpy(),
        7 + 0.1 * np.where(back["x"].to_numpy() < at, below, above) * (back["x"].to_numpy() - at),
    )
    assert np.abs(made - wanted).max() <= 1.501 * 10.0**-digits  # as above


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_smooth_curves_are_no_bends(seed: int, fit: Fit) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, ROWS)
    table = pa.table(
        {
            "x": x,
            "noisy": np.abs(x) + rng.normal(0, 0.01, ROWS),
            "bowl": x**2 - x,
            "wave": np.sin(3 * x),
            "step": np.where(x > 0, 5 + x, x),
            "line": 3 * x + 1,
        }
    )
    assert not [relation for relation in fit(table).relations if relation.bend is not None]
