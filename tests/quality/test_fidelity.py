import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_tables import schema_of, shuffled
from scipy.stats import ks_2samp, pearsonr

from vae_core.quality import fidelity
from vae_core.quality.fidelity import kolmogorov_smirnov, null_errors, shape_errors, trend_errors
from vae_core.quality.frames import Frame, prepare
from vae_core.schema import Schema

Frames = dict[str, Frame]


@pytest.fixture(scope="module")
def frames(parts: dict[str, pa.Table], flights_schema: Schema) -> Frames:
    return prepare(parts | {"independent": shuffled(parts["fresh"])}, flights_schema)


def test_a_table_has_no_error_against_itself(frames: Frames) -> None:
    train = frames["train"]
    assert max(shape_errors(train, train).values()) == 0
    assert max(null_errors(train, train).values()) == 0
    assert max(error for *_, error in trend_errors(train, train).pairs) < 1e-12


def test_errors_lie_between_zero_and_one_and_are_symmetric(frames: Frames) -> None:
    a, b = frames["train"], frames["independent"]
    assert shape_errors(a, b) == pytest.approx(shape_errors(b, a))
    assert all(0 <= error <= 1 for error in shape_errors(a, b).values())
    forth, back = trend_errors(a, b), trend_errors(b, a)
    assert forth.mean == pytest.approx(back.mean)
    assert all(0 <= error <= 1 for *_, error in forth.pairs)
    assert len(forth.pairs) == forth.total == 18 * 17 // 2


def test_errors_do_not_depend_on_the_order_of_rows(parts: dict[str, pa.Table], flights_schema: Schema) -> None:
    turned = {name: table.take(np.arange(table.num_rows)[::-1]) for name, table in parts.items()}
    first, second = prepare(parts, flights_schema), prepare(turned, flights_schema)
    assert first["train"].features == second["train"].features
    one, two = (shape_errors(f["train"], f["fresh"]) for f in (first, second))
    assert one == pytest.approx(two, abs=1e-12)
    one, two = (trend_errors(f["train"], f["fresh"]).mean for f in (first, second))
    assert one == pytest.approx(two, abs=1e-9)


def test_independent_columns_keep_their_shapes_and_lose_their_trends(frames: Frames) -> None:
    train, fresh, independent = frames["train"], frames["fresh"], frames["independent"]
    assert shape_errors(train, independent) == pytest.approx(shape_errors(train, fresh), abs=1e-12)
    assert trend_errors(train, independent).mean > trend_errors(train, fresh).mean + 0.05


@pytest.mark.filterwarnings("ignore:ks_2samp:RuntimeWarning")  # of its p-value, which nothing here reads
@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_kolmogorov_smirnov_is_scipys(a: list[int], b: list[int]) -> None:
    x, y = np.array(a, float), np.array(b, float)
    assert kolmogorov_smirnov(x, y) == pytest.approx(ks_2samp(x, y).statistic, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.6), st.sampled_from([0.0, 1e3, 1e9]))
def test_correlations_are_scipys_on_the_rows_where_both_have_a_value(seed: int, gone: float, outlier: float) -> None:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(60, 3)) @ generator.normal(size=(3, 3))
    x[0, 0] = outlier
    x[generator.random(x.shape) < gone] = np.nan
    table = pa.table({f"c{i}": pa.array(x[:, i], from_pandas=True) for i in range(3)})
    frame = prepare({"a": table}, schema_of(table))["a"]
    result = fidelity.correlations(frame, [0, 1, 2])
    for i, j in ((0, 1), (0, 2), (1, 2)):
        both = ~np.isnan(x[:, i]) & ~np.isnan(x[:, j])
        if both.sum() > 2:
            assert result[i, j] == pytest.approx(pearsonr(x[both, i], x[both, j])[0], abs=1e-9)


def test_what_is_not_defined_is_not_averaged() -> None:
    n = 50
    x = np.random.default_rng(0).normal(size=n)
    real = pa.table({"x": x, "y": x + 1, "same": np.zeros(n), "gone": x})
    synthetic = real.set_column(3, "gone", pa.nulls(n, pa.float64()))
    frames = prepare({"a": real, "b": synthetic}, schema_of(real))
    shapes = shape_errors(frames["a"], frames["b"])
    assert np.isnan(shapes["gone"]) and shapes["x"] == 0
    trends = trend_errors(frames["a"], frames["b"])
    assert [pair[:2] for pair in trends.pairs] == [("x", "y")]
    assert null_errors(frames["a"], frames["b"])["gone"] == 1


def test_a_column_of_one_moment_has_trends() -> None:
    """Ten bins around 1e18 ns can't be told apart."""
    n = 60
    word = np.array(["a", "b", "c"])[np.arange(n) % 3]
    days = (np.datetime64("2002-07-11", "ms") + np.arange(n).astype("timedelta64[D]")).astype("datetime64[ms]")
    real, synthetic = pa.table({"day": days, "word": word}), pa.table({"day": np.full(n, days[0]), "word": word})
    frames = prepare({"a": real, "b": synthetic}, schema_of(real))
    assert trend_errors(frames["b"], frames["b"]).mean == pytest.approx(0)
    assert trend_errors(frames["a"], frames["b"]).mean == pytest.approx(trend_errors(frames["b"], frames["a"]).mean)
    assert trend_errors(frames["a"], frames["b"]).mean > 0.5


def test_wide_tables_are_sampled_with_the_mean_kept(monkeypatch: pytest.MonkeyPatch, frames: Frames) -> None:
    whole = trend_errors(frames["train"], frames["independent"])
    monkeypatch.setattr(fidelity, "MAX_TABLES", 40)
    sampled = trend_errors(frames["train"], frames["independent"])
    assert len(sampled.pairs) < len(whole.pairs)
    assert sampled.total == whole.total
    assert sampled.mean == pytest.approx(whole.mean, abs=0.05)
