"""Sums add up, and what comes after something else still does; what is coded is only what is left."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.laws import dependencies, laws
from vae_core.codec.relations import How
from vae_core.errors import ConfigError
from vae_core.generation.partition import check_partitions
from vae_core.schema import Kind

Fit = Callable[..., Codec]
ROWS = 4_000
START = np.datetime64("2024-01-01T00:00:00", "s")


def bills(seed: int = 0, wrong: float = 0.0) -> dict[str, np.ndarray]:
    """Fares in cents, tips and tolls on them, and the total, to which some drivers add something."""
    rng = np.random.default_rng(seed)
    fare = (rng.lognormal(2.5, 0.6, ROWS) * 100).astype(np.int64)
    tip = np.where(rng.random(ROWS) < 0.4, 0, (fare * rng.uniform(0.1, 0.3, ROWS)).astype(np.int64))
    toll = rng.choice([0, 0, 0, 0, 694], ROWS)
    extra = np.where(rng.random(ROWS) < wrong, rng.choice([50, 275], ROWS), 0)
    return {"fare": fare, "tip": tip, "toll": toll, "total": fare + tip + toll + extra}


KINDS: dict[str, Callable[[np.ndarray], pa.Array]] = {
    "integer": pa.array,
    "cents": lambda x: pa.array(x / 100),
    "decimal": lambda x: pa.array([Decimal(int(v)) / 100 for v in x], pa.decimal128(9, 2)),
    "noise": lambda x: pa.array((x / 100).astype(np.float32).astype(np.float64)),  # as files of single floats give
}


def in_cents(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    values = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    values = values.astype(np.float64)
    return np.rint(values if pa.types.is_integer(column.type) else values * 100).astype(np.int64)


def off(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    """What the total has more than its parts."""
    return in_cents(table["total"]) - sum(in_cents(table[name]) for name in ("fare", "tip", "toll"))


@pytest.mark.parametrize("kind", KINDS)
def test_sums_add_up(kind: str, fit: Fit, random_codes, positions) -> None:
    table = pa.table({name: KINDS[kind](values) for name, values in bills().items()})
    codec = fit(table, extremes=1)
    (relation,) = codec.relations
    assert (relation.column, relation.sources, relation.coefficients) == (3, (0, 1, 2), (1.0, 1.0, 1.0))
    codes = random_codes(codec, 5_000)
    given = codec.decode(codes, positions(codec, 5_000), 0)
    low, high = np.quantile(in_cents(table["total"]), [0, 1])
    inside = (in_cents(given["total"]) > low) & (in_cents(given["total"]) < high)
    assert inside.mean() > 0.5 and np.abs(off(given)[inside]).max() <= (2 if kind == "noise" else 0)  # of rounding
    assert low <= in_cents(given["total"]).min() and in_cents(given["total"]).max() <= high


@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_that_is_wrong_at_times_is_so_in_its_ways_only(kind: str, fit: Fit, random_codes, positions) -> None:
    table = pa.table({name: KINDS[kind](values) for name, values in bills(wrong=0.2).items()})
    codec = fit(table)
    assert [(r.column, r.sources) for r in codec.relations] == [(3, (0, 1, 2))]
    codes = codec.encode(table).codes
    again = codec.decode(codes, positions(codec, ROWS), 0)
    near = 2 if kind == "noise" else 0  # of rounding
    assert (np.abs(off(again) - off(table)) <= near).mean() > 0.99  # but where a total would lie beyond the extremes
    drawn = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    total = in_cents(drawn["total"])
    inside = (total > total.min()) & (total < total.max())
    assert np.abs(off(drawn)[inside, None] - [0, 50, 275]).min(axis=1).max() <= near


@given(
    coefficients=st.lists(st.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0]), min_size=1, max_size=3),
    constant=st.sampled_from([0.0, -7.5, 100.0]),
    missing=st.floats(0, 0.3),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_what_is_coded_is_lossless(
    fit: Fit, coefficients: list[float], constant: float, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 300, ROWS).astype(np.float64) for _ in coefficients]
    unrelated = rng.integers(0, 300, ROWS)
    total = constant + sum(c * part for c, part in zip(coefficients, parts, strict=True))
    absent = rng.random(ROWS) < missing
    columns = {f"part {k}": pa.array(part) for k, part in enumerate(parts)}
    columns |= {"unrelated": pa.array(unrelated), "total": pa.array(total, mask=absent)}
    table = pa.table(columns)
    codec = fit(table, extremes=1, min_frequency=1, atom_rows=1, max_leaves=4_096)
    again = codec.decode(codec.encode(table).codes, None, 0)
    assert pa.Table.from_batches([again]).equals(table)
    assert all(len(columns) - 2 not in (*relation.sources, relation.column) for relation in codec.relations)


@pytest.mark.parametrize("rate", [1.0, 1.19])
def test_products_stay_products(rate: float, fit: Fit, random_codes, positions) -> None:
    rng = np.random.default_rng(0)
    price = rng.integers(100, 20_000, ROWS) / 100
    pieces = rng.geometric(0.4, ROWS)
    amount = (rate * price * pieces).round(2)
    table = pa.table({"price": price, "free": rng.normal(size=ROWS), "amount": amount, "pieces": pieces})
    codec = fit(table, extremes=1)
    assert laws(codec) == [
        ("amount", f"is {'' if rate == 1 else '1.19 × '}price × pieces, except where the source differs")
    ]
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    given = again.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0).to_pandas()
    inside = (given["amount"] > amount.min()) & (given["amount"] < amount.max())
    off = (given["amount"] - rate * given["price"] * given["pieces"])[inside].abs()
    assert inside.mean() > 0.5 and off.max() < 0.0051


@pytest.mark.parametrize("pieces", [True, False])
def test_what_a_discount_leaves_is_what_it_leaves(pieces: bool, fit: Fit, random_codes, positions) -> None:
    rng = np.random.default_rng(0)
    price = rng.integers(100, 20_000, ROWS) / 100
    many = rng.geometric(0.4, ROWS) if pieces else np.ones(ROWS, np.int64)
    discount = rng.choice([0.0, 0.1, 0.25, 0.5], ROWS)
    table = pa.table({"price": price, "discount": discount, "amount": (price * many * (1 - discount)).round(2)})
    table = table.append_column("pieces", pa.array(many if pieces else rng.integers(0, 9, ROWS)))
    codec = fit(table, extremes=1)
    wanted = "price × pieces × (1 - discount)" if pieces else "price × (1 - discount)"
    assert laws(codec) == [("amount", f"is {wanted}, except where the source differs")]
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    given = again.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0).to_pandas()
    inside = (given["amount"] > table["amount"].to_numpy().min()) & (given["amount"] < table["amount"].to_numpy().max())
    told = given["price"] * (given["pieces"] if pieces else 1) * (1 - given["discount"])
    off = (given["amount"] - told)[inside].abs()  # by a cent where half of one was rounded the other way
    assert inside.mean() > 0.5 and off.max() < 0.0151 and (off < 0.0051).mean() > 0.5


def trips(kind: pa.DataType, seed: int = 0) -> pa.Table:
    """Departures over 60 days and arrivals minutes later, now and then none."""
    rng = np.random.default_rng(seed)
    left = START + rng.integers(0, 60 * 86_400, ROWS).astype("timedelta64[s]")
    there = left + rng.lognormal(6.5, 0.8, ROWS).astype("timedelta64[s]")
    if pa.types.is_date(kind):
        there = left + rng.integers(0, 3, ROWS).astype("timedelta64[D]")
    absent = rng.random(ROWS) < 0.1
    plain = pa.timestamp("s") if pa.types.is_date(kind) else kind
    return pa.table(
        {
            "arrival": pa.array(there, mask=absent).cast(plain).cast(kind),
            "departure": pa.array(left).cast(plain).cast(kind),
            "length": rng.normal(size=ROWS),
        }
    )


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns", "Europe/Berlin"), pa.date32()]
)
def test_what_comes_after_still_does(kind: pa.DataType, fit: Fit, random_codes, positions) -> None:
    table = trips(kind)
    codec = fit(table)
    assert [(r.how, r.column, r.sources) for r in codec.relations] == [(How.TIME, 0, (1,))]
    codec = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    given = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    assert given.schema.equals(table.schema)
    both = np.array(
        [(a, d) for a, d in zip(given["arrival"].to_pylist(), given["departure"].to_pylist(), strict=True) if a]
    )
    assert len(both) < 5_000
    late = np.array([a - d for a, d in both])
    assert late.min() >= dt.timedelta(0) and late.max() < dt.timedelta(days=2.5)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pa.date32(), pa.timestamp("us")),  # an event and its day
        (pa.date32(), pa.timestamp("ms")),
        (pa.timestamp("s"), pa.timestamp("ns")),
        (pa.timestamp("us"), pa.date32()),  # sent on a day, ordered at a moment
        (pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("ms", "Europe/Berlin")),
    ],
)
def test_what_comes_after_does_in_other_units(
    before: pa.DataType, after: pa.DataType, fit: Fit, random_codes, positions
) -> None:
    rng = np.random.default_rng(0)
    due = START - rng.integers(0, 600_000, ROWS).astype("timedelta64[h]")  # before 1970 as well
    days = np.timedelta64(2, "D") if pa.types.is_date(after) else np.timedelta64(0, "D")
    late = pa.array(due + days + rng.integers(0, 86_400, ROWS).astype("timedelta64[s]")).cast(pa.timestamp("s"))
    due = pa.array(due.astype("datetime64[D]") if pa.types.is_date(before) else due).cast(pa.timestamp("s"))
    table = pa.table({"late": late.cast(after, safe=False), "due": due.cast(before), "k": rng.normal(size=ROWS)})
    codec = fit(table)
    assert [(r.how, r.column, r.sources) for r in codec.relations] == [(How.TIME, 0, (1,))]
    codec = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    given = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    assert given.schema.equals(table.schema)
    some = given["late"].cast(pa.timestamp("ns", getattr(after, "tz", None))).to_pandas()
    apart = some - given["due"].cast(pa.timestamp("ns", getattr(before, "tz", None))).to_pandas()
    assert dt.timedelta(0) <= apart.min() and apart.max() < dt.timedelta(days=4)


def test_clocks_of_two_time_zones_are_not_compared(fit: Fit) -> None:
    left = START + np.arange(ROWS).astype("timedelta64[h]")
    away = pa.array(left + np.timedelta64(5, "m")).cast(pa.timestamp("s")).cast(pa.timestamp("s", "Asia/Tokyo"))
    assert not fit(pa.table({"left": pa.array(left).cast(pa.timestamp("s")), "away": away})).relations


def test_clock_times_add_up(fit: Fit, random_codes, positions, flights: pa.Table) -> None:
    """17:45 and 30 minutes are 18:15, also where times of day are written as 1745."""
    codec = fit(flights.select(["sched_dep_time", "dep_delay", "dep_time", "carrier"]))
    assert laws(codec) == [("dep_time", "is sched_dep_time + dep_delay, except where the source differs")]
    given = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0).to_pandas().dropna()
    late, due, left = (given[name].to_numpy(np.int64) for name in ("dep_delay", "sched_dep_time", "dep_time"))
    assert len(given) > 1_000 and left.min() >= 1 and left.max() <= 2400 and (left % 100 < 60).all()
    off = (left // 100 * 60 + left % 100) - (due // 100 * 60 + due % 100) - late
    inside = (left > left.min()) & (left < left.max())
    assert set(off[inside]) == {0, -1440}  # the next day
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    back = again.decode(codec.encode(flights).codes, None, 0)
    assert (back["dep_delay"].to_pandas() == flights["dep_delay"].to_pandas()).mean() > 0.5


def test_bytes_dont_depend_on_the_batch(fit: Fit, random_codes, positions) -> None:
    table = trips(pa.timestamp("us"))
    for name, values in bills(wrong=0.1).items():
        table = table.append_column(name, pa.array(values / 100))
    codec = fit(table)
    assert len(codec.relations) == 2
    codes, position = random_codes(codec, 3_000), positions(codec, 3_000)
    whole = codec.decode(codes, position, 0)
    for start, stop in ((0, 1), (1, 1_000), (1_000, 3_000)):
        assert codec.decode(codes[start:stop], position[start:stop], start).equals(whole.slice(start, stop - start))


def test_a_moment_is_told_by_the_nearest_earlier_one(fit: Fit) -> None:
    rng = np.random.default_rng(0)
    ordered = START + rng.integers(0, 400 * 86_400, ROWS).astype("timedelta64[s]")
    packed = ordered + rng.integers(3_600, 9_000, ROWS).astype("timedelta64[s]")
    sent = packed + rng.integers(600, 1_200, ROWS).astype("timedelta64[s]")
    born = START - rng.integers(0, 20_000, ROWS).astype("timedelta64[D]").astype("timedelta64[s]")
    codec = fit(pa.table({"sent": sent, "ordered": ordered, "born": born, "packed": packed}))
    assert [(r.column, r.sources) for r in codec.relations] == [(3, (1,)), (0, (3,))]


def test_what_is_only_alike_is_no_relation(fit: Fit, weather: pa.Table) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 1_000, ROWS)
    alike = pa.table({"x": x, "y": x + rng.integers(-30, 30, ROWS), "z": rng.integers(0, 1_000, ROWS)})
    assert not fit(alike).relations
    assert not fit(weather).relations  # the felt temperature is no sum


def test_shares_of_a_whole_are_no_sum(fit: Fit) -> None:
    """The last is what the others leave, but small shares would drown in the errors of the large ones."""
    shares = np.random.default_rng(0).dirichlet([0.05] * 4, ROWS).round(6)
    shares[:, 3] = (1 - shares[:, :3].sum(axis=1)).round(6)
    assert not fit(pa.table(dict(zip("abcd", shares.T, strict=True)))).relations


@pytest.mark.filterwarnings("error")
def test_odd_columns_are_left_alone_without_a_word(fit: Fit, random_codes, positions) -> None:
    rng = np.random.default_rng(0)
    parts = bills()
    odd = {
        "huge": 10.0 ** rng.uniform(-300, 300, ROWS),
        "infinite": np.where(rng.random(ROWS) < 0.1, np.inf, rng.normal(size=ROWS)),
        "nan": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(size=ROWS)),
        "identifier": rng.integers(2**62, 2**63 - 1, ROWS),
        "rare": pa.array(rng.integers(0, 900, ROWS), mask=np.arange(ROWS) > 3),
        "never": pa.nulls(ROWS, pa.float64()),
        "float": rng.normal(size=ROWS).astype(np.float32),
        "same": np.full(ROWS, 7),
        "copy": parts["fare"],
        "zeros": np.where(np.arange(ROWS) == 5, 3, 0),
    }
    codec = fit(pa.table(odd | parts))
    (relation,) = [r for r in codec.relations if len(r.sources) > 1]
    assert relation.column == len(odd) + 3
    codec.decode(random_codes(codec, 100), positions(codec, 100), 0).validate(full=True)


def test_few_values_and_what_is_looked_up_stay_codes(fit: Fit) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, ROWS), rng.integers(0, 5, ROWS)
    assert not fit(pa.table({"a": a, "b": b, "sum": a + b})).relations
    hour, minute = rng.integers(0, 24, ROWS), rng.integers(0, 12, ROWS) * 5
    clock = fit(pa.table({"clock": 100 * hour + minute, "hour": hour, "minute": minute}))
    assert not clock.relations
    assert dependencies(clock) == [(("clock",), "hour"), (("clock",), "minute")]


def test_categories_and_gaussian_columns_take_no_part(fit: Fit) -> None:
    table = pa.table({name: pa.array(values) for name, values in bills().items()})
    assert not fit(table, kinds={"total": Kind.CATEGORICAL}).relations
    assert not fit(table, likelihoods={"total": "gaussian"}).relations
    assert fit(table).relations and not fit(table, relations=False).relations


def test_what_others_say_names_no_folders(fit: Fit) -> None:
    codec = fit(trips(pa.date32()))
    check_partitions(codec, ["departure"])
    with pytest.raises(ConfigError, match=r"arrival.*too many values"):
        check_partitions(codec, ["arrival"])


def test_what_was_found_is_said_in_words(fit: Fit) -> None:
    parts = bills()
    parts["total"] = parts["fare"] * 2 - parts["tip"] + parts["toll"] - 150
    table = trips(pa.timestamp("s")).drop_columns("length")
    for name, values in (parts | {"place": parts["fare"] % 40}).items():
        table = table.append_column(name, pa.array(values))
    town = np.array([f"town {k // 4}" for k in table["place"].to_numpy()])
    assert laws(fit(table.append_column("town", pa.array(town)))) == [
        ("arrival", "is departure + a time"),
        ("total", "is 2 × fare + toll - tip - 150, except where the source differs"),
        ("town", "follows from place"),
    ]


def test_a_sum_of_no_values_of_the_column_is_told_for_a_summand(fit: Fit, random_codes, positions) -> None:
    """Whole degrees Fahrenheit, in Celsius: a low and a swing add up to highs between them, so the swing is told."""
    rng = np.random.default_rng(0)
    low = rng.normal(45, 20, ROWS).round()
    celsius = [((fahrenheit - 32) / 1.8).round(1) for fahrenheit in (low, low + rng.gamma(6, 4, ROWS).round())]
    table = pa.table({"low": celsius[0], "high": celsius[1], "swing": (celsius[1] - celsius[0]).round(1)})
    codec = fit(table)
    assert ("swing", "is high - low, except where the source differs") in laws(codec)
    again = codec.decode(codec.encode(table).codes, positions(codec, ROWS), 0)
    assert all(np.isin(again[name], table[name]).mean() > 0.95 for name in ("low", "high"))  # all but the rarest
    drawn = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0).to_pandas()
    inside = drawn["swing"].between(drawn["swing"].min(), drawn["swing"].max(), inclusive="neither")
    assert inside.mean() > 0.3
    assert (drawn["high"] - drawn["low"] - drawn["swing"])[inside].abs().max() < 0.2 + 1e-9
