"""The noise: streams that never meet, by the layout of the counter; numbers that are what they say, by 10^8 of them.

Seeds are fixed, so every statistic below is always the same number. Bounds are at 5 standard deviations or a p-value
of 10^-6: a sound generator that is changed on purpose passes them too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr

from vae_core.errors import ConfigError
from vae_core.generation import BLOCK, noise
from vae_core.generation.noise import _AGAIN, _stream, noise_again

seeds = st.integers(0, 2**128 - 1)
blocks = st.integers(0, 2**64 - 1)
kinds = st.integers(0, 3)
attempts = st.integers(0, 2**64 - 1)
LATENT, UNIFORMS, NORMALS = 8, 24, 4
DRAWS = 10**8
SEEDS = 7, 8
BLOCKS = -(-DRAWS // (len(SEEDS) * BLOCK * (LATENT + UNIFORMS + NORMALS)))


@given(seeds, blocks)
@settings(max_examples=20, deadline=None)
def test_a_block_is_a_function_of_seed_and_block(seed: int, block: int) -> None:
    one, two = noise(seed, block, 3, 2, 1), noise(seed, block, 3, 2, 1)
    for a, b, width in zip(one, two, (3, 2, 1), strict=True):
        assert a.dtype == np.float32 and a.shape == (BLOCK, width) and np.array_equal(a, b)
    assert one.u.min() >= 0 and one.u.max() < 1


@pytest.mark.parametrize("seed", [-1, 2**128])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        noise(seed, 0, 1, 1, 0)


# Streams never meet


def state(generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Of a Philox generator: seed, block, kind, and how many counters it has used, as its key and counter say."""
    philox = generator.bit_generator.state
    assert philox["bit_generator"] == "Philox"
    low, high = (int(word) for word in philox["state"]["key"])
    position, carry, kind, block = (int(word) for word in philox["state"]["counter"])
    return low + (high << 64), block, kind, position + (carry << 64)


@given(seeds, blocks, kinds, attempts)
@settings(max_examples=200, deadline=None)
def test_key_and_counter_tell_the_stream_so_no_two_streams_have_the_same(
    seed: int, block: int, kind: int, attempt: int
) -> None:
    # What can be read back differs where what was put in differs: streams begin on different keys or counters.
    assert state(_stream(seed, block, kind, attempt)) == (seed, block, kind, attempt << 64)


@given(seeds, st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5), attempts)
@settings(max_examples=50, deadline=None)
def test_a_row_that_is_drawn_again_has_a_stream_for_each_attempt(seed: int, rows: list[int], attempt: int) -> None:
    widths = 8, 40, 3
    drawn = noise_again(seed, np.array(rows), attempt, *widths)
    for i, row in enumerate(rows):  # whichever rows are drawn with it
        generator = _stream(seed, row, _AGAIN, attempt)
        assert np.array_equal(drawn.z[i], generator.standard_normal(8, dtype=np.float32))
        assert np.array_equal(drawn.u[i], generator.random(40, dtype=np.float32))
        assert np.array_equal(drawn.eps[i], generator.standard_normal(3, dtype=np.float32))
        *stream, position = state(generator)
        # Some counters on, of 2^64 before the next attempt's.
        assert stream == [seed, row, _AGAIN] and 0 < position - (attempt << 64) < 100


@given(seeds, blocks, kinds, st.integers(1, 600))
@settings(max_examples=20, deadline=None)
def test_drawing_moves_the_position_alone(seed: int, block: int, kind: int, columns: int) -> None:
    # 2^128 positions a stream, of which a block of the widest table takes some millions: it never reaches the next.
    generator = _stream(seed, block, kind)
    generator.standard_normal((BLOCK, columns), dtype=np.float32)
    *stream, position = state(generator)
    assert stream == [seed, block, kind] and 0 < position < BLOCK * columns < 2**128


