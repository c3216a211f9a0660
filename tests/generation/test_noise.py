import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vae_core.errors import ConfigError
from vae_core.generation import BLOCK, noise

seeds = st.integers(0, 2**128 - 1)
blocks = st.integers(0, 2**64 - 1)


@given(seeds, blocks)
@settings(max_examples=20, deadline=None)
def test_a_block_is_a_function_of_seed_and_block(seed: int, block: int) -> None:
    one, two = noise(seed, block, 3, 2, 1), noise(seed, block, 3, 2, 1)
    for a, b, width in zip(one, two, (3, 2, 1), strict=True):
        assert a.dtype == np.float32 and a.shape == (BLOCK, width) and np.array_equal(a, b)
    assert one.u.min() >= 0 and one.u.max() < 1


@given(seeds, seeds, blocks, blocks)
@settings(max_examples=20, deadline=None)
def test_no_two_streams_share_their_numbers(seed: int, other: int, block: int, away: int) -> None:
    keys = {(seed, block), (seed, away), (other, block), (other, away)}
    drawn = [noise(*key, 2, 2, 2) for key in keys]
    for field in range(3):
        assert len({d[field][:4].tobytes() for d in drawn}) == len(keys)
    assert all(not np.array_equal(d.z, d.eps) for d in drawn)


@pytest.mark.parametrize("seed", [-1, 2**128])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        noise(seed, 0, 1, 1, 0)


def test_uniforms_and_normals_are_what_they_say() -> None:
    drawn = [noise(5, block, 4, 4, 4) for block in range(30)]
    z, u, eps = (np.concatenate([d[i] for d in drawn]) for i in range(3))
    for column in range(4):
        assert stats.kstest(u[:, column], "uniform").pvalue > 1e-4
        assert stats.kstest(z[:, column], "norm").pvalue > 1e-4
        assert stats.kstest(eps[:, column], "norm").pvalue > 1e-4


def test_columns_streams_blocks_and_seeds_are_uncorrelated() -> None:
    drawn = [noise(seed, block, 3, 3, 3) for seed in (0, 1) for block in (0, 1, 2)]
    columns = np.concatenate([np.concatenate(d, axis=1) for d in drawn], axis=1)
    correlation = np.corrcoef(columns.T)
    np.fill_diagonal(correlation, 0)
    # 54 columns, so 1,431 pairs of standard deviation 1/√8192: five of them hold all pairs but once in 2,500 runs.
    assert np.abs(correlation).max() < 5 / np.sqrt(BLOCK)


def test_neighbouring_draws_of_a_stream_are_uncorrelated() -> None:
    u = np.concatenate([noise(3, block, 1, 1, 0).u[:, 0] for block in range(20)]).astype(float) - 0.5
    for lag in (1, 2, 4, BLOCK):
        assert abs(np.mean(u[:-lag] * u[lag:]) * 12) < 5 / np.sqrt(len(u))
