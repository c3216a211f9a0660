"""decode(encode(x)) is x, exactly, wherever leaves are exact values; the output has the source's Arrow schema."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vae_core.codec import Codec
from vae_core.errors import ArtifactError, ConfigError, SourceError
from vae_core.schema import Kind

ROWS = 600
BASE = dt.datetime(2024, 3, 9, 22, 30)


def cycle(values: list, type_: pa.DataType) -> pa.Array:
    return pa.array([values[(i * 7) % len(values)] for i in range(ROWS)], type=type_)


HOURS = [BASE + dt.timedelta(hours=k) for k in range(48)]  # over a night in which New York loses an hour
UTC_HOURS = [h.replace(tzinfo=dt.UTC) for h in HOURS]
AUTUMN = [dt.datetime(2024, 11, 3, 3, tzinfo=dt.UTC) + dt.timedelta(minutes=30 * k) for k in range(12)]  # and gains one
EXACT: dict[str, pa.Array] = {
    "int8": cycle([-128, 0, 127], pa.int8()),
    "int64 extremes": cycle([-(2**63), -1, 0, 2**63 - 1], pa.int64()),
    "uint8": cycle([0, 255], pa.uint8()),
    "uint64": cycle([0, 2**63, 2**64 - 1], pa.uint64()),
    "double": cycle([0.1, -2.5, 1e300, 1 / 3], pa.float64()),
    "double with NaN": cycle([0.1, float("nan"), 7.25], pa.float64()),
    "float": cycle([0.1, 2.7, 3.3], pa.float32()),
    "halffloat": cycle([np.float16(0.1), np.float16(2.5)], pa.float16()),
    "decimal128": cycle([Decimal("1.10"), Decimal("-3.05"), Decimal("0.00")], pa.decimal128(9, 2)),
    "decimal128 beyond int64": cycle([Decimal(10) ** 30, Decimal("-0.01"), Decimal(7)], pa.decimal128(38, 2)),
    "decimal256": cycle([Decimal("1.10"), Decimal("-3.05")], pa.decimal256(60, 2)),
    "decimal64": cycle([Decimal("1.10"), Decimal("-3.05")], pa.decimal64(9, 2)),
    "decimal32": cycle([Decimal("1.10"), Decimal("-3.05")], pa.decimal32(9, 2)),
    "bool": cycle([True, False, True], pa.bool_()),
    "string": cycle(["a", "", "Ω é", "null"], pa.string()),
    "large_string": cycle(["a", "b"], pa.large_string()),
    "string_view": cycle(["a", "b"], pa.string_view()),
    "binary": cycle([b"\x00\xff", b""], pa.binary()),
    "fixed binary": cycle([b"abc", b"\x00\x01\x02"], pa.binary(3)),
    "dictionary": cycle(["x", "y", "z"], pa.string()).cast(pa.dictionary(pa.int8(), pa.string())),
    "ordered dictionary": pa.DictionaryArray.from_arrays(
        pa.array(np.arange(ROWS) % 3, pa.int16()), pa.array(["low", "mid", "high"]), ordered=True
    ),
    "dictionary of integers": cycle([10, 20], pa.int64()).dictionary_encode(),
    "date32": cycle([d.date() for d in HOURS], pa.date32()),
    "date64": cycle([dt.date(1969, 12, 31), dt.date(2024, 2, 29)], pa.date64()),
    "time32": cycle([dt.time(0, 0), dt.time(23, 59, 59)], pa.time32("s")),
    "time64": cycle([dt.time(0, 0, 0, 1), dt.time(13, 37)], pa.time64("us")),
    "duration": cycle([dt.timedelta(hours=-1), dt.timedelta(minutes=5)], pa.duration("ms")),
    **{f"timestamp {unit}": cycle(HOURS, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
    "timestamp before the epoch": cycle([dt.datetime(1969, 12, 31, 23, 59, 59, 999)], pa.timestamp("us")),
    "timestamp UTC": cycle(UTC_HOURS, pa.timestamp("us", "UTC")),
    "timestamp New York": cycle(UTC_HOURS, pa.timestamp("us", "America/New_York")),
    "timestamp New York, autumn": cycle(AUTUMN, pa.timestamp("s", "America/New_York")),
    "timestamp +05:30": cycle(UTC_HOURS, pa.timestamp("ms", "+05:30")),
    "timestamp midnight": cycle([BASE.replace(hour=0, minute=0), dt.datetime(2024, 5, 1)], pa.timestamp("s")),
}


def same(left: pa.Array, right: pa.Array) -> bool:
    """Equality in which NaN equals NaN."""
    if pa.types.is_float16(left.type):
        left, right = left.cast(pa.float32()), right.cast(pa.float32())
    if pa.types.is_floating(left.type):
        return bool(
            left.type == right.type
            and pc.is_null(left).equals(pc.is_null(right))
            and np.array_equal(
                left.to_numpy(zero_copy_only=False), right.to_numpy(zero_copy_only=False), equal_nan=True
            )
        )
    return bool(left.equals(right)) or (left.type == right.type and left.to_pylist() == right.to_pylist())


@pytest.mark.parametrize("name", EXACT)
def test_a_constant_comes_back(name, fit):
    """From the JSON, too, whose digest decoders and discriminators have: it says the value, not its place in memory."""
    array = pa.concat_arrays([EXACT[name].slice(1, 1)] * ROWS)
    elsewhere = pa.concat_arrays([EXACT[name], array]).slice(ROWS)
    codec, other = (
        fit(pa.table({"x": x, "other": np.arange(ROWS) % 2 == 0}), {"x": Kind.CONSTANT}) for x in (array, elsewhere)
    )
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest == other.digest
    for each in (codec, again, other):
        assert same(each.decode(np.zeros((ROWS, 1), int), None, 0).column(0), array)


@pytest.mark.parametrize("nulls", [False, True], ids=["present", "nulls"])
@pytest.mark.parametrize("name", EXACT)
def test_exact_values_come_back(name, nulls, fit, random_codes):
    array = EXACT[name]
    if nulls:
        array = pa.concat_arrays([pa.nulls(1, array.type) if i % 11 == 3 else array.slice(i, 1) for i in range(ROWS)])
    other = pa.array(np.arange(ROWS) % 2 == 0)  # a column beside, so that order and offsets matter
    table = pa.table({"x": array, "other": other}).slice(3)
    codec = fit(table)
    encoded = codec.encode(table)
    decoded = codec.decode(encoded.codes, None, 0)
    assert decoded.schema.equals(table.schema, check_metadata=True)
    decoded.validate(full=True)
    assert same(decoded.column(0), table["x"].combine_chunks())
    assert codec.decode(encoded.codes[:0], None, 0).equals(decoded.slice(0, 0), check_metadata=True)
    assert decoded.column(1).equals(table["other"].combine_chunks())

    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    assert same(again.decode(encoded.codes, None, 0).column(0), decoded.column(0))
    assert [(s.name, s.size, s.parent) for s in again.sub_columns] == [
        (s.name, s.size, s.parent) for s in codec.sub_columns
    ]

    if "New York" not in name:  # a day and an hour drawn apart can be a local time that doesn't exist
        codes = random_codes(codec, 200)
        assert np.array_equal(codec.encode(codec.decode(codes, None, 0)).codes, codes)


def test_local_times_that_do_not_exist_are_given_as_ones_that_do(fit, random_codes):
    table = pa.table({"x": EXACT["timestamp New York"]})
    codec = fit(table)
    decoded = codec.decode(random_codes(codec, 2000), None, 0)
    decoded.validate(full=True)
    assert set(pc.hour(decoded.column(0)).to_pylist()) <= set(range(24))


def test_rows_are_missing_as_a_whole(fit, random_codes):
    """The parts of a timestamp are missing together, whatever codes are drawn."""
    array = EXACT["timestamp us"].take(pa.array([None if i % 5 == 0 else i for i in range(ROWS)]))
    codec = fit(pa.table({"x": array}))
    day, time = (next(s for s in codec.sub_columns if s.name == name) for name in ("x.day", "x.time"))
    codes = random_codes(codec, 500)
    at = [codec.sub_columns.index(day), codec.sub_columns.index(time)]
    assert np.array_equal(codes[:, at[0]] == day.size - 1, codes[:, at[1]] == time.size - 1)
    missing = pc.is_null(codec.decode(codes, None, 0).column(0)).to_numpy(zero_copy_only=False)
    assert np.array_equal(missing, codes[:, at[0]] == day.size - 1)


def test_what_is_not_learned_has_no_codes(fit):
    table = pa.table(
        {
            "constant": pa.array(["same"] * ROWS),
            "fixed": pa.array([7.5] * ROWS),
            "empty": pa.nulls(ROWS, pa.float64()),
            "text": pa.array([f"a text, number {i}" for i in range(ROWS)]),
            "needed": pa.array([f"text {i}" for i in range(ROWS)]),
            "kept": pa.array(np.arange(ROWS) % 3),
        },
        schema=pa.schema(
            [
                ("constant", pa.string()),
                ("fixed", pa.float64()),
                ("empty", pa.float64()),
                ("text", pa.string()),
                pa.field("needed", pa.string(), nullable=False),
                ("kept", pa.int64()),
            ]
        ),
    )
    kinds = {"constant": Kind.CONSTANT, "empty": Kind.EMPTY, "text": Kind.TEXT, "needed": Kind.TEXT}
    codec = fit(table, kinds)
    assert [s.column for s in codec.sub_columns] == ["kept"]
    decoded = codec.decode(codec.encode(table).codes, None, 0)
    assert decoded.schema.equals(table.schema)
    decoded.validate(full=True)
    for name in ("constant", "fixed", "empty", "kept"):
        assert decoded[name].equals(table[name].combine_chunks())
    assert decoded["text"].null_count == ROWS
    assert set(decoded["needed"].to_pylist()) == {""}
    assert codec.decode(codec.encode(table).codes[:0], None, 0).schema.equals(table.schema)
    assert Codec.from_dict(json.loads(json.dumps(codec.to_dict()))).digest == codec.digest


def test_a_constant_that_is_sometimes_missing_keeps_its_missing_rows(fit):
    table = pa.table({"x": pa.array([None if i % 3 else "yes" for i in range(ROWS)])})
    codec = fit(table, {"x": Kind.CONSTANT})
    assert [s.size for s in codec.sub_columns] == [2]
    assert codec.decode(codec.encode(table).codes, None, 0).column(0).equals(table["x"].combine_chunks())


def test_no_rows_and_batches_of_any_size(fit):
    table = pa.table({"x": EXACT["timestamp New York"], "y": EXACT["string"], "z": EXACT["double"]})
    codec = fit(table)
    codes = codec.encode(table).codes
    whole = codec.decode(codes, None, 0)
    empty = codec.decode(codes[:0], None, 0)
    assert empty.num_rows == 0 and empty.schema.equals(table.schema)
    assert codec.encode(table.slice(0, 0)).codes.shape == (0, len(codec.sub_columns))
    pieces = [codec.decode(codes[i : i + 77], None, i) for i in range(0, ROWS, 77)]
    assert pa.Table.from_batches(pieces).combine_chunks().to_batches()[0].equals(whole)
    streamed = np.concatenate([codec.encode(batch).codes for batch in table.to_batches(max_chunksize=77)])
    assert np.array_equal(streamed, codes)


def test_the_codec_needs_neither_pandas_nor_torch():
    """Generation never fits, and starts sooner without them."""
    code = "import sys, vae_core.codec; print({'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_text_stays_a_dictionary_for_the_writer(fit):
    codec = fit(pa.table({"x": EXACT["string"]}))
    (column,) = codec.decode_columns(np.zeros((4, 1), dtype=np.int64), None, 0)
    assert pa.types.is_dictionary(column.type)


def test_a_kind_that_the_type_cannot_be_is_refused_in_one_line(fit):
    for array, kind in ((EXACT["string"], Kind.INTEGER), (EXACT["int8"], Kind.TIMESTAMP), (EXACT["double"], Kind.TIME)):
        with pytest.raises(ConfigError, match=r"column 'x'.*can't be of kind"):
            fit(pa.table({"x": array}), {"x": kind})
    with pytest.raises(SourceError):
        fit(pa.table({"x": pa.array([], pa.int64())}))
    with pytest.raises(ArtifactError, match="format"):
        Codec.from_dict({"format": 99})