def test_no_value_of_neighbouring_streams_is_drawn_twice() -> None:
    # Streams that overlapped anywhere, at any offset, would share 64-bit values. By chance 9 million of them share one
    # in 450,000 sets of streams.
    streams = [(seed, block, kind, 0) for seed in (0, 1, 2**64) for block in (0, 1, 2, 2**63) for kind in range(3)]
    streams += [(0, row, _AGAIN, attempt) for row in (0, 1) for attempt in range(4)]
    raw = np.sort(np.concatenate([_stream(*stream).bit_generator.random_raw(250_000) for stream in streams]))
    assert (raw[1:] != raw[:-1]).all()


@given(seeds, seeds, blocks, blocks)
@settings(max_examples=20, deadline=None)
def test_what_is_drawn_differs_from_stream_to_stream(seed: int, other: int, block: int, away: int) -> None:
    keys = {(seed, block), (seed, away), (other, block), (other, away)}
    drawn = [noise(*key, 2, 2, 2) for key in keys]
    for field in range(3):
        assert len({d[field][:4].tobytes() for d in drawn}) == len(keys)
    assert all(not np.array_equal(d.z, d.eps) for d in drawn)


# 10^8 draws: the noise of two adjacent seeds, block after block, in the shape that a dataset has


class Counts:
    """What is counted of one kind of noise, so that 10^8 numbers need not be held."""

    def __init__(self, uniform: bool) -> None:
        self.uniform = uniform
        self.coarse = np.zeros(4096, np.int64)  # the upper 12 of 24 bits
        self.fine = np.zeros(4096, np.int64)  # the lower 12
        self.pairs = np.zeros(64 * 64, np.int64)  # values drawn one after the other
        self.down = np.zeros(64 * 64, np.int64)  # values of one column in rows one after the other
        self.n = 0
        self.powers = np.zeros(4)
        self.largest = 0.0

    def add(self, drawn: npt.NDArray[np.float32]) -> None:
        uniform = drawn if self.uniform else ndtr(drawn)
        if self.uniform:
            bits = (drawn.ravel() * np.float32(2**24)).astype(np.int32)
            assert np.array_equal(bits.astype(np.float32) / np.float32(2**24), drawn.ravel())
            self.coarse += np.bincount(bits >> 12, minlength=4096)
            self.fine += np.bincount(bits & 4095, minlength=4096)
        else:
            cells = np.clip(np.floor(drawn.ravel() * np.float32(256)), -2048, 2047).astype(np.int32) + 2048
            self.coarse += np.bincount(cells, minlength=4096)
        sixths = np.minimum(uniform * np.float32(64), 63).astype(np.int32)
        flat = sixths.ravel()
        self.pairs += np.bincount(flat[:-1] * 64 + flat[1:], minlength=64 * 64)
        self.down += np.bincount((sixths[:-1] * 64 + sixths[1:]).ravel(), minlength=64 * 64)
        self.n += drawn.size
        value = drawn.ravel()
        square = value * value
        sums = value.sum(dtype=float), square.sum(dtype=float), (square * value).sum(dtype=float), square @ square
        self.powers += sums
        self.largest = max(self.largest, float(np.abs(value).max()))


