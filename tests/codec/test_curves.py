"""A column that is a power or the logarithm of another one is so in every row, whatever the codes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.ladder import POWERS, Ladder
from vae_core.codec.laws import laws
from vae_core.codec.relations import How

Fit = Callable[..., Codec]
ROWS = 4_000


def measured(seed: int = 0) -> dict[str, np.ndarray]:
    """Wages, calls, cells under a microscope, claims of which most are none."""
    rng = np.random.default_rng(seed)
    wage, minutes = rng.lognormal(3, 0.5, ROWS).round(2), rng.integers(1, 3_600, ROWS) / 10
    diameter, claim = rng.gamma(4, 3, ROWS), np.where(rng.random(ROWS) < 0.3, 0, rng.lognormal(6, 1, ROWS).round(0))
    return {
        "wage": wage,
        "minutes": minutes,
        "claim": claim,
        "log wage": np.log(wage),
        "single": np.log(wage).astype(np.float32).astype(np.float64),  # as files of single floats give
        "charge": (0.17 * minutes).round(2),
        "diameter": diameter,
        "area": np.pi / 4 * diameter**2,
        "log claim": np.log1p(claim),
        "age": rng.integers(18, 90, ROWS),
    }


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.table(measured())


@pytest.fixture(scope="module")
def codec(table: pa.Table, fit: Fit) -> Codec:
    return fit(table)


def said(codec: Codec) -> dict[str, str]:
    """What is told of each column."""
    return {name: why.removesuffix(", except where the source differs") for name, why in laws(codec)}


def off(made: pa.RecordBatch | pa.Table) -> dict[str, float]:
    """The farthest that a row lies from each curve."""
    x = {name: made[name].to_numpy() for name in made.schema.names}
    return {
        "log wage": np.abs(x["log wage"] - np.log(x["wage"])).max(),
        "single": np.abs(x["single"] - np.log(x["wage"])).max(),
        "charge": np.abs(x["charge"] - 0.17 * x["minutes"]).max(),
        "area": np.abs(x["area"] / x["diameter"] ** 2 - np.pi / 4).max(),
        "log claim": np.abs(x["log claim"] - np.log1p(x["claim"])).max(),
    }


def test_curves_are_found_and_nothing_else(codec: Codec) -> None:
    assert said(codec) == {
        "log wage": "is log(wage)",
        "single": "is log(wage)",
        "charge": "is 0.17 × minutes",
        "area": "is 0.785398 × diameter^2",
        "log claim": "is log(1 + claim)",
    }
    assert {sub.column for sub in codec.sub_columns} >= {"wage", "minutes", "claim", "diameter", "age"}


def test_any_codes_lie_on_the_curves(codec: Codec, random_codes, positions) -> None:
    made = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    assert (made["claim"].to_numpy() == 0).any()
    far = off(made)
    # A cent is rounded either way where it lies between two: the rest of such rows is learned.
    assert far.pop("charge") < 0.0151 and max(far.values()) < 1e-4


def test_rows_come_back(codec: Codec, table: pa.Table) -> None:
    back = codec.decode(codec.encode(table).codes, None, 0)
    far = off(back)
    assert far.pop("charge") < 0.0051 and max(far.values()) < 1e-4
    assert back.schema.equals(table.schema)
    exact = np.log(back["wage"].to_numpy())  # to the last digit, by which rows could be told
    assert np.array_equal(back["log wage"].to_numpy(), exact)
    assert np.array_equal(back["single"].to_numpy(), exact.astype(np.float32).astype(np.float64))


def test_a_row_is_the_same_in_any_batch(codec: Codec, random_codes, positions) -> None:
    codes, position = random_codes(codec, 3_000), positions(codec, 3_000)
    whole = codec.decode(codes, position, 0)
    for start, rows in ((0, 1), (1, 2), (3, 997), (1_000, 7), (1_007, 1_993)):
        some = slice(start, start + rows)
        assert codec.decode(codes[some], position[some], start).equals(whole.slice(start, rows))


def test_a_codec_with_curves_survives_json(codec: Codec, table: pa.Table) -> None:
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    codes = codec.encode(table).codes
    assert again.decode(codes, None, 0).equals(codec.decode(codes, None, 0))


def test_rows_off_the_curve_stay_off_and_what_is_missing_stays_missing(fit: Fit) -> None:
    values = measured()
    rng = np.random.default_rng(1)
    wrong = rng.random(ROWS) < 0.03
    values["log wage"] = np.where(wrong, rng.uniform(0, 3, ROWS), 2 * values["log wage"] + 5)
    missing = rng.random(ROWS) < 0.1
    table = pa.table(values).set_column(3, "log wage", pa.array(values["log wage"], mask=missing))
    codec = fit(table.select(["wage", "log wage", "age"]))
    assert said(codec) == {"log wage": "is 2 × log(wage) + 5"}
    back = codec.decode(codec.encode(table).codes, None, 0)["log wage"]
    assert np.array_equal(back.is_null().to_numpy(zero_copy_only=False), missing)
    found = back.to_numpy(zero_copy_only=False)
    told = 5 + 2 * np.log(codec.decode(codec.encode(table).codes, None, 0)["wage"].to_numpy())
    on = np.abs(found - told) < 1e-4
    assert on[~wrong & ~missing].all() and not on[wrong & ~missing].any()


def test_curves_come_from_sums_and_go_into_products(fit: Fit, random_codes) -> None:
    rng = np.random.default_rng(0)
    fare, tip = rng.integers(200, 9_000, ROWS), rng.integers(0, 900, ROWS)
    wage, high = rng.lognormal(3, 0.5, ROWS).round(2), rng.gamma(3, 1, ROWS).round(1)
    table = pa.table(
        {
            "high log": high * np.log(wage),
            "log wage": np.log(wage),
            "log total": np.log(fare + tip),
            "total": fare + tip,
            "fare": fare,
            "tip": tip,
            "wage": wage,
            "high": high,
        }
    )
    codec = fit(table)
    assert said(codec) == {
        "high log": "is log wage × high",
        "log wage": "is log(wage)",
        "log total": "is log(total)",
        "total": "is fare + tip",
    }
    made = codec.decode(random_codes(codec, 2_000), None, 0)
    x = {name: made[name].to_numpy() for name in made.schema.names}
    inside = (x["total"] > x["total"].min()) & (x["total"] < x["total"].max())  # where it isn't cut off
    assert np.array_equal(x["total"][inside], (x["fare"] + x["tip"])[inside]) and inside.mean() > 0.95
    assert np.abs(x["log total"] - np.log(x["total"])).max() < 1e-4
    assert np.abs(x["log wage"] - np.log(x["wage"])).max() < 1e-4
    assert np.median(np.abs(x["high log"] - x["high"] * x["log wage"])) < 1e-3


def test_what_a_reader_has_off_by_a_digit_stays_so_where_it_comes_often(fit: Fit) -> None:
    age = measured()["age"] + np.random.default_rng(2).integers(0, 200, ROWS)
    log = np.log(age).astype(np.float32).astype(np.float64)
    sloppy = np.where(age % 3 == 0, np.nextafter(log, 9), log)
    table = pa.table({"age": age, "log": sloppy, "wage": measured()["wage"]})
    codec = fit(table)
    assert [relation.how for relation in codec.relations] == [How.CURVE]
    back = codec.decode(codec.encode(table).codes, None, 0)
    often = np.bincount(age)[age] >= 5
    same = back["log"].to_numpy() == sloppy
    assert same[often & (back["age"].to_numpy() == age)].all()


def test_what_few_rows_have_instead_is_not_given(fit: Fit) -> None:
    values = measured()
    for rows, enough in ((3, False), (60, True)):
        wage = np.where(np.arange(ROWS) < rows, -1.0, values["wage"])
        log = np.where(wage > 0, np.log(np.abs(wage)), 77.5)
        (relation,) = fit(pa.table({"wage": wage, "log": log, "age": values["age"]})).relations
        assert relation.ladder is not None and (relation.ladder.otherwise == 77.5) == enough


def test_no_column_is_told_twice_nor_by_what_is_told(fit: Fit) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 900, ROWS) / 10, rng.integers(0, 900, ROWS) / 10
    x = rng.uniform(1, 500, ROWS).round(3)
    whole = (2 * x + 1).round(0)
    table = pa.table(
        {
            "half": (one + other).round(1) / 2,
            "sum": (one + other).round(1),
            "one": one,
            "other": other,
            "whole": whole,
            "log": np.log(whole),
            "x": x,  # says what the whole is, of which there's a logarithm already
        }
    )
    codec = fit(table)
    told = [relation.column for relation in codec.relations]
    assert len(told) == len(set(told))
    assert said(codec)["log"] == "is log(whole)"
    curves = {relation.column: relation.sources[0] for relation in codec.relations if relation.how is How.CURVE}
    assert len(curves) == 2 and not curves.keys() & {*curves.values()}


def test_repeats_stay_repeats(fit: Fit) -> None:
    rng = np.random.default_rng(0)
    billed = rng.lognormal(5, 1, ROWS).round(2)
    paid = np.where(rng.random(ROWS) < 0.97, billed, 0)
    (relation,) = fit(pa.table({"billed": billed, "age": rng.integers(0, 90, ROWS), "paid": paid})).relations
    assert relation.how is not How.CURVE


def test_what_most_rows_have_in_common_is_no_curve(fit: Fit) -> None:
    rng = np.random.default_rng(0)
    nothing = rng.random(ROWS) < 0.96
    visits, cost = rng.integers(1, 3_000, ROWS), rng.integers(1, 3_000, ROWS)
    x = rng.normal(0, 10, ROWS)
    table = pa.table(
        {
            "visits": np.where(nothing, 0, visits),
            "cost": np.where(nothing, 0, cost),
            "x": x,
            "square": x**2,  # falls, then rises
            "near": 2 * x + rng.normal(0, 0.05, ROWS),
        }
    )
    assert not [name for name, why in laws(fit(table)) if "never less" not in why]


def test_numbers_that_hardly_differ_are_looked_at_in_silence(fit: Fit) -> None:
    x = np.sort(np.random.default_rng(0).random(ROWS))
    table = pa.table({"x": 1e12 * (1 + x * 1e-13), "y": 3 * x, "z": x**0.7})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(table)


@given(
    power=st.sampled_from([power for power in POWERS if power != 1]),
    factor=st.floats(0.01, 100) | st.floats(-100, -0.01),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=25)
def test_every_power_is_found(fit: Fit, power: float, factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(1, 20, 500).round(3)
    table = pa.table({"x": x, "y": factor * Ladder(power, 0.0)(x), "z": rng.normal(size=500)})
    codec = fit(table)
    (relation,) = codec.relations
    assert (relation.column, relation.sources, relation.ladder.power) == (1, (0,), power)
    made = codec.decode(codec.encode(table).codes, None, 0)
    wanted = factor * Ladder(power, 0.0)(made["x"].to_numpy())
    assert np.abs(made["y"].to_numpy() - wanted).max() <= 1e-3 * np.std(wanted)
