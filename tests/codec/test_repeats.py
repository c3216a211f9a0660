"""A column that repeats another on some rows does so exactly, and is itself on the others."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.laws import laws
from vae_core.codec.relations import How

Fit = Callable[..., Codec]
ROWS = 4_000


def payments(share: float, seed: int = 0) -> dict[str, np.ndarray]:
    """What is billed, and what is paid of it: all on a share of the rows, nothing on some, else something."""
    rng = np.random.default_rng(seed)
    billed = rng.lognormal(6, 1, ROWS).astype(np.int64)
    kind = rng.random(ROWS)
    paid = np.where(kind < share, billed, np.where(kind < share + 0.2, 0, rng.lognormal(5, 1, ROWS).astype(np.int64)))
    return {"billed": billed, "age": rng.integers(18, 90, ROWS), "paid": paid}


KINDS: dict[str, Callable[[np.ndarray], pa.Array]] = {
    "integer": pa.array,
    "cents": lambda x: pa.array(x / 100),
    "continuous": lambda x: pa.array(x * np.pi),
    "decimal": lambda x: pa.array([Decimal(int(v)) / 100 for v in x], pa.decimal128(12, 2)),
}


def same(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    return np.array([a == b for a, b in zip(table["billed"].to_pylist(), table["paid"].to_pylist(), strict=True)])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_paid_in_full_is_what_was_billed(kind: str, fit: Fit, random_codes, positions) -> None:
    table = pa.table({name: KINDS[kind](values) for name, values in payments(0.3).items()})
    codec = fit(table, extremes=1)
    (relation,) = codec.relations
    assert (relation.how, relation.column, relation.sources) == (How.REPEAT, 2, (0,))
    assert laws(codec) == [("paid", "is billed, except where the source differs")]
    again = codec.decode(codec.encode(table).codes, positions(codec, ROWS), 0)
    assert same(again)[same(table)].mean() > 0.99  # but where what is billed lies beyond what is ever paid
    drawn = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    assert 0 < same(drawn).mean() < 0.5
    for name in ("billed", "paid"):
        low, high = (float(x) for x in (min(table[name].to_pylist()), max(table[name].to_pylist())))
        assert low <= float(min(drawn[name].to_pylist())) and float(max(drawn[name].to_pylist())) <= high


@given(share=st.floats(0.1, 0.45), missing=st.floats(0, 0.3), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_what_is_coded_is_lossless(fit: Fit, share: float, missing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {name: values % 900 for name, values in payments(share, seed).items()}  # few enough for a leaf each
    absent = {name: rng.random(ROWS) < missing for name in columns}
    table = pa.table({name: pa.array(values, mask=absent[name]) for name, values in columns.items()})
    codec = fit(table, extremes=1, min_frequency=1, atom_rows=1, max_leaves=4_096)
    again = codec.decode(codec.encode(table).codes, None, 0)
    assert pa.Table.from_batches([again]).equals(table)


def test_columns_that_agree_by_chance_or_on_one_value_are_left_alone(fit: Fit) -> None:
    rng = np.random.default_rng(0)
    chance = pa.table({name: rng.integers(0, 80, ROWS) for name in "xy"})
    assert not fit(chance).relations
    zero = {name: np.where(rng.random(ROWS) < 0.6, 0, rng.lognormal(5, 1, ROWS).astype(np.int64)) for name in "xy"}
    assert not fit(pa.table(zero)).relations
    assert not fit(pa.table(payments(0.3)), relations=False).relations


def test_the_smallest_of_three_is_repeated_by_the_others(fit: Fit, random_codes, positions) -> None:
    """Of articles that cite one other the fewest shares are the most, and their mean."""
    rng = np.random.default_rng(0)
    least = rng.lognormal(6, 1, ROWS).astype(np.int64)
    alone = rng.random(ROWS) < 0.4
    most = np.where(alone, least, least + rng.lognormal(6, 1, ROWS).astype(np.int64))
    mean = np.where(alone, least, least + ((most - least) * rng.uniform(0.2, 0.8, ROWS)).astype(np.int64))
    codec = fit(pa.table({"least": least, "most": most, "mean": mean}))
    assert [(r.how, r.column, r.sources) for r in codec.relations] == [
        (How.REPEAT, 1, (0,)),
        (How.REPEAT, 2, (0,)),
    ]
    drawn = codec.decode(random_codes(codec, 2_000), positions(codec, 2_000), 0).to_pandas()
    assert (drawn.least == drawn["mean"]).any() and (drawn.least == drawn.most).any()
