"""Laws of numeric leaves, on any numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec.grid import Grid
from vae_core.codec.layout import Layout
from vae_core.codec.leaves import NumericLeaves
from vae_core.config import CodecConfig

INTEGERS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60),
    st.lists(st.integers(-30, 30), min_size=1, max_size=300),
).map(lambda x: np.array(x, dtype=np.int64))
FLOATS = st.one_of(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    st.lists(st.integers(-500, 500).map(lambda k: k / 20), min_size=1, max_size=300),
    st.lists(st.floats(0, 1), min_size=60, max_size=300),
).map(lambda x: np.array(x, dtype=np.float64))
SINGLES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200).map(
    lambda x: np.array(x, dtype=np.float32)
)


def fitted(values: np.ndarray, few: int, leaves: int, extremes: int = 1) -> tuple[NumericLeaves, np.ndarray]:
    uniques, counts = np.unique(values, return_counts=True)
    return NumericLeaves.fit(uniques, counts, CodecConfig(min_frequency=few, max_leaves=leaves, extremes=extremes))


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(INTEGERS, FLOATS, SINGLES),
    st.integers(1, 9),
    st.integers(4, 40),
    st.integers(1, 9),
    st.integers(0, 2**32),
)
def test_laws(values, few, max_leaves, extremes, seed):
    leaves, mass = fitted(values, few, max_leaves, extremes)
    leaf = leaves.encode(values)
    assert ((leaf >= 0) & (leaf < leaves.size)).all()
    assert mass.sum() <= len(values) and (mass >= 0).all() and len(mass) == leaves.size

    # every leaf, at any position, decodes to a value of that leaf
    rng = np.random.default_rng(seed)
    every = np.repeat(np.arange(leaves.size), 6)
    position = np.sort(np.r_[0.0, rng.random(4), 1.0]).astype(np.float32)
    decoded = leaves.decode(every, np.tile(position, leaves.size))
    assert decoded.dtype == values.dtype
    assert np.array_equal(leaves.encode(decoded), every)

    # values grow with the position, and stay within the values that may be given
    by_leaf = decoded.reshape(-1, 6)
    assert (by_leaf[:, 1:] >= by_leaf[:, :-1]).all()
    ordered = np.sort(values)
    if len(values) >= 2 * extremes - 1:
        assert decoded.min() >= ordered[extremes - 1] and decoded.max() <= ordered[-extremes]
    else:
        assert (decoded == ordered[(len(values) - 1) // 2]).all()

    # on the grid of the source
    grid = Grid.fit(np.unique(values))
    if grid is not None:
        assert np.array_equal(grid.value(grid.index(decoded)), decoded)

    # an atom comes back exactly, and JSON says everything
    assert np.array_equal(leaves.decode(leaf)[leaves.is_atom(leaf)], leaves.decode(leaf[leaves.is_atom(leaf)]))
    again = NumericLeaves.from_dict(json.loads(json.dumps(leaves.to_dict(), allow_nan=False)))
    assert np.array_equal(again.decode(every, np.tile(position, leaves.size)), decoded)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=400),
    st.booleans(),
    st.integers(2, 60),
)
def test_codes_and_leaves_are_one_to_one(mass, missing, split_above):
    layout = Layout.fit(np.array(mass), missing, split_above)
    leaf = np.arange(len(mass) + missing)
    codes = layout.encode(leaf)
    assert np.array_equal(layout.decode(codes), leaf)
    assert all((code < size).all() for code, size in zip(codes, layout.sizes, strict=True))
    assert (len(codes) == 1) == (len(leaf) <= split_above)
    allowed = layout.allowed(np.ones(len(mass), dtype=bool))
    assert allowed[-1].sum() == len(leaf)
    if len(codes) == 2:
        root = np.sqrt(len(mass))
        assert layout.sizes[0] <= 3 * root + 3 and layout.sizes[1] <= np.ceil(1.5 * root)
        assert allowed[1][tuple(codes)].all()


@pytest.mark.parametrize(
    ("rows", "atom", "least", "bins"),
    [(40, False, 8, 5), (200, False, 20, 8), (300, True, 30, 8), (17_000, True, 50, 340), (100_000, True, 50, 1024)],
)
def test_bins_hold_rows_enough_to_learn_from(rows, atom, least, bins, rows_of_atoms=2_000):
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(size=rows), np.repeat(np.arange(-2, 3), rows_of_atoms // 5 if atom else 0)]
    leaves, mass = fitted(values, 5, 1024)
    held = mass[~leaves.is_atom(np.arange(leaves.size))]
    assert (held[:-1] >= least).all() and held[-1] >= 8
    assert 0.85 * bins <= len(held) <= bins * 1.02


def test_a_column_of_zeros_still_resolves_its_tail():
    rng = np.random.default_rng(0)
    tail = np.round(rng.lognormal(8, 1, 2600))
    values = np.r_[np.zeros(30_000), tail].astype(np.int64)
    leaves, _ = fitted(values, 5, 1024)
    decoded = leaves.decode(leaves.encode(values), rng.random(len(values)).astype(np.float32))
    assert (decoded == 0).sum() == 30_000
    quantiles = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(np.quantile(decoded[decoded > 0], quantiles), np.quantile(tail, quantiles), rtol=0.08)


def test_clock_numbers_never_have_sixty_minutes():
    rng = np.random.default_rng(0)
    minute = np.clip(rng.normal(13 * 60, 200, 200_000), 0, 1439).astype(np.int64)
    clock = minute // 60 * 100 + minute % 60
    leaves, _ = fitted(clock, 5, 200)
    decoded = leaves.decode(leaves.encode(clock), rng.random(len(clock)).astype(np.float32))
    assert (decoded % 100 < 60).mean() > 0.9999
    assert len(np.unique(decoded)) > 900


@pytest.mark.parametrize(
    ("values", "step", "decimals"),
    [
        ([3, 13, 28], 5, 0),
        ([0.5, 1.0, 7.5], 5, 1),
        ([0.25, 1.0], 75, 2),
        ([19.99, 5.0, 0.01], 1, 2),
        ([1e300, 1.0], None, None),
        ([1 / 3, 0.2], None, None),
    ],
)
def test_grids(values, step, decimals):
    grid = Grid.fit(np.unique(values))
    assert (grid.step, grid.decimals) == (step, decimals) if step else grid is None
    if step:
        assert np.array_equal(grid.value(grid.index(np.array(values))), np.array(values))


def test_decimals_are_written_as_their_text_would_be_read():
    cents = np.arange(-5_000, 5_000)
    values = np.array([float(f"{c / 100:.2f}") for c in cents])
    grid = Grid.fit(values)
    assert np.array_equal(grid.value(cents), values)
    single = values.astype(np.float32)
    assert np.array_equal(Grid.fit(np.unique(single)).value(cents), single)


@pytest.mark.parametrize("law", ["normal", "lognormal", "mixture", "discrete"])
@pytest.mark.parametrize("rows", [200, 20_000])
def test_the_law_of_a_column_survives(law, rows):
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(3)
    values = {
        "normal": lambda: rng.normal(size=rows),
        "lognormal": lambda: rng.lognormal(0, 2, rows),
        "mixture": lambda: np.where(rng.random(rows) < 0.5, 0.0, rng.normal(1000, 1, rows)),
        "discrete": lambda: rng.poisson(300, rows).astype(float),
    }[law]()
    leaves, _ = fitted(values, 5, 256)
    decoded = leaves.decode(leaves.encode(values), rng.random(rows).astype(np.float32))
    assert ks_2samp(values, decoded).statistic < (0.06 if rows == 200 else 0.004)