class Correlations:
    """Sums of products of a stream with another, value by value."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.n: dict[str, int] = {}

    def add(self, name: str, one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> None:
        size = min(one.size, two.size)
        self.sums[name] = self.sums.get(name, 0.0) + float(one.ravel()[:size] @ two.ravel()[:size])
        self.n[name] = self.n.get(name, 0) + size

    def scores(self) -> dict[str, float]:
        """Correlations of values of variance 1, in standard deviations of independent ones."""
        return {name: self.sums[name] / np.sqrt(self.n[name]) for name in self.sums}


def standard(drawn: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return (drawn - np.float32(0.5)) * np.float32(np.sqrt(12))


@pytest.fixture(scope="module")
def drawn() -> tuple[dict[str, Counts], Correlations]:
    counts = {"z": Counts(False), "u": Counts(True), "eps": Counts(False)}
    correlations = Correlations()
    before: dict[tuple[int, str], npt.NDArray[np.float32]] = {}
    for seed, block in ((seed, block) for block in range(BLOCKS) for seed in SEEDS):
        made = noise(seed, block, LATENT, UNIFORMS, NORMALS)
        for name, count in counts.items():
            count.add(getattr(made, name))
        values = {"z": made.z, "u": standard(made.u), "eps": made.eps}
        for name, value in values.items():
            correlations.add(f"{name}: value and next", value.ravel()[:-1], value.ravel()[1:])
            correlations.add(f"{name}: row and next", value[:-1], value[1:])
            if (seed, name) in before:
                correlations.add(f"{name}: block and next", value, before[seed, name])
            if (seed - 1, name) in before:
                correlations.add(f"{name}: seed and next", value, before[seed - 1, name])
        correlations.add("z and u", values["z"], values["u"])
        correlations.add("z and eps", values["z"], values["eps"])
        correlations.add("u and eps", values["u"], values["eps"])
        correlations.add("z and u, row by row", values["z"][:, 0].copy(), values["u"][:, 0].copy())
        correlations.add(
            "z squared and u squared", values["z"] ** 2 - 1, values["u"].ravel()[: values["z"].size] ** 2 - 1
        )
        before |= {(seed, name): value for name, value in values.items()}
    assert sum(count.n for count in counts.values()) >= DRAWS
    return counts, correlations


Drawn = tuple[dict[str, Counts], Correlations]


def fits(counted: npt.NDArray[np.int64], share: npt.NDArray[np.float64] | float) -> bool:
    """A chi-square test against the shares that are expected; both tails, as numbers may be too even."""
    expected = counted.sum() * np.broadcast_to(share, counted.shape)
    used = expected > 20
    rest = counted[~used].sum() - expected[~used].sum(), expected[~used].sum()
    statistic = float(((counted - expected)[used] ** 2 / expected[used]).sum())
    freedom = int(used.sum()) - 1
    if rest[1] > 0:
        statistic, freedom = statistic + rest[0] ** 2 / rest[1], freedom + 1
    p = stats.chi2.sf(statistic, freedom)
    return bool(1e-6 < p < 1 - 1e-6)


def test_uniforms_are_uniform_in_all_their_bits(drawn: Drawn) -> None:
    u = drawn[0]["u"]
    assert fits(u.coarse, 1 / 4096) and fits(u.fine, 1 / 4096)


@pytest.mark.parametrize("name", ["z", "eps"])
def test_normals_are_normal(drawn: Drawn, name: str) -> None:
    counts = drawn[0][name]
    edges = np.arange(-2048, 2049) / 256
    edges[0], edges[-1] = -np.inf, np.inf
    assert fits(counts.coarse, np.diff(stats.norm.cdf(edges)))
    # The standard deviations of the first four moments of n normal values.
    n = counts.n
    errors = (counts.powers / n - (0, 1, 0, 3)) / np.sqrt(np.array([1, 2, 15, 96]) / n)
    assert np.abs(errors).max() < 5, errors
    # The largest of n: between the 10^-6 quantiles of its distribution.
    low, high = stats.norm.isf(-np.log([1e-6, 1 - 1e-6]) / (2 * n))
    assert low < counts.largest < high


@pytest.mark.parametrize("name", ["z", "u", "eps"])
def test_successive_values_are_independent(drawn: Drawn, name: str) -> None:
    assert fits(drawn[0][name].pairs, 1 / 4096) and fits(drawn[0][name].down, 1 / 4096)


def test_streams_of_blocks_kinds_and_seeds_are_uncorrelated(drawn: Drawn) -> None:
    scores = drawn[1].scores()
    assert len(scores) == 17
    assert {name: score for name, score in scores.items() if abs(score) > 5} == {}
