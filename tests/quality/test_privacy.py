import numpy as np
import pyarrow as pa
import pytest
from quality_tables import schema_of

from vae_core.quality.frames import Frame, prepare
from vae_core.quality.privacy import FALSE_ALARMS, closest_records, copies, membership, row_hashes
from vae_core.schema import Schema


@pytest.fixture(scope="module")
def frames(parts: dict[str, pa.Table], flights_schema: Schema) -> dict[str, Frame]:
    return prepare(parts | {"train": parts["train"][:2_000]}, flights_schema)


def test_copies_are_the_rows_that_are_equal_everywhere(frames: dict[str, Frame]) -> None:
    train, fresh = frames["train"], frames["fresh"]
    assert copies(train, train) == 1
    assert copies(train, fresh) == 0
    mixed = Frame(
        train.features, tuple(np.r_[a[:100], b[:300]] for a, b in zip(train.values, fresh.values, strict=True)), 400
    )
    assert copies(train, mixed) == pytest.approx(0.25)


def test_hashes_tell_rows_apart_and_know_missing_values() -> None:
    table = pa.table({"x": [0.0, -0.0, None, float("nan"), 1.0], "c": ["a", "a", None, None, "a"]})
    hashes = row_hashes(prepare({"a": table}, schema_of(table))["a"])
    assert hashes[0] == hashes[1] and hashes[2] == hashes[3]
    assert len(set(hashes.tolist())) == 3
    swapped = pa.table({"x": [1.0, 2.0], "y": [2.0, 1.0]})
    assert len(set(row_hashes(prepare({"a": swapped}, schema_of(swapped))["a"]).tolist())) == 2


def test_fresh_rows_are_as_near_to_either_side_and_copies_are_not(frames: dict[str, Frame]) -> None:
    fresh = closest_records(frames["train"], frames["holdout"], frames["fresh"])
    assert fresh.reference == 2_000
    assert fresh.share == pytest.approx(0.5, abs=2 * fresh.interval)
    assert fresh.train_p5 == pytest.approx(fresh.real_p5, rel=0.2)
    copied = closest_records(frames["train"], frames["holdout"], frames["train"])
    assert copied.share > 0.99 and copied.train_p5 == 0


def test_ties_count_half(frames: dict[str, Frame]) -> None:
    assert closest_records(frames["train"], frames["train"], frames["train"]).share == 0.5


def test_the_interval_covers_what_few_held_out_rows_leave_to_chance() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.standard_normal(800) for i in range(12)})
    every = prepare({"every": table}, schema_of(table))["every"]

    def rows(which: np.ndarray) -> Frame:
        return Frame(every.features, tuple(values[which] for values in every.values), len(which))

    covered, by_queries = [], []
    for _ in range(150):
        train, holdout, query = np.split(rng.permutation(800), [60, 120])
        found = closest_records(rows(train), rows(holdout), rows(query))
        covered.append(abs(found.share - 0.5) <= found.interval)
        by_queries.append(abs(found.share - 0.5) <= 0.98 / np.sqrt(found.queries))
    assert 0.9 <= np.mean(covered) <= 0.99
    assert np.mean(by_queries) < 0.8  # it is not the queries that are few


def test_distance_is_l1_on_scaled_numbers_and_two_for_another_category() -> None:
    train = pa.table({"x": [0.0, 10.0], "c": ["a", "a"]})
    query = pa.table({"x": [2.0], "c": ["b"]})
    frames = prepare({"train": train, "query": query}, schema_of(train))
    found = closest_records(frames["train"], frames["train"], frames["query"])
    assert found.train_p5 == pytest.approx(0.2 + 2)


def test_a_copied_row_lies_at_one_training_row_alone(frames: dict[str, Frame]) -> None:
    fresh = closest_records(frames["train"], frames["holdout"], frames["fresh"])
    assert fresh.ratio_p5 == pytest.approx(fresh.real_ratio_p5, abs=0.05)
    assert fresh.ratio_p5 == pytest.approx(fresh.holdout_ratio_p5, abs=0.05)
    copied = closest_records(frames["train"], frames["holdout"], frames["train"])
    assert copied.ratio_p5 == 0 < copied.holdout_ratio_p5


def test_twins_among_the_training_rows_are_no_single_row() -> None:
    train = pa.table({"x": [0.0, 0.0, 5.0, 5.0, 9.0, 9.0]})
    frames = prepare({"train": train, "query": train[::2]}, schema_of(train))
    assert closest_records(frames["train"], frames["train"], frames["query"]).ratio_p5 == 1


def test_the_attack_learns_nothing_of_fresh_rows_and_all_of_copies(frames: dict[str, Frame]) -> None:
    fresh = membership(frames["train"], frames["holdout"], frames["fresh"])
    assert fresh.auc == pytest.approx(0.5, abs=1.5 * fresh.interval)
    assert fresh.caught < 5 * FALSE_ALARMS
    assert (fresh.members, fresh.reference) == (2_000, 3_000)
    copied = membership(frames["train"], frames["holdout"], frames["train"])
    assert copied.auc > 0.99 and copied.caught > 0.99


def test_a_few_memorised_rows_hide_in_the_auc_and_show_among_the_surest(frames: dict[str, Frame]) -> None:
    train, fresh = frames["train"], frames["fresh"]
    leaky = Frame(
        train.features, tuple(np.r_[a[:100], b] for a, b in zip(train.values, fresh.values, strict=True)), 3_100
    )
    found = membership(train, frames["holdout"], leaky)
    assert found.auc < 0.55
    assert found.caught > 4 * FALSE_ALARMS
