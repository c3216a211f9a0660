"""A column that is one divided by another is so in every row, whatever the codes."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from vae_core.codec import Codec
from vae_core.codec.laws import laws

Fit = Callable[..., Codec]
ROWS = 4_000


def sold(seed: int = 0) -> dict[str, np.ndarray]:
    """What things cost by the piece, what share of it is earned, how often what was shown was bought."""
    rng = np.random.default_rng(seed)
    revenue, pieces = rng.lognormal(6, 1, ROWS).round(2), rng.integers(1, 90, ROWS)
    earned, shown = (revenue * rng.beta(2, 8, ROWS)).round(2), rng.integers(0, 300, ROWS)
    bought = rng.binomial(shown, 0.3)
    return {
        "per piece": (revenue / pieces).round(2),
        "revenue": revenue,
        "pieces": pieces,
        "earned": earned,
        "share": np.floor(1e4 * earned / revenue) / 1e4,  # cut off, not rounded
        "shown": shown,
        "bought": bought,
        "rate": np.where(shown > 0, 100 * bought / np.maximum(shown, 1), -1),  # to the last bit
        "age": rng.integers(18, 90, ROWS),
    }


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.table(sold())


@pytest.fixture(scope="module")
def codec(table: pa.Table, fit: Fit) -> Codec:
    return fit(table)


def said(codec: Codec) -> dict[str, str]:
    """What is told of each column that isn't learned by itself."""
    told = [(name, why) for name, why in laws(codec) if "is never" not in why]
    return {name: why.removesuffix(", except where the source differs") for name, why in told}


def off(codec: Codec, made: pa.RecordBatch | pa.Table, name: str, quotient: np.ndarray) -> float:
    """The farthest that a row lies from a quotient, kept within what is given of the column."""
    column = made.schema.names.index(name)
    limits = next(relation.limits for relation in codec.relations if relation.column == column)
    assert limits is not None
    return float(np.abs(made[name].to_numpy() - quotient.clip(*limits)).max())


def test_quotients_are_found_and_nothing_else(codec: Codec) -> None:
    assert said(codec) == {
        "per piece": "is revenue / pieces",
        "share": "is earned / revenue",
        "bought": "is 0.01 × shown × rate",  # what is a product, too, is told as one
    }


@pytest.mark.parametrize("random", [True, False])
def test_all_rows_are_quotients(codec: Codec, table: pa.Table, random: bool, random_codes, positions) -> None:
    codes, position = (
        (random_codes(codec, 5_000), positions(codec, 5_000)) if random else (codec.encode(table).codes, None)
    )
    made = codec.decode(codes, position, 0)
    x = {name: made[name].to_numpy() for name in made.schema.names}
    # A cent is rounded either way where it lies between two: the rest of such rows is learned.
    assert off(codec, made, "per piece", x["revenue"] / x["pieces"]) < 0.0151
    assert off(codec, made, "share", x["earned"] / x["revenue"]) < 0.00021


def test_a_codec_with_quotients_survives_json(codec: Codec, table: pa.Table) -> None:
    again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.digest == codec.digest
    codes = codec.encode(table).codes
    assert again.decode(codes, None, 0).equals(codec.decode(codes, None, 0))


def test_by_nought_it_is_what_it_is_in_the_source(fit: Fit, random_codes, positions) -> None:
    rng = np.random.default_rng(0)
    bottom = np.where(rng.random(ROWS) < 0.2, 0, rng.integers(1, 400, ROWS))
    top = rng.gamma(2, 300, ROWS).round(1)
    table = pa.table(
        {"top": top, "bottom": bottom, "ratio": np.where(bottom, top / np.maximum(bottom, 1), -1).round(2)}
    )
    codec = fit(table)
    assert said(codec) == {"ratio": "is top / bottom"}
    made = codec.decode(random_codes(codec, 5_000), positions(codec, 5_000), 0)
    nought = made["bottom"].to_numpy() == 0
    quotient = np.where(nought, -1, made["top"].to_numpy() / np.where(nought, 1, made["bottom"].to_numpy()))
    assert nought.any() and off(codec, made, "ratio", quotient) < 0.0151


def test_the_last_digits_are_the_sources(fit: Fit, random_codes) -> None:
    """Where what is divided has few values, it is learned by itself, and the rate is none of a product."""
    rng = np.random.default_rng(0)
    shown = rng.integers(50, 300, ROWS)
    bought = rng.binomial(shown, 0.06)
    codec = fit(pa.table({"shown": shown, "bought": bought, "rate": bought / shown}))
    assert said(codec) == {"rate": "is bought / shown"}
    made = codec.decode(random_codes(codec, 5_000), None, 0)
    exact = made["bought"].to_numpy() / made["shown"].to_numpy()
    limits = codec.relations[0].limits
    assert limits is not None and np.array_equal(made["rate"].to_numpy(), exact.clip(*limits))


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_quotient(seed: int, fit: Fit) -> None:
    rng = np.random.default_rng(seed)
    top, bottom = rng.lognormal(3, 1, ROWS), rng.lognormal(0, 0.5, ROWS)
    table = pa.table({"top": top, "bottom": bottom, "near": (top / bottom * rng.normal(1, 0.01, ROWS)).round(3)})
    assert not said(fit(table))
