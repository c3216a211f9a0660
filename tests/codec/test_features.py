"""What trees are told of a row is about its values alone, and sets tell every level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from vae_core.codec import Codec
from vae_core.codec.features import SET, Features

Fit = Callable[..., Codec]


@pytest.fixture(scope="module")
def codec(fit: Fit) -> Codec:
    """Names of 5, 70 and 400 levels, one that another determines, a number with missing ones, a sum with exceptions."""
    rng = np.random.default_rng(0)
    n = 6_000
    few, some, many = (rng.integers(0, size, n) for size in (5, 70, 400))
    price, tip = rng.integers(100, 9_000, n) / 100, rng.integers(0, 300, n) / 100
    total = np.where(rng.random(n) < 0.02, 1.0, np.round(price + tip, 2))
    table = {
        "few": pa.array([f"f{k}" for k in few]),
        "some": pa.array([f"s{k}" for k in some]),
        "many": pa.array([f"m{k}" for k in many]),
        "region": pa.array([f"r{k % 7}" for k in some]),
        "price": pa.array(price, mask=rng.random(n) < 0.1),
        "tip": pa.array(tip),
        "total": pa.array(total),
    }
    return fit(pa.table(table), min_frequency=1, atom_rows=1, extremes=1)


def made(codec: Codec, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    codes = np.stack([rng.integers(0, sub.size, rows) for sub in codec.sub_columns], axis=1).astype(np.int32)
    return codes, rng.random((rows, codec.positions), dtype=np.float32)


def test_features_are_those_of_the_values(codec: Codec) -> None:
    features = Features(codec)
    table = codec.decode(*made(codec, 2_000), 0)
    codes = codec.encode(table).codes
    position = np.random.default_rng(2).random((2_000, codec.positions), dtype=np.float32)
    again = codec.encode(codec.decode(codes, position, 0)).codes
    made_up = {relation.column for relation in codec.relations}  # sums beyond the column's extremes are cut off
    leaves = [feature.column not in made_up for feature in features.all]
    assert 0 < sum(leaves) < len(leaves)
    assert np.array_equal(features(codes, position)[:, leaves], features(again, position)[:, leaves])


def test_sets_tell_every_level_and_numbers_lie_where_they_say(codec: Codec) -> None:
    features = Features(codec)
    codes, position = made(codec, 5_000)
    values = features(codes, position)
    for j, feature in enumerate(features.sized):
        assert set(np.unique(values[:, j])) <= set(range(feature.size))
    column = {name: k for k, name in enumerate(codec.schema.arrow.names)}
    levels = {f.column for f in features.sized if f.levels}
    assert levels >= {column[name] for name in ("few", "some", "region", "many")}
    assert not levels & {column["price"], column["tip"]}
    sets = {name: [j for j in range(features.sets) if features.all[j].column == column[name]] for name in column}
    assert {name: len(own) for name, own in sets.items()} | {"few": 1, "some": 3, "region": 1, "many": 0} == {
        name: len(own) for name, own in sets.items()
    }
    assert set(np.unique(values[:, sets["some"][0]])) == set(range(1, SET + 2))
    assert set(np.unique(values[:, sets["some"][1]])) == set(range(SET + 2))
    told = codec.decode(codes, position, 0).column("some").to_pylist()
    pairs = {(tuple(row), name) for row, name in zip(values[:, sets["some"]].tolist(), told, strict=True)}
    assert len(pairs) == len({row for row, _ in pairs}) == len({name for _, name in pairs}) > 2 * SET


def test_what_a_relation_makes_is_told_as_it_is_written(codec: Codec) -> None:
    features = Features(codec)
    (j,) = (j for j, feature in enumerate(features.all) if feature.part is None)
    codes, position = made(codec, 1_000)
    assert j >= len(features.sized) and features.all[j].column == codec.relations[0].column
    written = codec.decode(codes, position, 0).column(features.all[j].column).to_numpy(zero_copy_only=False)
    assert np.array_equal(features(codes, position)[:, j], np.nan_to_num(written).astype(np.float32))


def test_rows_out_of_order_are_told_as_they_are_written(fit: Fit) -> None:
    rng = np.random.default_rng(3)
    low = rng.integers(0, 500, 4_000)
    ordered = fit(
        pa.table({"low": low, "high": low + rng.integers(0, 300, 4_000)}), min_frequency=1, atom_rows=1, extremes=1
    )
    assert ordered.orders
    codes, position = made(ordered, 3_000)
    written = ordered.encode(ordered.decode(codes, position, 0)).codes
    assert not np.array_equal(codes, written)
    assert np.array_equal(Features(ordered)(codes, position), Features(ordered)(written, position))
