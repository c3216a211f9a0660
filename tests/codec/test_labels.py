"""Whole numbers that are names are levels; amounts, ages and counts stay numbers."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from vae_core.codec import Codec

Fit = Callable[..., Codec]
ROWS = 20_000
DISTRICTS = 90


def town(seed: int = 0) -> dict[str, np.ndarray]:
    """People of districts, whose numbers say nothing of where they lie; ages, and what goes with both."""
    rng = np.random.default_rng(seed)
    number = rng.permutation(400)[:DISTRICTS]
    wealth, flat = rng.normal(size=DISTRICTS), rng.random(DISTRICTS)
    district, age = rng.integers(0, DISTRICTS, ROWS), rng.integers(18, 90, ROWS)
    return {
        "district": number[district],
        "age": age,
        "visits": np.where(rng.random(ROWS) < 0.6, 0, rng.geometric(0.05, ROWS)),
        "income": np.round(1_000 * np.exp(wealth[district] + 0.01 * age + rng.normal(0, 0.3, ROWS)), 2),
        "home": np.where(rng.random(ROWS) < flat[district], "flat", "house"),
    }


def labels(codec: Codec) -> list[str]:
    return [name for name, law in codec.laws if law.startswith("is a label")]


@pytest.mark.parametrize("kind", [pa.int16(), pa.int64(), pa.float64()])
def test_names_of_districts_are_labels(kind: pa.DataType, fit: Fit, random_codes, positions) -> None:
    people = town()
    absent = np.random.default_rng(1).random(ROWS) < 0.1
    table = pa.table(people | {"district": pa.array(people["district"], kind, mask=absent)})
    codec = fit(table)
    assert labels(codec) == ["district"]
    assert all(sub.ordered == 0 for sub in codec.sub_columns if sub.column == "district")
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    given = again.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    assert given.schema.equals(table.schema)
    assert set(given["district"].drop_null().to_pylist()) == set(people["district"].tolist())
    assert 0 < given["district"].null_count < 5_000
    assert again.decode(codec.encode(table).codes, None, 0)["district"].equals(table["district"].combine_chunks())


def test_ordered_numbers_stay_numbers(fit: Fit) -> None:
    people = town()
    ordered = people | {"district": np.argsort(np.argsort(people["income"])) * DISTRICTS // ROWS}
    assert labels(fit(pa.table(ordered))) == []
    assert labels(fit(pa.table({name: people[name] for name in ("district", "visits")}))) == []  # nothing is foretold


def test_many_rare_numbers_stay_numbers(fit: Fit) -> None:
    """As levels they would be pooled, and never given."""
    people = town()
    rare = np.random.default_rng(1).random(ROWS) < 0.03
    people["district"] = np.where(rare, 1_000 + np.arange(ROWS) // 3, people["district"])
    assert labels(fit(pa.table(people), min_frequency=5)) == []
    assert labels(fit(pa.table(people), min_frequency=1)) == ["district"]


def test_they_can_be_kept_as_numbers(fit: Fit) -> None:
    assert labels(fit(pa.table(town()), labels=False)) == []


def test_flight_numbers_are_labels(fit: Fit, flights: pa.Table) -> None:
    wanted = ["carrier", "origin", "dest", "distance", "flight", "air_time", "dep_delay"]
    assert labels(fit(flights.select(wanted), min_frequency=1)) == ["flight"]
