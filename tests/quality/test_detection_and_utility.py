import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_tables import schema_of, shuffled
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import roc_auc_score

from vae_core.errors import ConfigError
from vae_core.quality.frames import Frame, prepare
from vae_core.quality.two_sample import auc_error, auc_of, marginal_aucs, score, two_sample
from vae_core.quality.utility import utility
from vae_core.schema import Schema


@pytest.fixture(scope="module")
def frames(parts: dict[str, pa.Table], flights_schema: Schema) -> dict[str, Frame]:
    shifted = parts["fresh"].set_column(
        8, "arr_delay", pa.compute.add(parts["fresh"].column("arr_delay"), pa.scalar(30))
    )
    return prepare(parts | {"independent": shuffled(parts["fresh"]), "shifted": shifted}, flights_schema)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auc_is_scikit_learns(positive: list[int], negative: list[int]) -> None:
    truth = [1] * len(positive) + [0] * len(negative)
    ours = auc_of(np.array(positive, float), np.array(negative, float))
    assert ours == pytest.approx(roc_auc_score(truth, positive + negative))


def test_the_error_of_an_auc_is_that_of_repetition() -> None:
    generator = np.random.default_rng(0)
    drawn = [(generator.normal(0.5, 1, 80), generator.normal(0, 1, 120)) for _ in range(1_500)]
    errors = [auc_error(*pair) for pair in drawn]
    assert np.mean(errors) == pytest.approx(np.std([auc_of(*pair) for pair in drawn]), rel=0.06)
    assert np.isnan(auc_error(np.zeros(1), np.zeros(5)))


def test_a_fresh_real_sample_is_not_detected(frames: dict[str, Frame]) -> None:
    # tail numbers are too many to be told by chance: their order must not know the sides
    assert two_sample(frames["train"], frames["fresh"]).auc == pytest.approx(0.5, abs=0.03)


def test_independent_columns_are_detected_though_no_column_alone_gives_them_away(frames: dict[str, Frame]) -> None:
    found = two_sample(frames["train"], frames["independent"])
    assert found.auc > 0.95
    assert score(found.auc) < 0.1
    assert set(found.importance) == {f.name for f in frames["train"].features}
    alone = marginal_aucs(frames["train"], frames["independent"])
    assert max(abs(auc - 0.5) for auc in alone.values()) < 0.04


def test_the_column_that_gives_rows_away_is_named(frames: dict[str, Frame]) -> None:
    alone = marginal_aucs(frames["train"], frames["shifted"])
    assert max(alone, key=lambda name: alone[name]) == "arr_delay"
    assert alone["arr_delay"] > 0.7


def cancer() -> tuple[pa.Table, pa.Table, pa.Table]:
    """Training rows, held-out rows, and training rows whose columns are independent."""
    data = load_breast_cancer()
    table = pa.table(
        {name: data.data[:, i] for i, name in enumerate(data.feature_names)}
        | {"target": [str(data.target_names[k]) for k in data.target]}
    ).take(np.random.default_rng(0).permutation(len(data.target)))
    return table[:400], table[400:], shuffled(table[:400])


def test_utility_of_the_training_rows_is_real_and_of_independent_columns_is_none() -> None:
    train, holdout, independent = cancer()
    frames = prepare({"train": train, "holdout": holdout, "independent": independent}, schema_of(train))
    same = utility(frames["train"], frames["holdout"], frames["train"])
    assert same.target == "target" and same.metric == "AUC"
    assert same.real == same.synthetic > 0.97
    worse = utility(frames["train"], frames["holdout"], frames["independent"])
    assert worse.real == same.real
    assert worse.synthetic < 0.8


def test_utility_of_a_number_is_r2() -> None:
    data = load_diabetes()
    table = pa.table({name: data.data[:, i] for i, name in enumerate(data.feature_names)} | {"target": data.target})
    frames = prepare({"train": table[:300], "holdout": table[300:]}, schema_of(table))
    found = utility(frames["train"], frames["holdout"], frames["train"])
    assert (found.target, found.metric) == ("target", "R2")
    assert 0.1 < found.real == found.synthetic < 1


def test_classes_that_a_side_lacks_are_no_error() -> None:
    train, holdout, _ = cancer()
    schema = schema_of(train)
    benign = pa.compute.equal(train.column("target"), "benign")
    frames = prepare({"train": train, "holdout": holdout, "one": train.filter(benign)}, schema)
    assert utility(frames["train"], frames["holdout"], frames["one"]).synthetic == 0.5
    held = prepare({"train": train, "holdout": holdout.filter(pa.compute.equal(holdout["target"], "benign"))}, schema)
    undefined = utility(held["train"], held["holdout"], held["train"], "target")
    assert undefined.metric is None and undefined.to_dict()["loss"] is None


@pytest.mark.parametrize("present", [1, 2, 5])
@pytest.mark.parametrize("rows", [60, 600])
def test_a_column_of_hardly_any_value_is_no_error(present: int, rows: int) -> None:
    """A reason for a cancellation, say: the rows that the trees set aside may have had the only ones."""
    generator = np.random.default_rng(0)
    for _ in range(5):
        told = np.where(generator.permutation(rows) < present, generator.normal(size=rows), np.nan)
        x = generator.normal(size=rows)
        table = pa.table({"told": pa.array(told, from_pandas=True), "x": x, "y": x > 0})
        frames = prepare({"real": table, "again": table.take(generator.permutation(rows))}, schema_of(table))
        assert two_sample(frames["real"], frames["again"], 0).auc < 0.7
        found = utility(frames["real"], frames["again"], frames["real"], "y", 0)
        assert found.synthetic > 0.9 and found.real > 0.9


def test_an_unknown_target_names_the_nearest() -> None:
    train, holdout, _ = cancer()
    frames = prepare({"train": train, "holdout": holdout}, schema_of(train))
    with pytest.raises(ConfigError, match="did you mean 'target'"):
        utility(frames["train"], frames["holdout"], frames["train"], "targe")
