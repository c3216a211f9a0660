"""What is a function of another column is found, is left to a table, and is never broken by any codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from vae_core.codec.association import order_levels
from vae_core.codec.laws import dependencies

ROWS = 4_000


def pairs(batch: pa.RecordBatch | pa.Table, *names: str) -> set[tuple]:
    return set(zip(*(batch[name].to_pylist() for name in names), strict=True))


def people(seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    names = np.array(["9th", "HS", "College", "Bachelors", "Masters", "Doctorate"])
    education = rng.choice(6, ROWS, p=[0.1, 0.35, 0.2, 0.2, 0.1, 0.05])
    airport = rng.integers(0, 40, ROWS)
    place = rng.normal(40, 5, 40).round(4)
    return pa.table(
        {
            "age": rng.integers(18, 80, ROWS),
            "education": names[education],
            "education_num": education + 5,
            "airport": pa.array([None if a == 7 else f"A{a:02d}" for a in airport]),
            "latitude": pa.array([None if a in (7, 9) else place[a] for a in airport]),
            "region": np.array(["east", "west", "north"])[airport % 3],
            "free": rng.choice(["x", "y"], ROWS),
        }
    )


def test_functions_are_found_and_never_broken(fit, random_codes):
    table = people()
    codec = fit(table)
    assert set(dependencies(codec)) == {
        (("education",), "education_num"),
        (("airport",), "latitude"),
        (("airport",), "region"),
    }
    assert {s.column for s in codec.sub_columns} == {"age", "education", "airport", "free"}
    decoded = codec.decode(random_codes(codec, 5_000), None, 0)
    assert pairs(decoded, "education", "education_num") <= pairs(table, "education", "education_num")
    assert pairs(decoded, "airport", "latitude", "region") == pairs(table, "airport", "latitude", "region")
    again = codec.decode(codec.encode(table).codes, None, 0)
    for name in ("education_num", "latitude", "region"):
        assert again[name].equals(table[name].combine_chunks())


def test_of_equals_the_first_stays_and_chains_end_at_one_root(fit, random_codes):
    rng = np.random.default_rng(0)
    city = rng.integers(0, 60, ROWS)
    table = pa.table(
        {
            "country": np.array(["fr", "de", "it"])[city % 3],
            "city": np.array([f"city {c}" for c in range(60)])[city],
            "city code": city * 3,
            "continent": np.array(["eu", "xx", "eu"])[city % 3],
        }
    )
    codec = fit(table)
    assert set(dependencies(codec)) == {(("city",), "country"), (("city",), "city code"), (("city",), "continent")}
    names = table.column_names
    assert pairs(codec.decode(random_codes(codec, 3_000), None, 0), *names) == pairs(table, *names)


def test_chance_is_not_taken_for_a_function(fit):
    rng = np.random.default_rng(0)
    rows = 1_000
    table = pa.table(
        {
            "almost unique": rng.integers(0, 400, rows),  # too few rows a value to say anything
            "rare": np.arange(rows) == 500,
            "group": rng.integers(0, 30, rows),
            "flag": rng.random(rows) < 0.02,
        }
    )
    assert dependencies(fit(table)) == []


def test_one_exception_is_enough(fit):
    table = people().to_pandas()
    table.loc[17, "education_num"] = 99
    codec = fit(pa.Table.from_pandas(table, preserve_index=False))
    assert (("education",), "education_num") not in dependencies(codec)


def test_parts_of_timestamps_on_either_side(fit, random_codes):
    rng = np.random.default_rng(0)
    when = pd.Timestamp("2023-01-01", tz="Europe/Paris") + pd.to_timedelta(rng.integers(0, 300 * 24, ROWS), unit="h")
    slot = when.hour.to_numpy()
    table = pa.table(
        {
            "when": pa.array(when),
            "month": when.month.to_numpy(),
            "slot": np.array([f"slot {s}" for s in range(24)])[slot],
        }
    )
    codec = fit(table)
    assert set(dependencies(codec)) == {(("when",), "month"), (("when",), "slot")}
    decoded = codec.decode(random_codes(codec, 3_000), None, 0)
    local = pa.Table.from_batches([decoded]).to_pandas()
    assert (local["when"].dt.month == local["month"]).all()
    summer = local["when"].dt.strftime("%m-%d") == "03-26"  # an hour that doesn't exist is moved
    assert ("slot " + local["when"].dt.hour.astype(str) == local["slot"])[~summer].all()


def test_numbers_that_only_name_something_are_put_in_the_order_of_what_they_determine(fit, random_codes):
    """Schools are numbered at random; years, hours and post codes aren't, and stay numbers."""
    rng = np.random.default_rng(0)
    school, hour, year = rng.integers(0, 200, ROWS), rng.integers(0, 168, ROWS), rng.integers(1800, 2000, ROWS)
    private, post = rng.integers(0, 3, 200), np.repeat(np.arange(10), 20)
    table = pa.table(
        {
            "school": pa.array([None if s == 3 else s + 1_000 for s in school]),
            "private": np.array(["no", "partly", "yes"])[private][school],
            "hour of the week": hour,
            "hour": hour % 24,
            "post code": school[::-1] + 8_000,
            "town": post[school[::-1]],
            "year": year,
            "founded": (year > 1800).astype(np.int64),
        }
    )
    codec = fit(table)
    coarse = {
        s.name: s.ordered for s in codec.sub_columns if s.name in ("school", "hour of the week", "post code", "year")
    }
    assert [name for name, ordered in coarse.items() if not ordered] == ["school"]
    encoded = codec.encode(table)
    places = [s.name for s in codec.sub_columns]
    kinds = pd.DataFrame({"coarse": encoded.codes[:, places.index("school")], "private": table["private"].to_pandas()})
    assert (kinds.groupby("coarse")["private"].nunique() <= 2).all()
    for codes in (encoded.codes, random_codes(codec, 3_000)):
        decoded = codec.decode(codes, np.zeros((len(codes), codec.positions), np.float32), 0)
        assert decoded.schema.field("school").type == pa.int64()
        assert pairs(decoded, "school", "private") <= pairs(table, "school", "private")
    again = codec.decode(encoded.codes, np.zeros((ROWS, codec.positions), np.float32), 0)
    assert again["school"].equals(table["school"].combine_chunks())


