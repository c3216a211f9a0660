"""What is a function of two columns is found, is left to a table, and is never broken by any pair that was seen."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vae_core.codec import Codec
from vae_core.codec.laws import dependencies

ROWS = 8_000


def of_pairs(codec: Codec) -> list[tuple]:
    return [(names, dependent) for names, dependent in dependencies(codec) if len(names) == 2]


def shop(seed: int = 0, dtype: str = "text") -> pa.Table:
    """Articles in sizes, which make the price; 30 articles of 5 sizes, the last of which only 20 come in."""
    rng = np.random.default_rng(seed)
    article, size = rng.integers(0, 30, ROWS), rng.integers(0, 5, ROWS)
    size[(size == 4) & (article >= 20)] = 0
    price = pd.Series(rng.permutation(150) % 37)[article * 5 + size]
    values = {
        "text": pa.array([f"{p / 8:.3f} €" for p in price]),
        "number": pa.array(price.to_numpy() / 8, mask=(price % 9 == 0).to_numpy()),
        "flag": pa.array((price % 3 == 0).to_numpy()),
    }
    return pa.table(
        {
            "size": pa.array([None if s == 3 else "SMLXY"[s] for s in size]),
            "article": article,
            "price": values[dtype],
            "free": rng.normal(size=ROWS),
        }
    )


@pytest.mark.parametrize("dtype", ["text", "number", "flag"])
def test_functions_of_two_are_found_and_never_broken(dtype, fit, random_codes):
    table = shop(dtype=dtype)
    codec = fit(table)
    assert dependencies(codec) == [(("size", "article"), "price")]
    assert {s.column for s in codec.sub_columns} == {"size", "article", "free"}
    assert codec.decode(codec.encode(table).codes, None, 0)["price"].equals(table["price"].combine_chunks())
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest and dependencies(again) == dependencies(codec)

    codes = random_codes(codec, 20_000)
    decoded = codec.decode(codes, None, 0)
    assert again.decode(codes, None, 0).equals(decoded)
    assert again.decode(codes[:0], None, 0).equals(decoded.slice(0, 0))
    rows = zip(*(decoded[name].to_pylist() for name in ("size", "article", "price")), strict=True)
    known = {(s, a): p for s, a, p in zip(*(table[n].to_pylist() for n in ("size", "article", "price")), strict=True)}
    made = {(s, a): p for s, a, p in rows}
    assert len(known) == 140 and len(made) == 150
    assert all(made[pair] == price for pair, price in known.items())
    of_article = {(a, p) for (_, a), p in known.items()}
    assert all((a, p) in of_article for (s, a), p in made.items() if (s, a) not in known)


def test_flights(flights, fit, random_codes):
    codec = fit(flights)
    assert of_pairs(codec) == [(("origin", "dest"), "distance")]
    frame = flights.select(["origin", "dest", "distance"]).to_pandas()
    rows = frame.groupby(["origin", "dest"])["distance"].transform("size")
    real = frame[rows >= 5]  # of what fewer rows say nothing is kept
    decoded = codec.decode(random_codes(codec, 20_000), None, 0)
    made = pa.Table.from_batches([decoded]).select(["origin", "dest", "distance"]).to_pandas()
    seen = made.merge(real[["origin", "dest"]].drop_duplicates(), on=["origin", "dest"])
    assert len(seen) > 10_000
    assert len(seen.merge(real.drop_duplicates(), on=["origin", "dest", "distance"])) == len(seen)
    assert set(zip(made["dest"], made["distance"], strict=True)) <= set(
        zip(real["dest"], real["distance"], strict=True)
    )
    again = codec.decode(codec.encode(flights).codes, None, 0)["distance"].to_numpy()
    assert (again == frame["distance"])[rows >= 5].mean() > 0.999  # Eagle came a mile closer in March


@pytest.mark.parametrize("seed", range(12))
def test_chance_is_not_taken_for_a_function_of_two(seed, fit):
    """Independent columns of two to hundreds of values, even to very uneven ones, in tables of any length."""
    rng = np.random.default_rng(seed)
    rows = int(np.exp(rng.uniform(np.log(50), np.log(20_000))))
    columns = {}
    for k in range(14):
        levels = int(np.exp(rng.uniform(np.log(2), np.log(300))))
        shares = rng.dirichlet(np.full(levels, rng.choice([0.05, 0.5, 5.0])))
        columns[f"x{k}"] = rng.choice(levels, rows, p=shares)
    for share in (0.002, 0.01, 0.05):
        columns[f"rare {share}"] = rng.random(rows) < share
        columns[f"rare three {share}"] = rng.choice([0, 1, 2], rows, p=[1 - share, share / 2, share / 2])
    assert of_pairs(fit(pa.table(columns))) == []


def test_of_three_that_determine_each_other_the_last_is_looked_up(fit, random_codes):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 12, ROWS), rng.integers(0, 12, ROWS)
    names = np.array([f"level {k}" for k in range(12)])
    table = pa.table({"a": names[a], "b": names[b], "c": (a + b) % 12, "d": names[(a + 2 * b) % 12]})
    codec = fit(table)
    assert set(dependencies(codec)) == {(("a", "b"), "c"), (("a", "b"), "d")}
    decoded = codec.decode(random_codes(codec, 3_000), None, 0)
    assert set(map(tuple, pa.Table.from_batches([decoded]).to_pandas().to_numpy())) == set(
        map(tuple, table.to_pandas().to_numpy())
    )


def test_a_pair_of_few_rows_tells_nothing(fit):
    frame = shop().to_pandas()
    frame.loc[5:8, ["size", "article", "price"]] = ["Y", 25, "only here"]
    codec = fit(pa.Table.from_pandas(frame, preserve_index=False))
    assert dependencies(codec) == [(("size", "article"), "price")]
    assert "only here" not in json.dumps(codec.to_dict())


@pytest.mark.parametrize(("off", "rows", "found"), [(0.01, 5, True), (0.01, 500, False), (5.0, 5, False)])
def test_few_rows_may_differ_by_little(off, rows, found, fit):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 20, ROWS), rng.integers(0, 20, ROWS)
    price = rng.permutation(400)[a * 20 + b] // 4 / 2
    price[rng.choice(ROWS, rows, replace=False)] += off
    codec = fit(pa.table({"a": a, "b": b, "price": price}))
    assert of_pairs(codec) == ([(("a", "b"), "price")] if found else [])


def test_large_tables_are_small_in_json(fit):
    rng = np.random.default_rng(0)
    rows = 40_000
    cell = rng.integers(0, 1_000, rows)
    first, second = rng.integers(0, 900, 1_000), rng.integers(0, 900, 1_000)
    value = (first + 7 * second) % 11
    table = pa.table({"a": first[cell], "b": second[cell], "c": np.array([f"c{k}" for k in range(11)])[value[cell]]})
    codec = fit(table)
    assert dependencies(codec) == [(("a", "b"), "c")]
    assert len(json.dumps(codec.to_dict()["parts"][-1])) < 30_000
    assert codec.decode(codec.encode(table).codes, None, 0)["c"].equals(table["c"].combine_chunks())


def panel(complete: float, dtype: str = "number", seed: int = 0) -> pa.Table:
    """States in years, not all of whose combinations occur; each has an income that no other one has, and a rate."""
    rng = np.random.default_rng(seed)
    cells = np.flatnonzero(rng.random(40 * 12) < complete)
    cell = np.concatenate([cells.repeat(5), rng.choice(cells, ROWS - 5 * len(cells))])
    income = rng.permutation(40 * 12)[cell] * 17 + 20_000.5
    return pa.table(
        {
            "state": np.array([f"state {k}" for k in range(40)])[cell // 12],
            "year": 1990 + cell % 12,
            "income": income if dtype == "number" else income.astype(str),
            "rate": (rng.permutation(40 * 12) % 90)[cell] / 8,
            "free": rng.normal(size=ROWS),
        }
    )


@pytest.mark.parametrize("order", list(permutations(["state", "year", "income"])))
@pytest.mark.parametrize(("complete", "dtype"), [(1.0, "number"), (0.7, "number"), (1.0, "text")])
def test_what_stands_for_a_pair_is_a_function_of_it(complete, dtype, order, fit, random_codes):
    table = panel(complete, dtype=dtype).select([*order, "rate", "free"])
    codec = fit(table)
    pair = tuple(name for name in order if name != "income")
    found = dependencies(codec)
    assert {name: set(names) for names, name in found} == {"income": set(pair), "rate": set(pair)}
    assert {s.column for s in codec.sub_columns} == {*pair, "free"}
    assert dependencies(fit(table.drop_columns("rate"))) == [(pair, "income")]
    decoded = pa.Table.from_batches([codec.decode(random_codes(codec, 5_000), None, 0)]).to_pandas()
    real = table.to_pandas()[[*pair, "income", "rate"]].drop_duplicates()
    known = decoded.merge(real[list(pair)], on=list(pair))
    assert len(known) > 5_000 * (complete - 0.1)
    assert len(known.merge(real, on=[*pair, "income", "rate"])) == len(known)


def test_of_pairs_that_hardly_ever_occur_what_stands_for_them_says_both(fit, random_codes):
    table = panel(0.3)
    codec = fit(table)
    assert {(names, name) for names, name in dependencies(codec)} >= {(("income",), "state"), (("income",), "year")}
    decoded = pa.Table.from_batches([codec.decode(random_codes(codec, 5_000), None, 0)])
    assert pairs_of(decoded) <= pairs_of(table)


def pairs_of(table: pa.Table) -> set[tuple]:
    return set(zip(table["state"].to_pylist(), table["year"].to_pylist(), strict=True))


def test_where_another_column_says_one_of_the_pair_what_stands_for_it_says_the_other(fit):
    """Of 30 days a year: the day says the year, and days and states are too many pairs to say the income."""
    table = panel(1.0)
    days = np.random.default_rng(1).integers(0, 30, ROWS) * 11
    dates = np.array([f"{year}-01-01" for year in table["year"].to_pylist()], "M8[D]") + days
    codec = fit(table.append_column("day", pa.array(dates)))
    assert set(dependencies(codec)) >= {(("day",), "year"), (("income",), "state")}


def test_of_few_values_what_stands_for_a_pair_says_both(fit):
    """A column that isn't cut into coarse and fine codes has one for each of its values anyway."""
    codec = fit(panel(1.0), split_above=500)
    assert {(("income",), "state"), (("income",), "year")} <= set(dependencies(codec))


