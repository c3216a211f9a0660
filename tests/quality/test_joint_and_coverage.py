import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_tables import schema_of, shuffled

from vae_core.quality import joint
from vae_core.quality.coverage import coverage
from vae_core.quality.frames import Frame, prepare
from vae_core.quality.joint import CELLS, coarse, shares, three_way_errors
from vae_core.schema import Schema


@pytest.fixture(scope="module")
def frames(parts: dict[str, pa.Table], flights_schema: Schema) -> dict[str, Frame]:
    return prepare(parts | {"independent": shuffled(parts["fresh"])}, flights_schema)


def test_coarse_columns_hold_tenths_of_the_rows_and_name_missing_values(frames: dict[str, Frame]) -> None:
    for i, feature in enumerate(frames["train"].features):
        one, two = coarse(frames["train"], (frames["train"], frames["fresh"]), i)
        assert one.size == two.size <= CELLS + 1
        share = shares((one,))
        assert share.sum() == pytest.approx(1)
        assert share[-1] == pytest.approx(frames["train"].missing(i).mean())
        if feature.name == "distance":
            assert share[:-1].max() < 0.2 and len(share) > CELLS - 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 3), st.integers(0, 10**6)), min_size=1, max_size=60))
def test_any_numbers_can_be_cut(values: list[int | None]) -> None:
    table = pa.table({"x": pa.array(values, pa.int64())})
    frame = prepare({"a": table}, schema_of(table))["a"]
    (column,) = coarse(frame, (frame,), 0)
    assert column.codes.min() >= 0 and column.codes.max() < column.size
    assert (column.codes == column.size - 1).tolist() == [value is None for value in values]
    assert shares((column,)).sum() == pytest.approx(1)


def test_three_columns_show_what_two_do_not() -> None:
    a, b, c = (np.random.default_rng(k).integers(0, 2, 20_000) for k in range(3))
    tables = [pa.table({k: v.astype(str) for k, v in zip("abc", t, strict=True)}) for t in ((a, b, a ^ b), (a, b, c))]
    frames = prepare({"parity": tables[0], "coins": tables[1]}, schema_of(tables[0]))
    found = three_way_errors(frames["parity"], frames["coins"])
    assert found.mean == pytest.approx(0.5, abs=0.02)
    assert found.errors[0][:3] == ("a", "b", "c") and found.interval == 0
    assert three_way_errors(frames["parity"], frames["parity"]).mean == 0


def test_a_sample_of_triples_says_how_uncertain_its_mean_is(
    frames: dict[str, Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, other = frames["train"], frames["independent"]
    monkeypatch.setattr(joint, "MAX_TRIPLES", 10_000)
    whole = three_way_errors(train, other)
    assert len(whole.errors) == whole.total == 18 * 17 * 16 // 6 and whole.interval == 0
    monkeypatch.setattr(joint, "MAX_TRIPLES", 100)
    sampled = [three_way_errors(train, other, seed) for seed in range(6)]
    assert all(len(s.errors) == 100 for s in sampled)
    assert sum(abs(s.mean - whole.mean) <= s.interval for s in sampled) >= 4


def test_fewer_than_three_columns_have_no_triples() -> None:
    table = pa.table({"x": [1.0, 2.0], "y": [1.0, 2.0]})
    frame = prepare({"a": table}, schema_of(table))["a"]
    found = three_way_errors(frame, frame)
    assert np.isnan(found.mean) and found.total == 0


def test_coverage_is_of_levels_and_of_ranges() -> None:
    real = pa.table({"c": ["a", "b", "c", None], "x": [0.0, 10.0, None, 5.0], "one": [1.0] * 4})
    synthetic = pa.table({"c": ["a", "z", None, "a"], "x": [2.0, 20.0, 4.0, None], "one": [1.0] * 4})
    frames = prepare({"real": real, "synthetic": synthetic}, schema_of(real))
    found = coverage(frames["real"], frames["synthetic"])
    assert found["c"] == pytest.approx(1 / 3)
    assert found["x"] == pytest.approx(0.8)
    assert np.isnan(found["one"])
    assert coverage(frames["real"], frames["real"])["c"] == 1
