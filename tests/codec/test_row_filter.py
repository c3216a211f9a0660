"""The filter of rare rows finds all of them, and hardly any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec, RareRows
from vae_core.codec.settled import settled

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
    rare = counts < few
    filter_ = RareRows.fit(codes, few)
    assert filter_.rows == counts[rare].sum() and filter_.few == few
    found = np.zeros(len(uniques), bool)
    found[filter_.find(uniques)] = True
    assert found[rare].all()
    assert found[~rare].sum() <= 1  # a filter of Bloom's may take one for another, as in the example
    assert np.array_equal(filter_.find(codes.astype(np.int32)), np.flatnonzero(found[inverse.ravel()]))


@pytest.mark.parametrize("rows", [1_000, 60_000])
def test_others_are_found_one_in_ten_thousands(rows: int) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1_000, (rows, 12), np.int32)  # no two rows are alike
    filter_ = RareRows.fit(codes, 5)
    assert len(filter_.find(codes)) == rows
    others = rng.integers(0, 1_000, (400_000, 12), np.int32)
    assert len(filter_.find(others)) < 10
    near = codes.copy()
    near[:, 5] += 1
    assert len(filter_.find(near)) < max(2, rows / 10_000)
    assert 32 <= 64 * len(filter_.words) / rows <= 66


def test_it_is_kept_exactly(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 30, (5_000, 4), np.int32)
    filter_ = RareRows.fit(codes, 3)
    filter_.save(tmp_path / "rare.parquet")
    again = RareRows.load(tmp_path / "rare.parquet")
    assert np.array_equal(again.words, filter_.words) and (again.rows, again.few) == (filter_.rows, filter_.few)


def test_the_hash_is_part_of_the_format() -> None:
    # What this machine writes, others and later versions must find.
    filter_ = RareRows.fit(np.arange(12, dtype=np.int32).reshape(4, 3), 2)
    assert filter_.words.tolist() == [1154329016948232194, 153139980592513024, 576460822130196996, 90072544450707456]


def test_a_million_rows_take_seconds_and_little_memory() -> None:
    codes = np.random.default_rng(0).integers(0, 200, (1_000_000, 10), np.int16)
    began = time.process_time()
    filter_ = RareRows.fit(codes, 5)
    assert time.process_time() - began < 10 and filter_.words.nbytes <= 8 << 20


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