def test_of_two_that_say_each_other_the_first_says_the_second(fit):
    """Schools, each of which has a mean score of its own, by which they can be told from each other as well."""
    rng = np.random.default_rng(0)
    school = rng.integers(0, 90, ROWS)
    table = pa.table(
        {
            "school": np.array([f"school {k}" for k in rng.permutation(90)])[school],
            "mean": school / 8,
            "good": school > 60,
            "girl": rng.random(ROWS) < 0.5,
        }
    )
    assert set(dependencies(fit(table))) == {(("school",), "mean"), (("school",), "good")}


def test_a_number_whose_neighbours_are_alike_stands_for_itself(fit):
    rng = np.random.default_rng(0)
    hour, minute = rng.integers(6, 22, ROWS), rng.integers(0, 12, ROWS) * 5
    codec = fit(pa.table({"hour": hour, "minute": minute, "time": hour * 100 + minute}))
    assert set(dependencies(codec)) == {(("time",), "hour"), (("time",), "minute")}


@pytest.mark.parametrize(
    ("rows", "rare", "min_frequency", "found"),
    [(9, 0, 5, True), (6, 0, 5, False), (20, 0.2, 5, False), (20, 0.2, 1, True)],
)
def test_pairs_need_some_rows_each(rows, rare, min_frequency, found, fit):
    rng = np.random.default_rng(0)
    cells = np.arange(400).repeat(rows)
    cells = np.concatenate([cells, 400 + np.arange(int(rare * len(cells) / 3)).repeat(3)])
    a, b = cells % 40, cells // 40
    price = rng.permutation(cells.max() + 1) % 97 / 8
    codec = fit(pa.table({"a": a, "b": b, "price": price[cells]}), min_frequency=min_frequency)
    assert of_pairs(codec) == ([(("a", "b"), "price")] if found else [])
