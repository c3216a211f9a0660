"""What is never greater than another column in the source is never greater than it in what is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.laws import laws
from vae_core.codec.orders import find_orders, put_in_order
from vae_core.codec.settled import settled
from vae_core.errors import ConfigError
from vae_core.generation import partition
from vae_core.schema import Kind

Fit = Callable[..., Codec]
ROWS = 3_000

KINDS: dict[str, Callable[[np.ndarray], pa.Array]] = {
    "integer": pa.array,
    "cents": lambda x: pa.array(x / 100),
    "continuous": lambda x: pa.array(x * np.pi),
    "decimal": lambda x: pa.array([Decimal(int(v)) / 100 for v in x], pa.decimal128(12, 2)),
}


def spans(seed: int = 0) -> dict[str, np.ndarray]:
    """The least, a middle and the greatest of three numbers, often near each other, and a number of its own."""
    rng = np.random.default_rng(seed)
    middle = rng.lognormal(6, 0.5, ROWS)
    width = rng.lognormal(3, 1, (2, ROWS))
    whole = {"most": middle + width[0], "least": np.maximum(middle - width[1], 0), "middle": middle}
    return {name: values.astype(np.int64) for name, values in whole.items()} | {"own": rng.integers(0, 3_000, ROWS)}


def names(codec: Codec) -> set[tuple[str, str]]:
    columns = [column.name for column in codec.schema.columns]
    return {(columns[low], columns[high]) for low, high, *_ in codec.orders}


def holds(table: pa.Table | pa.RecordBatch, low: str, high: str) -> bool:
    return not pc.any(pc.greater(table[low], table[high])).as_py()


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_is_found_and_kept_whatever_the_codes(kind: str, fit: Fit, random_codes, positions) -> None:
    table = pa.table({name: KINDS[kind](values) for name, values in spans().items()})
    codec = fit(table)
    assert names(codec) == {("least", "middle"), ("middle", "most")}  # that of the least and the most follows
    assert ("most", "is never less than middle") in laws(codec)
    codes, position = random_codes(codec, ROWS), positions(codec, ROWS)
    made, free = (each.decode(codes, position, 0) for each in (codec, replace(codec, orders=())))
    assert made.schema == free.schema == table.schema
    for low, high in (("least", "middle"), ("middle", "most"), ("least", "most")):
        assert holds(made, low, high) and not holds(free, low, high)
    ordered = ("least", "middle", "most")  # values change places, but for the outermost, and none is made up
    after, before = (np.array([each[name].to_pylist() for name in ordered], float) for each in (made, free))
    assert (after[:, None] == before[None]).any(axis=1).all() and made["own"] == free["own"]
    assert (np.sort(after, axis=0) == np.sort(before, axis=0)).all(axis=0).mean() > 0.9


def test_what_is_far_out_stays_so_that_ranges_do(fit: Fit, random_codes, positions) -> None:
    table = pa.table({name: values for name, values in spans().items() if name != "middle"})
    codec = fit(table)
    assert names(codec) == {("least", "most")}
    made, free = (
        each.decode(random_codes(codec, ROWS), positions(codec, ROWS), 0) for each in (codec, replace(codec, orders=()))
    )
    assert holds(made, "least", "most")
    low, high = (np.quantile(table[name], share) for name, share in (("least", 0.99), ("most", 0.01)))
    before, after = ({name: np.asarray(each[name]) for name in ("least", "most")} for each in (free, made))
    stays = {"least": before["least"] > low, "most": before["most"] < high}
    both = stays["least"] & stays["most"]
    for name in ("least", "most"):
        assert np.array_equal(after[name][stays[name] & ~both], before[name][stays[name] & ~both])
    assert after["least"].max() == before["least"].max() and after["most"].min() == before["most"].min()


def test_a_mean_between_whole_numbers_takes_theirs(fit: Fit, random_codes, positions) -> None:
    whole = spans()
    mean = ((whole["least"] + 2 * whole["middle"] + whole["most"]) / 4).round(1)
    table = pa.table({"mean": mean} | {name: whole[name] for name in ("most", "least")})
    codec = fit(table)
    assert names(codec) == {("least", "most"), ("least", "mean"), ("mean", "most")}
    made, free = (
        each.decode(random_codes(codec, ROWS), positions(codec, ROWS), 0) for each in (codec, replace(codec, orders=()))
    )
    assert made.schema == table.schema and all(holds(made, low, high) for low, high in names(codec))
    least, most, before, after = (np.asarray(x) for x in (made["least"], made["most"], free["mean"], made["mean"]))
    assert np.array_equal(after, np.clip(before, least, most)) and not np.array_equal(after, before)


def test_columns_that_are_equal_where_both_are_there_are_put_in_one_order(fit: Fit) -> None:
    rng = np.random.default_rng(0)
    value = rng.lognormal(6, 0.5, ROWS).round(2)
    holes = [np.where(rng.random(ROWS) < 0.3, np.nan, value) for _ in range(3)]
    arrays = {k: pa.array(values, from_pandas=True) for k, values in enumerate(holes)}
    schema = fit(pa.table({str(k): array for k, array in arrays.items()})).schema
    orders = find_orders(arrays, schema)
    assert {frozenset(order[:2]) for order in orders} == {frozenset(pair) for pair in ((0, 1), (0, 2), (1, 2))}
    assert len(orders) == 3  # one way round each, and never in a circle
    arrays = {k: array.take(pa.array(rng.permutation(ROWS))) for k, array in arrays.items()}
    assert put_in_order(arrays, orders) is not None
    assert not any(pc.any(pc.greater(arrays[low], arrays[high])).as_py() for low, high, *_ in orders)


@given(missing=st.floats(0, 0.5), seed=st.integers(0, 99), kind=st.sampled_from(["integer", "cents"]))
@settings(max_examples=15, deadline=None)
def test_missing_values_stay_and_codes_are_those_of_the_row(
    fit: Fit, random_codes, positions, missing: float, seed: int, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    arrays = {name: KINDS[kind](values) for name, values in spans(seed).items()}
    table = pa.table({k: pc.if_else(pa.array(rng.random(ROWS) < missing), None, v) for k, v in arrays.items()})
    codec = fit(table)
    assert {("least", "middle"), ("middle", "most")} <= names(codec)
    codes, position = random_codes(codec, ROWS, seed), positions(codec, ROWS)
    made, free = (each.decode(codes, position, 0) for each in (codec, replace(codec, orders=())))
    for name in table.column_names:
        assert pc.is_null(made[name]) == pc.is_null(free[name])
    assert all(holds(made, low, high) for low, high in names(codec))
    assert np.array_equal(settled(codec, codes, position), codec.encode(made).codes)
    again = Codec.from_dict(codec.to_dict())
    assert again.orders == codec.orders and again.decode(codes, position, 0) == made


def test_real_weather_is_never_more_humid_than_air_can_be(fit: Fit, weather: pa.Table, random_codes, positions) -> None:
    codec = fit(weather)
    assert names(codec) == {("dewp", "temp")}
    made = codec.decode(random_codes(codec, 20_000), positions(codec, 20_000), 0)
    assert holds(made, "dewp", "temp")


def test_what_comes_in_order_by_chance_or_by_far_is_left_alone(fit: Fit, flights: pa.Table) -> None:
    rng = np.random.default_rng(0)
    apart = pa.table({"share": rng.random(ROWS), "year": rng.integers(1990, 2020, ROWS).astype(float)})
    few = pa.table({name: values[:20] for name, values in spans().items()})
    grids = pa.table({"tens": spans()["least"] // 10 * 10, "sevens": spans()["most"] // 7 * 7 + 7})
    for table in (apart, few, grids, flights):
        codec = fit(table)
        assert not codec.orders and "orders" not in codec.to_dict()
    table = pa.table(spans())
    assert not fit(table, relations=False).orders
    assert not fit(table, likelihoods={"middle": "gaussian"}, kinds={"most": Kind.CATEGORICAL}).orders


def test_a_column_in_an_order_may_name_folders_by_the_values_of_both(
    fit: Fit, random_codes, positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(1, 9, ROWS)
    table = pa.table({"rooms": first + rng.integers(0, 4, ROWS), "beds": first, "price": rng.lognormal(5, 1, ROWS)})
    codec = fit(table)
    assert names(codec) == {("beds", "rooms")}
    made = codec.decode(random_codes(codec, ROWS), positions(codec, ROWS), 0)
    assert holds(made, "beds", "rooms")
    values = len(pc.unique(pa.concat_arrays([made["beds"], made["rooms"]])))
    monkeypatch.setattr(partition, "MAX_PARTITIONS", values)
    partition.check_partitions(codec, ["beds"])
    monkeypatch.setattr(partition, "MAX_PARTITIONS", values - 1)
    with pytest.raises(ConfigError, match=f"up to {values} folders"):
        partition.check_partitions(codec, ["beds"])
