"""What says in which interval a number lies follows from the number in every row, whatever the codes."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.laws import laws

Fit = Callable[..., Codec]
ROWS = 4_000
BRACKETS = np.array(["low", "middle", "high", "higher"])


def people(seed: int = 0) -> dict[str, np.ndarray]:
    """Ages and who is of age, incomes and their brackets, earnings and who has none."""
    rng = np.random.default_rng(seed)
    income, age = rng.lognormal(10, 0.8, ROWS).round(2), rng.uniform(0, 89.9, ROWS).round(3)
    earned = np.where(rng.random(ROWS) < 0.3, 0.0, rng.lognormal(8, 1, ROWS).round(2))
    return {
        "bracket": BRACKETS[np.searchsorted([12_000, 25_000, 60_000], income, side="right")],
        "income": income,
        "age": age,
        "adult": age >= 18,
        "decade": (age // 10).astype(int),
        "earned": earned,
        "idle": (earned == 0).astype(int),
        "other": rng.normal(size=ROWS),
    }


def consistent(made: pa.RecordBatch | pa.Table) -> bool:
    """Whether each row's interval is that of its number."""
    x = {name: made[name].to_numpy(zero_copy_only=False) for name in made.schema.names if name != "bracket"}
    bracket = BRACKETS[np.searchsorted([12_000, 25_000, 60_000], x["income"], side="right")]
    said = np.array(made["bracket"].to_pylist())
    return bool(
        (said == bracket).all()
        and (x["adult"] == (x["age"] >= 18)).all()
        and (x["decade"] == x["age"] // 10).all()
        and (x["idle"] == (x["earned"] == 0)).all()
    )


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.table(people())


@pytest.fixture(scope="module")
def codec(table: pa.Table, fit: Fit) -> Codec:
    return fit(table)


def test_steps_are_found_and_nothing_else(codec: Codec) -> None:
    assert dict(laws(codec)) == {
        "bracket": "follows from income",
        "adult": "follows from age",
        "decade": "follows from age",
        "idle": "follows from earned",
    }
    assert {sub.column for sub in codec.sub_columns} == {"income", "age", "earned", "other"}


def test_any_codes_are_consistent(codec: Codec, random_codes, positions) -> None:
    made = codec.decode(random_codes(codec, 20_000), positions(codec, 20_000), 0)
    assert consistent(made)
    assert len(np.unique(made["income"])) > 5_000  # which are still drawn inside bins


def test_rows_come_back(codec: Codec, table: pa.Table) -> None:
    back = codec.decode(codec.encode(table).codes, None, 0)
    assert consistent(back) and back.schema.equals(table.schema)
    assert back["bracket"].to_pylist() == table["bracket"].to_pylist()


def test_a_codec_with_steps_survives_json(codec: Codec, table: pa.Table, positions) -> None:
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    codes, position = codec.encode(table).codes, positions(codec, ROWS)
    assert again.decode(codes, position, 0).equals(codec.decode(codes, position, 0))


def test_where_the_number_is_missing_the_part_is_what_it_is_there(fit: Fit, random_codes, positions) -> None:
    rng = np.random.default_rng(1)
    score, missing = rng.normal(size=ROWS), rng.random(ROWS) < 0.1
    grade = np.where(missing, "none", np.where(score > 0.5, "good", "poor"))
    codec = fit(pa.table({"score": pa.array(score, mask=missing), "grade": grade}))
    assert dict(laws(codec)) == {"grade": "follows from score"}
    made = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    score, grade = made["score"].to_numpy(zero_copy_only=False), np.array(made["grade"].to_pylist())
    assert (grade == np.where(np.isnan(score), "none", np.where(score > 0.5, "good", "poor"))).all()


def test_a_number_that_is_never_less_than_another_one_stays_so(fit: Fit) -> None:
    """Rather than saying what follows from it: values that change places would no longer be in their intervals."""
    rng = np.random.default_rng(0)
    low = rng.gamma(2, 20, ROWS).round(2)
    table = pa.table({"low": low, "high": (low + rng.gamma(2, 20, ROWS)).round(2), "cheap": low < 10})
    assert dict(laws(fit(table))) == {"high": "is never less than low"}


def test_few_rows_have_no_bin_of_their_own(fit: Fit, random_codes, positions) -> None:
    """Between two cuts as elsewhere: what is drawn there would be theirs."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random(ROWS) < 0.3, 0.0, rng.uniform(1, 9, ROWS).round(3))
    x[:3] = 0.1, 0.2, 0.3
    codec = fit(pa.table({"x": x, "y": x < 1, "z": rng.normal(size=ROWS)}))
    assert dict(laws(codec)) == {"y": "follows from x"}
    made = codec.decode(random_codes(codec, 20_000), positions(codec, 20_000), 0)["x"].to_numpy()
    assert not ((made > 0) & (made < 1)).any() and (made == 0).any()


def test_what_another_follows_from_follows_from_none(fit: Fit, random_codes, positions) -> None:
    """Rare steps are in bins, so that a number may have few enough values to be in intervals of another one."""
    rng = np.random.default_rng(0)
    x = rng.exponential(4, ROWS).round(3)
    step = 40 - 2 * np.floor(x)
    codec = fit(pa.table({"step": step, "late": step <= 30, "x": x}))
    made = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    assert dict(laws(codec))["late"] == "follows from step"
    assert (made["late"].to_numpy(zero_copy_only=False) == (made["step"].to_numpy() <= 30)).all()


@given(
    edges=st.lists(st.integers(-15, 15), min_size=1, max_size=12, unique=True),
    exceptions=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_any_intervals(edges: list[int], exceptions: int, seed: int, fit: Fit, positions, random_codes) -> None:
    """Whatever they are; a single row that is in none of them means that there are none."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 8, ROWS).round(3)
    interval = np.searchsorted(np.sort(edges), x, side="right") * 7 % 5
    wrong = rng.choice(np.flatnonzero(np.abs(x) < 8), exceptions, replace=False)
    y = interval.copy()
    y[wrong] = (y[wrong] + 1) % 5
    codec = fit(pa.table({"x": x, "y": y, "z": rng.integers(0, 9, ROWS)}))
    follows = dict(laws(codec)).get("y") == "follows from x"
    rows = np.unique(np.searchsorted(np.sort(edges), x, side="right"), return_counts=True)[1]
    if len(rows) > 1 and rows.min() >= 8 and len(set(interval)) > 1 and not exceptions:
        assert follows
    if exceptions:
        assert not follows
    if follows:
        made = codec.decode(random_codes(codec, 3_000), positions(codec, 3_000), 0)
        at = np.searchsorted(np.sort(edges), made["x"].to_numpy(), side="right") * 7 % 5
        assert (made["y"].to_numpy() == at).all()