def test_keys_may_have_more_rare_values_than_other_numbers(fit, random_codes):
    """Post codes tell towns, of which there are many; how often someone came says a group, and keeps its tail."""
    rng = np.random.default_rng(0)
    rows, rare = 20_000, 300
    code = np.where(np.arange(rows) < rare, 5_000 + np.arange(rows) // 2, rng.integers(0, 400, rows) * 2)
    visits = np.where(np.arange(rows) < rare, 1_000 + np.arange(rows) * 7, rng.integers(0, 200, rows))
    table = pa.table(
        {
            "post code": code,
            "town": np.array([f"town {c}" for c in range(3_000)])[code // 4],
            "state": np.array([f"S{c}" for c in range(60)])[code // 100],
            "visits": visits,
            "group": np.where(visits > 50, "often", "seldom"),
            "points": rng.permutation(4_000)[visits],
            "free": rng.choice(["x", "y"], rows),
        }
    )
    codec = fit(table)
    group = (("visits",), "group")  # by its intervals
    assert dependencies(codec) == [(("post code",), "town"), (("post code",), "state"), group]
    decoded = codec.decode(random_codes(codec, 5_000), None, 0)
    assert pairs(decoded, "post code", "town", "state") == pairs(table.slice(rare), "post code", "town", "state")
    assert max(decoded["visits"].to_pylist()) > 1_500
    few = table.drop_columns(["town"])  # without towns it is no key
    assert group in dependencies(fit(few))
    assert not any("points" in pair for pair in dependencies(fit(few)))


def test_what_is_never_drawn_tells_nothing(fit, random_codes):
    """Midnight, the time of all moments, is no code that another column could follow from; nor is a single value."""
    rng = np.random.default_rng(0)
    died = rng.random(ROWS) < 0.5
    day = np.datetime64("1847-01-01", "ms") + rng.integers(0, 90, ROWS).astype("timedelta64[D]")
    opened, before = rng.integers(0, 2, ROWS), np.arange(ROWS) == 0  # the only exception, which is never given
    table = pa.table(
        {
            "death": pa.array(day, mask=~died),
            "survived": (~died).astype(np.int64),
            "open now": opened,
            "opened": before.astype(np.int64),
            "open then": np.where(before, 1 - opened, opened),
        }
    )
    codec = fit(table)
    assert dependencies(codec) == [(("death",), "survived")]
    decoded = codec.decode(random_codes(codec, 3_000), None, 0)
    assert decoded["survived"].to_pylist() == [int(moment is None) for moment in decoded["death"].to_pylist()]
    midnights = decoded["death"].drop_null().cast(pa.int64()).to_numpy() % (24 * 60 * 60 * 1_000)
    assert len(midnights) > 0
    assert not midnights.any()
    again = codec.decode(codec.encode(table).codes, None, 0)
    for name in ("death", "survived", "open now", "open then"):
        assert again[name].equals(table[name].combine_chunks())
    assert set(again["opened"].to_pylist()) == {0}


def test_flights(flights, fit, random_codes):
    codec = fit(flights)
    found = set(dependencies(codec))
    assert {
        (("time_hour",), "month"),
        (("time_hour",), "day"),
        (("sched_dep_time",), "hour"),
        (("sched_dep_time",), "minute"),
    } <= found
    assert (("sched_dep_time",), "time_hour") in found
    assert "year" not in {s.column for s in codec.sub_columns}
    decoded = pa.Table.from_batches([codec.decode(random_codes(codec, 20_000), None, 0)]).to_pandas()
    assert (decoded["sched_dep_time"] == decoded["hour"] * 100 + decoded["minute"]).all()
    assert (decoded["time_hour"].dt.month == decoded["month"]).all()
    assert (decoded["time_hour"].dt.day == decoded["day"]).all()
    moved = decoded["time_hour"].dt.strftime("%m-%d") == "03-10"
    assert (decoded["time_hour"].dt.hour == decoded["hour"])[~moved].all()


def test_levels_lie_beside_those_that_go_with_the_same(flights, fit):
    codec = fit(flights, relations=False)  # otherwise they are nested
    (tail,) = (s for s in codec.sub_columns if s.name == "tailnum")
    coarse = codec.encode(flights).codes[:, codec.sub_columns.index(tail)]
    frame = pd.DataFrame({"coarse": coarse, "carrier": flights["carrier"].to_pandas()})
    share = frame.groupby("coarse")["carrier"].agg(lambda c: c.value_counts().iloc[0]).sum() / len(frame)
    assert share > 0.75  # of rows whose carrier is the commonest one of their group; 0.24 with groups at random


def test_levels_are_ordered_by_what_they_go_with():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 100, 20_000)
    order = order_levels(level, 100, [(rng.integers(0, 5, 20_000), 5), (level % 4, 4)])
    assert np.array_equal(np.sort(order), np.arange(100))
    assert (np.diff(order % 4) >= 0).all()
