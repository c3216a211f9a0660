"""The filters of rare rows find all of them, and hardly any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec, RareRows
from vae_core.codec.inside import numbers_of_draws, numbers_of_rows, open_columns
from vae_core.codec.rare_rows import hashes
from vae_core.codec.settled import rare, settled

Fit = Callable[..., Codec]


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=60),
    st.integers(2, 6),
    st.sampled_from([np.int16, np.int32]),
)
@example(rows=[[1, 3, 0], [2, 0, 0], [2, 0, 0], [2, 1, 0]], few=2, dtype=np.int16)
@settings(max_examples=200, deadline=None)
def test_rows_that_are_rare_are_found_and_common_ones_hardly_ever(rows: list[list[int]], few: int, dtype: type) -> None:
    codes = np.array(rows, dtype).reshape(-1, 3)
    uniques, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    scarce = counts < few
    filter_ = RareRows.fit(codes, None, few)
    assert filter_.rows == counts[scarce].sum() and filter_.few == few
    found = np.zeros(len(uniques), bool)
    found[filter_.find(uniques)] = True
    assert found[scarce].all()
    assert found[~scarce].sum() <= 1  # a filter of Bloom's may take one for another, as in the example
    assert np.array_equal(filter_.find(codes.astype(np.int32)), np.flatnonzero(found[inverse.ravel()]))


@pytest.mark.parametrize("rows", [1_000, 60_000])
def test_others_are_found_one_in_ten_thousands(rows: int) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1_000, (rows, 12), np.int32)  # no two rows are alike
    filter_ = RareRows.fit(codes, None, 5)
    assert len(filter_.find(codes)) == rows
    others = rng.integers(0, 1_000, (400_000, 12), np.int32)
    assert len(filter_.find(others)) < 10
    near = codes.copy()
    near[:, 5] += 1
    assert len(filter_.find(near)) < max(2, rows / 10_000)
    assert 32 <= 64 * len(filter_.alike) / rows <= 66


def test_it_is_kept_exactly(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 30, (5_000, 4), np.int32)
    for numbers in (None, hashes(codes[:, ::-1])):
        filter_ = RareRows.fit(codes, numbers, 3)
        filter_.save(tmp_path / "rare.parquet")
        again = RareRows.load(tmp_path / "rare.parquet")
        assert np.array_equal(again.alike, filter_.alike) and (again.rows, again.few) == (filter_.rows, filter_.few)
        assert (again.equal is None) == (again.near is None) == (numbers is None)
        assert np.array_equal(again.equal, filter_.equal) and np.array_equal(again.near, filter_.near)


def test_what_was_written_before_numbers_were_compared_is_read(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 30, (5_000, 4), np.int32)
    filter_ = RareRows.fit(codes, None, 3)
    about = {"format": "1", "rows": str(filter_.rows), "few": "3"}
    pq.write_table(pa.table({"words": filter_.alike}).replace_schema_metadata(about), tmp_path / "rare.parquet")
    again = RareRows.load(tmp_path / "rare.parquet")
    assert again.rows == filter_.rows and np.array_equal(again.find(codes), filter_.find(codes))


def test_the_hash_is_part_of_the_format() -> None:
    # What this machine writes, others and later versions must find.
    filter_ = RareRows.fit(np.arange(12, dtype=np.int32).reshape(4, 3), None, 2)
    assert filter_.alike.tolist() == [1154329016948232194, 153139980592513024, 576460822130196996, 90072544450707456]


def test_a_million_rows_take_seconds_and_little_memory() -> None:
    codes = np.random.default_rng(0).integers(0, 200, (1_000_000, 10), np.int16)
    began = time.process_time()
    filter_ = RareRows.fit(codes, None, 5)
    assert time.process_time() - began < 10 and filter_.alike.nbytes <= 8 << 20


def test_what_a_copy_of_a_row_would_be_made_of_is_found(
    fit: Fit, flights: pa.Table, random_codes: Callable[..., np.ndarray]
) -> None:
    # Whatever the codes and positions, the row that they give is judged by the codes that this very row has.
    table = flights.select(["month", "dep_delay", "carrier", "origin", "dest", "distance"]).slice(0, 5_000)
    codec = fit(table, likelihoods={"dep_delay": "gaussian"})
    codes = random_codes(codec, 5_000)
    position = np.random.default_rng(0).normal(0, 2, (5_000, codec.positions)).astype(np.float32)
    made = pa.Table.from_batches([codec.decode(codes, position, 0)])
    assert np.array_equal(settled(codec, codes, position), codec.encode(made).codes)
    assert not np.array_equal(settled(codec, codes, position), codes)
    plain = fit(table)
    assert settled(plain, codes, position) is codes  # nothing to do, nor to pay for, without Gaussian columns


@pytest.mark.parametrize("delay", ["auto", "gaussian"])
def test_rows_that_differ_inside_their_bins_are_others(
    fit: Fit, flights: pa.Table, random_codes: Callable[..., np.ndarray], delay: str
) -> None:
    table = flights.select(["month", "dep_delay", "arr_delay", "carrier", "distance", "time_hour"]).slice(0, 5_000)
    noisy = pa.array(np.random.default_rng(1).normal(0, 9, 5_000))
    table = table.append_column("noise", noisy)
    codec = fit(table, likelihoods={} if delay == "auto" else {"dep_delay": delay})
    names = [codec.schema.columns[k].name for k in open_columns(codec)]
    assert "noise" in names and ("dep_delay" in names or delay == "auto") and "carrier" not in names

    # What codes and positions say of a row is what the row says once it is written.
    codes = random_codes(codec, 5_000)
    position = np.random.default_rng(0).random((5_000, codec.positions), dtype=np.float32)
    made = pa.Table.from_batches([codec.decode(codes, position, 0)])
    numbers = numbers_of_rows(codec, made)
    assert np.array_equal(numbers, numbers_of_draws(codec, codes, position))

    # So all of these rows are found, and none that lies elsewhere in the same bins.
    filter_ = replace(RareRows.fit(codec.encode(made).codes, hashes(numbers), 5), alike=None)
    assert filter_.rows == len(made) == len(rare(codec, filter_, codes, position))
    moved = np.where(position < 0.5, position + 0.4, position - 0.4).astype(np.float32)
    elsewhere = (numbers_of_draws(codec, codes, moved) != numbers).any(axis=1)
    found = rare(codec, filter_, codes, moved)
    assert elsewhere.mean() > 0.9 and not elsewhere[found].any()


@pytest.mark.parametrize(
    "kind",
    [
        pa.float16(),
        pa.float32(),
        pa.decimal128(22, 3),
        pa.int16(),
        pa.uint64(),
        pa.timestamp("s"),
        pa.timestamp("s", "Europe/Berlin"),
        pa.timestamp("us"),
        pa.date32(),
        pa.time32("s"),
        pa.time64("us"),
        pa.duration("ms"),
    ],
    ids=str,
)
def test_a_row_is_the_same_in_memory_in_parquet_and_as_codes(
    fit: Fit, random_codes: Callable[..., np.ndarray], kind: pa.DataType
) -> None:
    numbers = np.abs(np.random.default_rng(0).normal(0, 7_000, 1_500)).clip(max=30_000).astype(np.int32)
    plain = pa.array(numbers, mask=np.arange(1_500) % 9 == 0)
    column = plain.cast(pa.float64() if pa.types.is_floating(kind) else pa.int32())
    column = column.cast(kind if kind.bit_width <= 32 or pa.types.is_floating(kind) else pa.int64()).cast(kind)
    table = pa.table({"v": column, "group": [f"g{i % 4}" for i in range(1_500)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    codec = fit(table)
    assert np.array_equal(codec.encode(table).codes, codec.encode(pq.read_table(sink.getvalue())).codes)

    codes, position = random_codes(codec, 800), np.random.default_rng(1).random((800, codec.positions), np.float32)
    made = pa.Table.from_batches([codec.decode(codes, position, 0)])
    assert made.schema.field("v").type == kind and open_columns(codec) == [0]
    assert np.array_equal(numbers_of_rows(codec, made), numbers_of_draws(codec, codes, position))


def test_rows_that_few_are_equal_to_are_found_among_many_alike() -> None:
    codes = np.repeat(np.arange(6, dtype=np.int32), 50)[:, None]  # fifty rows of each, all alike
    inside = np.arange(300) % 50 // 4  # in fours and a pair: none is equal to as many as five
    inside[codes[:, 0] == 5] = 7  # but for these
    numbers = hashes(inside[:, None])
    filter_ = RareRows.fit(codes, numbers, 5)
    assert filter_.rows == 250
    assert np.array_equal(filter_.find(codes, lambda rows: numbers[rows]), np.arange(250))
    strict = RareRows.fit(codes[::26], numbers[::26], 5)  # two rows of each
    assert len(strict.find(codes, lambda rows: numbers[rows])) == 300
