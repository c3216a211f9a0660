"""Columns of few levels share a code: rows come back the same, and no combination is made that the source hasn't."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.settled import settled

ROWS = 3_000


def household(seed: int = 0, rows: int = ROWS) -> pa.Table:
    """Sex goes with relation, vote and colour with region, and so does the label, which stands last.

    A split column and a Gaussian one stand between them.
    """
    rng = np.random.default_rng(seed)
    relation, region = rng.integers(0, 5, rows), rng.integers(0, 4, rows)
    sex = np.where(relation < 2, relation, rng.integers(0, 2, rows))
    vote, colour = (rng.integers(0, 3, rows) + region) // 2, np.where(rng.random(rows) < 0.9, region, 0)
    return pa.table(
        {
            "relation": pa.array([f"r{k}" for k in relation]),
            "income": pa.array(rng.integers(0, 60, rows)),
            "sex": pa.array([None if k == 4 else "fm"[s] for k, s in zip(relation, sex, strict=True)]),
            "weight": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.1),
            "vote": pa.array([f"v{k}" for k in vote]),
            "region": pa.array([f"g{k}" for k in region]),
            "colour": pa.array([f"c{k}" for k in colour]),
            "label": pa.array(rng.random(rows) < (1 + region) / 5),
        }
    )


def combinations(table: pa.Table | pa.RecordBatch, names: list[str]) -> set[tuple]:
    return set(zip(*(table[name].to_pylist() for name in names), strict=True))


def joined(codec: Codec) -> list[list[str]]:
    return [name.split(" × ") for sub in codec.sub_columns if " × " in (name := sub.column)]


def test_rows_come_back_and_new_rows_have_combinations_of_the_source(fit, random_codes):
    table = household()
    codec = fit(table, likelihoods={"weight": "gaussian"})
    assert joined(codec) == [["relation", "sex"], ["vote", "region", "colour"]]  # the label has a head of its own

    encoded = codec.encode(table)
    assert encoded.codes.shape == (ROWS, len(codec.sub_columns))
    assert (encoded.codes.max(axis=0) < [sub.size for sub in codec.sub_columns]).all()
    back = codec.decode(encoded.codes, encoded.values, 0)
    for name in table.column_names:
        if name != "weight":
            assert back[name].equals(table[name].combine_chunks())
    assert back["weight"].is_null().equals(table["weight"].combine_chunks().is_null())
    assert (settled(codec, encoded.codes, encoded.values) == encoded.codes).all()

    codes = random_codes(codec, 20_000)
    made = codec.decode(codes, np.zeros((20_000, codec.positions), np.float32), 0)
    for names in joined(codec):
        assert combinations(made, names) == combinations(table, names)
    assert len(combinations(made, ["relation", "region"])) == 20  # columns that are apart combine freely


def test_a_joint_code_is_in_the_file(fit):
    codec = fit(household())
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest and [s.name for s in again.sub_columns] == [s.name for s in codec.sub_columns]
    assert (again.encode(household(1)).codes == codec.encode(household(1)).codes).all()


def test_a_combination_that_the_source_lacks_is_taken_as_the_nearest(fit):
    table = household()
    codec = fit(table)
    strange = table.slice(0, 1).set_column(0, "relation", pa.array(["r0"])).set_column(2, "sex", pa.array(["m"]))
    assert ("r0", "m") not in combinations(table, ["relation", "sex"])
    (back,) = codec.decode(codec.encode(strange).codes, None, 0).select(["relation", "sex"]).to_pylist()
    assert (back["relation"], back["sex"]) in combinations(table, ["relation", "sex"])
    assert back["relation"] == "r0" or back["sex"] == "m"


@pytest.mark.parametrize(("config", "rows"), [({"joint_codes": 1}, ROWS), ({}, 100)])
def test_off_or_with_few_rows_each_column_has_its_own_code(config, rows, fit):
    table = household(rows=rows)
    codec = fit(table, **config)
    assert joined(codec) == []
    assert codec.encode(table).codes.shape[1] == len(codec.joining.plain)


def test_what_is_withheld_of_a_column_is_withheld_in_its_joint_code(fit, random_codes):
    table = household()
    sex = ["x" if k < 3 else value for k, value in enumerate(table["sex"].to_pylist())]
    table = table.set_column(2, "sex", pa.array(sex))
    codec = fit(table, min_frequency=5)
    assert ["relation", "sex"] in joined(codec)
    assert "x" not in codec.decode(random_codes(codec, 20_000), None, 0)["sex"].to_pylist()
    assert codec.decode(codec.encode(table).codes, None, 0).num_rows == ROWS


@given(
    sizes=st.lists(st.integers(2, 7), min_size=2, max_size=6),
    noise=st.floats(0, 1),
    limit=st.integers(1, 64),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_a_joint_code_is_small_and_loses_nothing(fit, sizes, noise, limit, seed):
    rng = np.random.default_rng(seed)
    common = rng.integers(0, 42, 1_000)
    columns = [np.where(rng.random(1_000) < noise, rng.integers(0, s, 1_000), common * s // 42) for s in sizes]
    table = pa.table({f"c{k}": pa.array([f"l{v}" for v in column]) for k, column in enumerate(columns)})
    codec = fit(table, joint_codes=limit, min_frequency=1, atom_rows=1)
    for sub in codec.sub_columns:
        assert " × " not in sub.name or sub.size <= min(limit, 1_000 // 50)
    assert codec.decode(codec.encode(table).codes, None, 0).equals(table.to_batches()[0])
