from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from quality_tables import schema_of

from vae_core.quality.frames import left_out, prepare, stack
from vae_core.schema import Kind

MOMENT = datetime(2020, 1, 1, 12)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([1, None, 3], pa.int8()), Kind.INTEGER, [1, np.nan, 3]),
        (pa.array([2**40, None], pa.uint64()), Kind.INTEGER, [2.0**40, np.nan]),
        (pa.array([1.5, None, float("nan"), float("inf")]), Kind.REAL, [1.5, np.nan, np.nan, np.nan]),
        (pa.array([Decimal("1.25"), None]), Kind.DECIMAL, [1.25, np.nan]),
        (pa.array([date(1970, 1, 3), None], pa.date32()), Kind.DATE, [2 * 86_400e9, np.nan]),
        (pa.array([date(1970, 1, 3), None], pa.date64()), Kind.DATE, [2 * 86_400e9, np.nan]),
        (pa.array([time(0, 0, 5), None], pa.time32("s")), Kind.TIME, [5e9, np.nan]),
        (pa.array([time(0, 0, 5), None], pa.time64("us")), Kind.TIME, [5e9, np.nan]),
        (pa.array([timedelta(seconds=2), None], pa.duration("ms")), Kind.DURATION, [2e9, np.nan]),
        (pa.array([MOMENT, None], pa.timestamp("us", "UTC")), Kind.TIMESTAMP, [1_577_880_000e9, np.nan]),
        (pa.array([1, None, 1]).dictionary_encode(), Kind.INTEGER, [1, np.nan, 1]),
    ],
)
def test_numbers_become_floats_and_missing_is_kept(values: pa.Array, kind: Kind, expected: list[float]) -> None:
    table = pa.table({"x": values})
    frame = prepare({"a": table}, schema_of(table, x=kind))["a"]
    np.testing.assert_array_equal(frame.numbers(0), expected)


@pytest.mark.parametrize("dictionary", [False, True])
def test_categories_share_their_codes_in_the_order_of_frequency(dictionary: bool) -> None:
    a, b = pa.array(["y", "x", "x", None]), pa.array(["z", "x", None, "z"])
    if dictionary:
        a, b = a.dictionary_encode(), b.dictionary_encode()
    tables = {"a": pa.table({"x": a}), "b": pa.table({"x": b})}
    frames = prepare(tables, schema_of(tables["a"]))
    assert frames["a"].features[0].levels == ("x", "y", "z")
    assert frames["a"].codes(0).tolist() == [1, 0, 0, -1]
    assert frames["b"].codes(0).tolist() == [2, 0, -1, 2]


def test_what_is_not_learned_is_left_out_and_named() -> None:
    table = pa.table({"id": [1, 2], "x": [0.5, 1.5], "note": ["a", "b"], "one": [1, 1], "none": pa.nulls(2)})
    schema = schema_of(table, id=Kind.IDENTIFIER, note=Kind.TEXT, one=Kind.CONSTANT, none=Kind.EMPTY)
    frame = prepare({"a": table}, schema)["a"]
    assert [f.name for f in frame.features] == ["x"]
    assert [c["column"] for c in left_out(schema)] == ["id", "note", "one", "none"]


def test_empty_tables_and_chunks(flights: pa.Table) -> None:
    schema = schema_of(flights)
    chunked = pa.concat_tables([flights[:10], flights[10:10], flights[10:50]])
    whole = prepare({"a": chunked, "b": flights[:0]}, schema)
    same = prepare({"a": flights[:50].combine_chunks()}, schema)["a"]
    assert whole["b"].rows == 0
    for i in range(len(same.features)):
        np.testing.assert_array_equal(whole["a"].values[i], same.values[i])
    both = stack(whole["a"], whole["b"])
    assert both.rows == 50
