"""Numbers that are made of others have the digits of the source's, to the last."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_core.codec import Codec
from vae_core.codec.relations import How
from vae_core.codec.writing import Writing

Fit = Callable[..., Codec]
ROWS = 4_000


@given(values=st.lists(st.floats(1e-6, 1e12) | st.floats(-1e12, -1e-6), min_size=1), single=st.booleans())
def test_numbers_are_rounded_as_if_they_were_written(values: list[float], single: bool) -> None:
    made = Writing(single=single, digits=15)(np.array(values))
    known = np.array(values, np.float32).astype(np.float64) if single else values
    assert made.tolist() == [float(f"{value:.15g}") for value in known]


WRITTEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "double": lambda x: x,
    "single": lambda x: x.astype(np.float32).astype(np.float64),
    "15 digits": lambda x: np.array([float(f"{v:.15g}") for v in x]),
    "15 digits of single": lambda x: np.array([float(f"{v:.15g}") for v in x.astype(np.float32).tolist()]),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("wrong", [0.0, 0.2])
def test_sums_of_numbers_without_a_last_decimal_are_written_as_the_sources(
    wrong: float, written: str, fit: Fit, random_codes, positions
) -> None:
    """Of a household: where a wife earns nothing the income is her husband's, to the last digit."""
    write, rng = WRITTEN[written], np.random.default_rng(0)
    wages = [np.exp(rng.normal(3, 0.7, ROWS)), np.where(rng.random(ROWS) < 0.4, 0, np.exp(rng.normal(2, 0.9, ROWS)))]
    his, hers = (write(wage) for wage in wages)
    table = pa.table({"his": his, "hers": hers, "all": write(his + hers + 7.25 * (rng.random(ROWS) < wrong))})
    codec = fit(table, extremes=1)
    assert [(relation.how, relation.column) for relation in codec.relations] == [(How.SUM, 2)]
    for decoded in (
        codec.decode(codec.encode(table).codes, None, 0),
        codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0),
    ):
        his, hers, both = (decoded[name].to_numpy() for name in ("his", "hers", "all"))
        assert np.array_equal(both, write(both))
        exact = np.abs(both - his - hers) < 1e-3
        inside = (both > table["all"].to_numpy().min()) & (both < table["all"].to_numpy().max())
        assert exact[inside].mean() > (0.98 if not wrong else 0.45)
        assert np.array_equal(both[exact & inside], write(his + hers)[exact & inside])
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
