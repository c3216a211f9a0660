"""No number beyond the k-th smallest or largest row of its column is ever given, and nothing else is lost by that."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.laws import dependencies
from vae_core.codec.leaves import NumericLeaves, value_limits
from vae_core.config import CodecConfig

Fit = Callable[..., Codec]
ROWS = 2_000
START = dt.datetime(2024, 1, 1)


def drawn(law: str) -> np.ndarray:
    """Heavy tails on both sides, with rows of a single value, as whole numbers."""
    rng = np.random.default_rng(3)
    laws = {
        "many": rng.standard_cauchy(ROWS) * 50,
        "few": rng.poisson(4, ROWS).astype(float),
        "atom at the end": np.maximum(rng.normal(0, 100, ROWS), 0.0),
    }
    return np.clip(np.round(laws[law]), -30_000, 30_000).astype(np.int64)


KINDS: dict[str, Callable[[np.ndarray], pa.Array]] = {
    "integer": pa.array,
    "int16": lambda x: pa.array(x, pa.int16()),
    "unsigned": lambda x: pa.array((x + 30_000).astype(np.uint64)),
    "real": lambda x: pa.array(x / 7),
    "cents": lambda x: pa.array(x / 100),
    "float": lambda x: pa.array((x / 7).astype(np.float32)),
    "NaN": lambda x: pa.array(np.append(x[1:] / 3, np.nan)),
    "null": lambda x: pa.array([None if i % 9 == 0 else int(v) for i, v in enumerate(x)]),
    "decimal": lambda x: pa.array([Decimal(int(v)) / 100 for v in x], pa.decimal128(9, 2)),
    "date": lambda x: pa.array([(START + dt.timedelta(days=int(v) // 300)).date() for v in x]),
    "time": lambda x: pa.array((x + 30_000).astype(np.int32), pa.time32("s")),
    "duration": lambda x: pa.array(x, pa.duration("ms")),
}


def numbers(column: pa.Array) -> np.ndarray:
    """Sorted numbers in the order of the values, without missing ones."""
    values = [v for v in column.to_pylist() if v is not None and not (isinstance(v, float) and np.isnan(v))]
    return np.array(sorted(values), dtype=object)


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
@pytest.mark.parametrize("few", [1, 5, 40])
@pytest.mark.parametrize("law", ["many", "few", "atom at the end"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_beyond_is_given(
    fit: Fit, random_codes: Callable[..., np.ndarray], kind: str, law: str, few: int, likelihood: str
) -> None:
    column = KINDS[kind](drawn(law))
    table = pa.table({"x": column})
    codec = fit(table, likelihoods={"x": likelihood}, extremes=few)
    codes = random_codes(codec, 4_000)
    rng = np.random.default_rng(0)
    position = rng.random((4_000, codec.positions)).astype(np.float32)
    if any(sub.gaussian for sub in codec.sub_columns):
        position = (rng.standard_cauchy(position.shape) * 3).astype(np.float32)
    source, given = numbers(column), numbers(codec.decode(codes, position, 0).column(0))
    assert source[few - 1] <= given[0] and given[-1] <= source[-few]
    if likelihood == "categorical" and few == 5 and law != "many":
        assert given[0] == source[few - 1]  # and all that may be given is


@pytest.mark.parametrize("law", ["many", "few", "atom at the end"])
def test_the_round_trip_moves_what_is_beyond_and_nothing_else(law: str) -> None:
    values = drawn(law)
    uniques, counts = np.unique(values, return_counts=True)
    low, high = value_limits(uniques, counts, 5)
    config = CodecConfig(min_frequency=1, atom_rows=1, max_leaves=10_000)  # every value an atom
    leaves, mass = NumericLeaves.fit(uniques, counts, config)
    assert np.array_equal(leaves.decode(leaves.encode(values)), np.clip(values, low, high))
    assert mass.sum() == ((values >= low) & (values <= high)).sum()


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=80), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_limits_count_rows_and_a_common_value_is_never_lost(values: list[int], extremes: int, few: int) -> None:
    ordered = np.sort(np.array(values))
    uniques, counts = np.unique(ordered, return_counts=True)
    low, high = value_limits(uniques, counts, extremes)
    assert low <= high and low in uniques and high in uniques
    if len(values) >= 2 * extremes - 1:
        assert (low, high) == (ordered[extremes - 1], ordered[-extremes])
    else:
        assert low == high == np.sort(ordered)[(len(ordered) - 1) // 2]
    config = CodecConfig(extremes=extremes, min_frequency=few)
    leaves, _ = NumericLeaves.fit(uniques, counts, config)
    assert np.isin(uniques[counts >= max(extremes, few, config.atom_rows)], leaves.atoms).all()
    often = uniques[counts >= max(extremes, few)]
    assert all(leaves.limits[0] <= value <= leaves.limits[1] for value in often)
    assert leaves.limits[0] >= low and leaves.limits[1] <= high
    if few == 1:
        assert leaves.limits == (low, high)


def test_a_flag_that_is_rarely_set_counts_as_a_rare_level_does(fit: Fit) -> None:
    for rows, kept in ((4, {0}), (5, {0, 1})):
        flag = pa.array([1] * rows + [0] * (1_000 - rows))
        codec = fit(pa.table({"flag": flag, "other": pa.array(np.arange(1_000) % 7)}))
        every = codec.decode(codec.encode(pa.table({"flag": flag, "other": flag})).codes, None, 0)
        assert set(every.column(0).to_pylist()) == kept
        assert [w.extreme_rows for w in codec.withheld] == [0 if 1 in kept else 4, 0]


def test_what_is_looked_up_stays_within(fit: Fit, random_codes: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    shop, floor = rng.integers(0, 12, ROWS), rng.integers(0, 4, ROWS)
    height = shop // 2 * 100.0 + floor // 2 * 7.0
    height[shop >= 10] += 5_000
    few = int((shop >= 10).sum()) + 1
    codec = fit(pa.table({"shop": shop.astype(str), "floor": floor.astype(str), "height": height}), extremes=few)
    assert (("shop", "floor"), "height") in dependencies(codec)
    given = codec.decode(random_codes(codec, 4_000), None, 0).column(2).to_numpy()
    low, high = np.sort(height)[[few - 1, -few]]
    assert given.min() == low and given.max() == high < 5_000
    assert np.isin(height[(height >= low) & (height <= high)], given).all()


def test_a_numeric_determinant_keeps_its_dependents(fit: Fit) -> None:
    # The rarest levels of education are at both ends of its number: too rare to be given, they don't hide the law.
    level = np.repeat(np.arange(12), [2, 3, 60, 60, 60, 60, 60, 60, 60, 60, 3, 1])
    codec = fit(pa.table({"number": level, "name": np.char.add("level ", level.astype(str))}))
    assert (("number",), "name") in dependencies(codec)
    names = codec.decode(codec.encode(pa.table({"number": level, "name": level.astype(str)})).codes, None, 0)
    assert set(names.column(0).to_pylist()) == set(range(2, 10))
    assert set(names.column(1).to_pylist()) == {f"level {k}" for k in range(2, 10)}
