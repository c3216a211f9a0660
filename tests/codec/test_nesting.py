"""Values that belong to those of other columns stay with them, as frequent as they are there, whatever the codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec, RareRows
from vae_core.codec.laws import dependencies, laws
from vae_core.codec.nesting import Nest
from vae_core.codec.settled import canonical, rare, settled
from vae_core.training.redraws import rare_rows

RandomCodes = Callable[..., np.ndarray]


def nest_of(codec: Codec, column: str) -> tuple[Nest, set[str]] | None:
    """The nest of a column, and the columns that it belongs to."""
    names = [c.name for c in codec.schema.columns]
    (part,) = (codec.parts[k] for k in codec.parts_of[names.index(column)])
    nest = getattr(part, "nest", None)
    return None if nest is None else (nest, {names[codec.parts[a].column] for a in nest.sources})


def cities(rows: int = 60_000, seed: int = 0) -> pa.Table:
    """States, their cities, of which some have namesakes in another, and what has nothing to do with either."""
    rng = np.random.default_rng(seed)
    state = rng.choice(40, rows, p=np.arange(20, 60) / 1_580)
    city = rng.choice(20, rows, p=np.arange(5, 25) / 290)
    name = np.where(city == 19, 0, 1 + state * 20 + city)  # every state has a Springfield
    return pa.table(
        {
            "state": np.array([f"S{s}" for s in range(40)])[state],
            "size": rng.normal(0, 1, rows) - city * 7 % 20,  # not as frequent as they are large
            "city": pa.array(np.array([f"town {c}" for c in range(801)])[name], mask=rng.random(rows) < 0.1),
            "shop": rng.choice([f"shop {k}" for k in range(200)], rows),
            "amount": rng.integers(0, 500, rows),
            "paid": rng.choice(["yes", "no"], rows),
        }
    )


@pytest.fixture(scope="module")
def towns() -> pa.Table:
    return cities()


@pytest.fixture(scope="module")
def codec(towns: pa.Table, fit) -> Codec:
    return fit(towns)


def pairs(table: pa.Table | pa.RecordBatch, *names: str) -> pd.Series:
    """How many rows have each combination."""
    return table.select(list(names)).to_pandas().value_counts()


def test_what_belongs_to_others_is_found_and_nothing_else(codec: Codec, towns: pa.Table, fit) -> None:
    found = nest_of(codec, "city")
    assert found is not None and found[1] == {"state"}
    assert nest_of(codec, "shop") is None and nest_of(codec, "amount") is None
    assert ("city", "is one that goes with state") in laws(codec)
    assert nest_of(fit(towns, relations=False), "city") is None
    last = towns.select([name for name in towns.column_names if name != "city"] + ["city"])
    assert nest_of(fit(last), "city") is None  # it may be what is to be predicted


def test_flights_belong_to_routes_and_planes_to_carriers(flights: pa.Table, fit, random_codes: RandomCodes) -> None:
    codec = fit(flights, min_frequency=1)
    flight, plane = nest_of(codec, "flight"), nest_of(codec, "tailnum")
    assert flight is not None and flight[1] == {"carrier", "origin"}  # of all flights it would be the dest, too
    assert plane is not None and plane[1] == {"carrier"}
    assert nest_of(codec, "sched_arr_time") is None  # a number that its neighbours are like
    made = codec.decode(random_codes(codec, 20_000), None, 0)
    assert set(pairs(made, "carrier", "tailnum").index) <= set(pairs(flights, "carrier", "tailnum").index)
    flown = pairs(made, "carrier", "origin", "flight").index
    possible = flown.droplevel("flight").isin(pairs(flights, "carrier", "origin").index)
    assert possible.sum() > 1_000 and flown[possible].isin(pairs(flights, "carrier", "origin", "flight").index).all()
    assert flown.droplevel("origin").isin(pairs(flights, "carrier", "flight").index).all()  # of others, the carrier's


def test_any_codes_make_pairs_that_enough_rows_have(codec: Codec, towns: pa.Table, random_codes: RandomCodes) -> None:
    made = codec.decode(random_codes(codec, 50_000), None, 0)
    counts = pairs(towns, "state", "city")
    assert set(pairs(made, "state", "city").index) == set(counts[counts >= 5].index)
    assert made["city"].null_count > 0


def test_even_codes_make_values_as_frequent_as_they_are(codec: Codec, towns: pa.Table) -> None:
    # Whatever the model makes of a state, its cities keep their shares: codes are as many as their rows.
    (coarse,) = (j for j, sub in enumerate(codec.sub_columns) if sub.name == "city")
    found = nest_of(codec, "city")
    assert found is not None
    every = np.arange(found[0].codes)
    side = round(len(every) ** 0.5)
    real = towns.to_pandas().dropna()
    for state in ("S3", "S19"):
        (row, *_) = np.flatnonzero(np.array(towns["state"].to_pylist()) == state)
        codes = np.repeat(codec.encode(towns.slice(row, 1)).codes, len(every), axis=0)
        codes[:, coarse], codes[:, coarse + 1] = every // side, every % side
        made = codec.decode(codes, None, 0)["city"].to_pandas().value_counts()
        wanted = real[real["state"] == state]["city"].value_counts()
        wanted = wanted[wanted >= 5]
        assert made.sub(wanted * len(every) / wanted.sum(), fill_value=0).abs().max() <= 1


def test_values_come_back_and_codes_are_spread_for_learning(codec: Codec, towns: pa.Table) -> None:
    plain, spread = codec.encode(towns).codes, codec.encode(towns, first_row=0).codes
    names, missing = [sub.name for sub in codec.sub_columns], towns["city"].is_null().to_numpy()
    coarse = names.index("city")
    for codes in (plain, spread):
        back = codec.decode(codes, None, 0)
        enough = pairs(towns, "state", "city")
        known = pd.MultiIndex.from_frame(towns.select(["state", "city"]).to_pandas()).isin(enough[enough >= 5].index)
        same = np.array(back["city"].to_pylist()) == np.array(towns["city"].to_pylist())
        assert same[known | missing].all() and known.mean() > 0.85
    assert np.array_equal(canonical(codec, spread), plain)
    rows = np.bincount(spread[~missing, coarse])
    assert rows.max() < 1.1 * rows.mean() and np.bincount(plain[:, coarse]).max() > 1.3 * rows.mean()
    half = codec.encode(towns.slice(10_000, 500), first_row=10_000).codes
    assert np.array_equal(half, spread[10_000:10_500])  # batches may be cut anywhere


def test_rows_are_known_by_their_values_not_by_their_codes(
    codec: Codec, random_codes: RandomCodes, positions: Callable[[Codec, int], np.ndarray]
) -> None:
    codes, position = random_codes(codec, 5_000), positions(codec, 5_000)
    made = pa.Table.from_batches([codec.decode(codes, position, 0)])
    assert np.array_equal(settled(codec, codes, position), codec.encode(made).codes)
    filter_ = RareRows.fit(codec.encode(made).codes, None, 5)
    other = codec.encode(made, first_row=77).codes  # of the same values
    assert (other != codes).any(axis=1).mean() > 0.5
    assert len(rare(codec, filter_, other, position)) == filter_.rows > 4_000


def addresses(codes: int, rows: int = 60_000) -> pa.Table:
    """Customers, their post codes, the towns of these, of which some have namesakes, and the states of the towns."""
    rng = np.random.default_rng(0)
    town = np.arange(codes) // 3
    state = town * 20 // town.max().clip(1)
    name = np.where(
        rng.random(town.max() + 1) < 0.06, rng.integers(0, 20, town.max() + 1), 20 + np.arange(town.max() + 1)
    )
    home = rng.choice(codes, 6_000, p=(weight := rng.gamma(2, 1, codes)) / weight.sum())
    who = rng.choice(6_000, rows, p=(often := rng.gamma(0.7, 1, 6_000)) / often.sum())
    where = home[who]
    return pa.table(
        {
            "customer": np.array([f"C{k}" for k in range(6_000)])[who],
            "zip": 10_000 + where * 7,  # by state
            "city": np.array([f"town {k}" for k in range(town.max() + 21)])[name[town[where]]],
            "state": np.array([f"S{k}" for k in range(21)])[state[town[where]]],
            "amount": rng.integers(0, 500, rows),
            "paid": rng.choice(["yes", "no"], rows),
        }
    )


def test_what_holds_others_follows_from_no_number(fit, random_codes: RandomCodes) -> None:
    """The latitude says the state, in which towns are nested: that is looked up first, and the latitude learned."""
    table = addresses(1_800, 20_000)
    order = {state: k for k, state in enumerate(sorted(set(table["state"].to_pylist())))}
    north = np.array([order[state] for state in table["state"].to_pylist()])
    table = table.append_column("latitude", pa.array((north + np.random.default_rng(1).random(len(north))).round(4)))
    codec = fit(table)
    code = nest_of(codec, "zip")
    assert code is not None and "state" in code[1]
    made = codec.decode(random_codes(codec, 5_000), np.zeros((5_000, codec.positions), np.float32), 0)
    assert set(made["state"].to_pylist()) == set(order)


@pytest.mark.parametrize("codes", [800, 1_800])
def test_what_is_nested_may_hold_others(codes: int, fit, random_codes: RandomCodes) -> None:
    # Fewer post codes tell their town; more of them belong to it. Customers belong to a post code either way.
    table = addresses(codes)
    codec = fit(table)
    customer, code = nest_of(codec, "customer"), nest_of(codec, "zip")
    assert customer is not None and customer[1] == {"zip"}
    if codes < 1_000:
        assert dependencies(codec) == [(("zip",), "city"), (("zip",), "state")]
    else:
        assert code is not None and code[1] == {"city", "state"}  # a town's name nearly says the state
    names = ["customer", "zip", "city", "state"]
    made = codec.decode(random_codes(codec, 20_000), None, 0)
    for inner, outer in (("customer", "zip"), ("zip", "city")):
        often = pairs(table, inner, outer)
        often = often[often >= 5].index
        drawn = pairs(made, inner, outer).index
        told = drawn.get_level_values(outer).isin(often.get_level_values(outer))  # others have rare values alone
        assert drawn[told].isin(often).all() and told.mean() > 0.85 and told.sum() > 500
    kept = table.to_pandas()["customer"].map(table.to_pandas()["customer"].value_counts()) >= 5
    for first_row in (None, 0):
        back = codec.decode(codec.encode(table, first_row).codes, None, 0)
        same = np.array([back[name].to_pylist() for name in names]) == np.array(
            [table[name].to_pylist() for name in names]
        )
        assert same[:, kept].all()
    assert np.array_equal(canonical(codec, codec.encode(table, first_row=0).codes), codec.encode(table).codes)
    again = Codec.from_dict(codec.to_dict())
    assert again.decode(codec.encode(table).codes, None, 0).equals(codec.decode(codec.encode(table).codes, None, 0))


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int16(), pa.string()), pa.large_string(), pa.int16()], ids=str)
def test_nested_columns_keep_their_type_and_missing_sources_are_one_more(
    towns: pa.Table, kind: pa.DataType, fit
) -> None:
    city = towns["city"].combine_chunks()
    if pa.types.is_integer(kind):  # names that are numbers, in no order
        number = np.random.default_rng(1).permutation(9_000)[: len(city.unique())]
        column = pa.array(number, pa.int16()).take(city.dictionary_encode().indices)
    else:
        column = city.cast(kind) if not pa.types.is_dictionary(kind) else city.dictionary_encode().cast(kind)
    state = pa.array(towns["state"].to_pylist(), mask=np.arange(len(towns)) % 20 == 0)
    table = towns.set_column(2, "city", column).set_column(0, "state", state)
    codec = fit(table)
    found = nest_of(codec, "city")
    assert found is not None and found[1] == {"state"}
    back = codec.decode(codec.encode(table, first_row=0).codes, None, 0)
    assert back.schema.equals(table.schema) and back["state"].equals(state)
    same = np.array(back["city"].to_pylist()) == np.array(table["city"].to_pylist())
    assert same.mean() > 0.95


def test_lists_are_in_the_order_of_what_values_explain(codec: Codec, towns: pa.Table) -> None:
    # Towns are in the order of the size of their rows, not of how many these are: neighbouring codes are alike.
    table = towns.filter(pa.compute.equal(towns["state"], "S30")).drop_null()
    frame = table.select(["city", "size"]).to_pandas()
    names = [sub.name for sub in codec.sub_columns]
    codes = codec.encode(table).codes.astype(np.int64)
    frame["code"] = codes[:, names.index("city")] * 1_000 + codes[:, names.index("city.fine")]
    means = frame.groupby("city").mean()
    assert len(means) == 20 and means["code"].corr(means["size"], method="spearman") > 0.95


def test_what_is_nested_is_drawn_after_what_it_belongs_to(towns: pa.Table, fit, random_codes: RandomCodes) -> None:
    codec = fit(towns.select(["city", "shop", "state", "amount", "paid"]))
    assert [sub.name for sub in codec.sub_columns][:5] == ["shop", "shop.fine", "state", "city", "city.fine"]
    made = codec.decode(random_codes(codec, 5_000), None, 0)
    assert made.schema.names == ["city", "shop", "state", "amount", "paid"]
    assert set(pairs(made, "state", "city").index) <= set(pairs(towns, "state", "city").index)


def test_numbers_that_neighbours_tell_and_values_that_are_few_stay_as_they_are(towns: pa.Table, fit) -> None:
    towns = towns.filter(pa.compute.is_valid(towns["city"]))
    number = np.array([int(name.removeprefix("town ")) for name in towns["city"].to_pylist()])  # by state
    assert nest_of(fit(towns.set_column(2, "city", pa.array(number))), "city") is None
    often = pa.compute.if_else(np.random.default_rng(0).random(len(towns)) < 0.6, "elsewhere", towns["city"])
    state = pa.compute.if_else(pa.compute.equal(often, "elsewhere"), "none", towns["state"])
    assert nest_of(fit(towns.set_column(2, "city", often).set_column(0, "state", state)), "city") is None


def test_rare_rows_are_those_of_the_source_not_of_the_codes_they_are_learned_by(towns: pa.Table, fit) -> None:
    table = towns.select(["state", "city", "shop", "paid"])
    codec = fit(table)
    assert nest_of(codec, "city") is not None
    found = rare_rows(Path("unused"), codec, codec.encode(table, first_row=0).codes, 5)
    wanted = RareRows.fit(codec.encode(table).codes, None, 5)
    assert found is not None and found.rows == wanted.rows and np.array_equal(found.alike, wanted.alike)


def test_combinations_that_cant_be_numbered_are_not_nested() -> None:
    sources = {k: (np.zeros(50, np.int64), 2**20) for k in range(3)}
    own, order = np.arange(50) % 5, np.zeros(50)
    assert Nest.fit(sources, own, 2**10, 1, order) is None
    assert Nest.fit({0: sources[0]}, own, 2**10, 1, order) is not None


def test_a_codec_with_nests_survives_json(codec: Codec, towns: pa.Table) -> None:
    again = Codec.from_dict(codec.to_dict())
    assert again.digest == codec.digest
    codes = codec.encode(towns, first_row=3).codes
    assert np.array_equal(again.encode(towns, first_row=3).codes, codes)
    assert again.decode(codes, None, 0).equals(codec.decode(codes, None, 0))


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 400),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    leaves=st.integers(1, 300),
    few=st.integers(1, 4),
)
@settings(deadline=None)
def test_every_list_covers_all_codes_once(seed: int, rows: int, sizes: list[int], leaves: int, few: int) -> None:
    rng = np.random.default_rng(seed)
    own = rng.integers(-1, leaves + 1, rows)  # some are none of the leaves
    sources = {k: (rng.integers(0, size, rows), size) for k, size in enumerate(sizes)}
    nest = Nest.fit(sources, own, leaves, few, rng.random(rows))
    counts = pd.Series(list(zip(*(leaf for leaf, _ in sources.values()), own, strict=True))).value_counts()
    listed = {key for key, count in counts.items() if count >= few and 0 <= key[-1] < leaves}
    if nest is None:
        assert not listed
        return
    contexts = {key[:-1] for key in listed}
    for context in contexts:
        code = np.arange(nest.codes)
        here = [np.full(nest.codes, leaf) for leaf in context]
        leaf = nest.decode(here, code)
        assert {(*context, each) for each in leaf.tolist()} == {key for key in listed if key[:-1] == context}
        first = nest.encode(here, leaf, None)
        assert np.array_equal(nest.decode(here, first), leaf) and (first <= code).all()
        again = nest.encode(here, leaf, code)
        assert np.array_equal(nest.decode(here, again), leaf)
    # Where all sources have no list the first of them may have one: each code makes one of its values.
    for context in np.ndindex(*sizes):
        if context not in contexts:
            leaf = nest.decode([np.full(nest.codes, each) for each in context], np.arange(nest.codes))
            shorter = [{key[-1] for key in counts.index if key[:n] == context[:n]} for n in range(len(sizes), -1, -1)]
            assert any(set(leaf.tolist()) <= each for each in shorter)
