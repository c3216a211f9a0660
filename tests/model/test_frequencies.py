"""Tables of frequencies are judged by rows that they were counted without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.model.frequencies import PSEUDO_ROWS, left_out_gain, marginal, smoothing


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(2, 4), st.integers(1, 30), st.sampled_from(PSEUDO_ROWS), st.integers(0, 2**32))
def test_what_is_gained_is_what_leaving_out_each_row_gives(
    rows: int, codes: int, seen: int, pseudo_rows: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    r, k = generator.integers(rows, size=seen), generator.integers(codes, size=seen)
    counts = np.zeros((rows, codes), np.int64)
    np.add.at(counts, (r, k), 1)
    everywhere = marginal(counts.sum(axis=0))
    gained = 0.0
    for one in range(seen):
        left = counts[r[one]].copy()
        left[k[one]] -= 1
        said = (left + pseudo_rows * everywhere) / (left.sum() + pseudo_rows)
        gained += np.log(said[k[one]] / everywhere[k[one]])
    assert left_out_gain(counts, everywhere, pseudo_rows) == pytest.approx(gained / seen)


def test_a_table_of_many_rows_of_chance_gains_nothing_and_is_hardly_trusted() -> None:
    generator = np.random.default_rng(0)
    said, level = generator.integers(20, size=5_000), generator.integers(600, size=5_000)
    chance, law = np.zeros((600, 20)), np.zeros((4, 20))
    np.add.at(chance, (level, said), 1)
    np.add.at(law, (said // 5, said), 1)
    everywhere = marginal(chance.sum(axis=0))
    assert left_out_gain(chance, everywhere, 10.0) < 0 < left_out_gain(law, everywhere, 10.0)
    assert smoothing(chance, everywhere) == max(PSEUDO_ROWS)
    assert smoothing(law, everywhere) < 10
