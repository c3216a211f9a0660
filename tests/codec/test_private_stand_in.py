"""The stand-in of a table that a private codec learns from: noisy marginals, and nothing of single rows."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm
from sklearn.datasets import load_wine

from vae_core.codec import Codec
from vae_core.codec.private import Release, count_releases, normal, public_schema, stand_in, uniform
from vae_core.config import CodecConfig, PublicColumn
from vae_core.errors import ConfigError
from vae_core.schema import Column, Kind, Schema

SHARP = Release(deviation=0.01, threshold=1.05)


def wine() -> pa.Table:
    data = load_wine(as_frame=True)
    frame = data.data.iloc[:, :4].assign(kind=data.target.map(dict(enumerate(data.target_names))))
    frame.loc[::7, "ash"] = math.nan
    return pa.Table.from_pandas(frame, preserve_index=False)


def schema_of(table: pa.Table, **kinds: Kind) -> Schema:
    by_type = {True: Kind.REAL, False: Kind.CATEGORICAL}
    columns = tuple(Column(f.name, kinds.get(f.name, by_type[pa.types.is_floating(f.type)]), "") for f in table.schema)
    return Schema(table.schema, columns, len(table))


def test_noise_is_standard_normal():
    drawn = normal(400_001)
    assert len(drawn) == 400_001
    for z in (-2.0, -1.0, 0.0, 1.0, 2.0):
        assert (drawn < z).mean() == pytest.approx(norm.cdf(z), abs=0.005)
    assert not np.array_equal(uniform(100), uniform(100))


def test_without_noise_the_stand_in_has_the_marginals():
    table = wine()
    stand = stand_in(table, schema_of(table), {}, SHARP)
    assert stand.schema == table.schema
    real, made = table.to_pandas(), stand.to_pandas()
    assert len(made) == len(real)
    assert (made["kind"].value_counts() == real["kind"].value_counts()).all()
    assert made["ash"].isna().sum() == real["ash"].isna().sum()
    for name in ("alcohol", "malic_acid", "ash", "alcalinity_of_ash"):
        a, b = np.sort(real[name].dropna()), np.sort(made[name].dropna())
        assert np.abs(a - b).max() < 0.05 * (a[-1] - a[0])


def test_columns_of_the_stand_in_are_independent():
    x = np.random.default_rng(0).normal(size=5000)
    table = pa.table({"x": x, "y": x})
    stand = stand_in(table, schema_of(table), {}, SHARP).to_pandas()
    assert abs(np.corrcoef(stand["x"], stand["y"])[0, 1]) < 0.05


def test_a_value_of_one_row_is_not_let_out():
    levels = ["common"] * 5000 + ["secret"]
    table = pa.table({"level": levels, "number": pa.array([1.5] * 5000 + [123456.789])})
    deviation = 20.0
    release = Release.of(deviation, 1e-6, 2)
    for _ in range(20):
        stand = stand_in(table, schema_of(table), {}, release)
        assert "secret" not in stand["level"].to_pylist()
        assert max(stand["number"].drop_null().to_pylist()) < 1000


def test_rows_are_let_out_as_rarely_as_delta_says():
    release = Release.of(3.0, 0.02, 1)
    out = sum(bool(release.counts(np.ones(1))[0] > release.threshold) for _ in range(20_000))
    assert out / 20_000 == pytest.approx(0.02, abs=0.005)


def test_nothing_lies_outside_the_range_of_the_user():
    generator = np.random.default_rng(1)
    table = pa.table({"x": generator.normal(0, 100, 4000), "n": generator.integers(-500, 500, 4000)})
    schema = schema_of(table, n=Kind.INTEGER)
    public = {"x": PublicColumn(minimum=-10, maximum=20), "n": PublicColumn(minimum=0, maximum=7)}
    stand = stand_in(table, schema, public, Release.of(5.0, 1e-6, 2)).to_pandas()
    assert stand["x"].between(-10, 20).all()
    assert stand["n"].isin(range(8)).all()
    assert stand["n"].min() == 0
    assert stand["n"].max() == 7


def test_levels_of_the_user_are_the_only_ones():
    table = pa.table({"level": ["a"] * 3000 + ["b"] * 3 + ["c"] * 3000})
    public = {"level": PublicColumn(levels=["a", "b", "z"])}
    stand = stand_in(table, schema_of(table), public, Release.of(50.0, 1e-6, 1))
    assert set(stand["level"].to_pylist()) <= {"a", "b", "z"}


@pytest.mark.parametrize(
    ("public", "message"),
    [
        ({"colour": PublicColumn()}, "no column 'colour'"),
        ({"kind": PublicColumn(minimum=0, maximum=1)}, "a range is for numbers"),
        ({"ash": PublicColumn(levels=["a"])}, "levels are for categories"),
    ],
)
def test_what_is_public_must_fit_the_columns(public, message):
    with pytest.raises(ConfigError, match=message):
        stand_in(wine(), schema_of(wine()), public, SHARP)


def test_every_kind_of_column_has_a_stand_in():
    n = 4000
    generator = np.random.default_rng(0)
    moments = np.datetime64("2020-01-06T08:00") + generator.integers(0, 60 * 24 * 300, n).astype("timedelta64[m]")
    table = pa.table(
        {
            "id": np.arange(n),
            "code": [f"K{i:05d}" for i in range(n)],
            "text": [f"some words {i}" for i in range(n)],
            "empty": pa.nulls(n),
            "constant": ["same"] * n,
            "at": pa.array(moments.astype("datetime64[us]"), pa.timestamp("us", "Europe/Berlin")),
            "day": pa.array(moments.astype("datetime64[D]")),
            "time": pa.array(generator.integers(0, 86_399, n).astype(np.int32), pa.time32("s")),
            "flag": pa.array(generator.random(n) < 0.3),
            "price": pa.array(generator.integers(0, 9999, n).astype(np.int32)).cast(pa.decimal128(12, 2)),
            "half": pa.array(generator.integers(0, 100, n) / 2),
            "coded": pa.array(list("xyz" * n)[:n]).dictionary_encode(),
        }
    )
    kinds = {
        "id": Kind.IDENTIFIER, "code": Kind.IDENTIFIER, "text": Kind.TEXT, "empty": Kind.EMPTY,
        "constant": Kind.CONSTANT, "at": Kind.TIMESTAMP, "day": Kind.DATE, "time": Kind.TIME, "flag": Kind.BOOLEAN,
        "price": Kind.DECIMAL, "half": Kind.REAL,
    }  # fmt: skip
    schema = schema_of(table, **kinds)
    assert count_releases(schema) == (3 * (3 + 2 + 1 + 1 + 1) + 3, 3 + 2 + 1 + 1 + 1 + 3)
    stand = stand_in(table, schema, {}, Release.of(3.0, 1e-6, 11))
    assert stand.schema == table.schema
    codec = Codec.fit(stand, public_schema(schema), CodecConfig())
    made = codec.decode(codec.encode(table).codes, None, 0)
    assert made.schema == table.schema
    assert set(np.mod(made["half"].to_numpy() * 2, 1)) == {0.0}  # the grid is told by the atoms
    assert set(made["constant"].to_pylist()) == {"same"}
