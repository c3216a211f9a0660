"""Rows drawn again: none is like a rare row of the source, and a row is a function of model, seed and number alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
from generation_runs import tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_core.codec import RareRows
from vae_core.codec.inside import numbers_of_rows
from vae_core.codec.rare_rows import FILE, hashes
from vae_core.codec.settled import rare as find_rare
from vae_core.config import CodecConfig, GenerationConfig, SchemaConfig, TrainingConfig
from vae_core.errors import ArtifactError
from vae_core.export import export
from vae_core.generation import BLOCK, Sampler, generate
from vae_core.generation.draws import ATTEMPTS
from vae_core.generation.noise import chances
from vae_core.ingest import ingest
from vae_core.store import Artifact, Store
from vae_core.training import train

COLUMNS = ["month", "dep_delay", "carrier", "origin", "distance"]
few = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


def learn(table: pa.Table, folder: Path, **codec: int) -> Artifact:
    store = Store(folder)
    config = TrainingConfig(max_steps=200, hidden=32, latent_dim=4, device="cpu", codec=CodecConfig(**codec))
    return export(train(ingest(table, SchemaConfig(), store, "x"), config, store, "x"))


@pytest.fixture(scope="module")
def source(flights: pa.Table) -> pa.Table:
    """3,000 flights of few columns: a model of them makes many of these very rows."""
    delay = pa.array(np.round(flights["dep_delay"].fill_null(0).to_numpy() / 15).astype(np.int64))
    return flights.select(COLUMNS).set_column(1, "dep_delay", delay).slice(0, 3_000)


@pytest.fixture(scope="module")
def learned(source: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return learn(source, tmp_path_factory.mktemp("rare"))


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    return list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))


def rare(table: pa.Table, fewer: int) -> set[tuple[object, ...]]:
    """The rows of `table` that fewer than so many are equal to."""
    return {row for row, count in Counter(rows(table)).items() if count < fewer}


def test_rare_rows_are_never_made_and_would_be(learned: Artifact, source: pa.Table) -> None:
    hidden = rare(source, 5)
    free, safe = (rows(Sampler(learned, device="cpu", reject=reject).sample(20_000, 3)) for reject in (False, True))
    assert sum(row in hidden for row in free) > 500
    assert hidden.isdisjoint(safe)
    assert len(set(safe) & set(rows(source))) > 50  # common rows are made as ever
    same = [a == b for a, b in zip(free, safe, strict=True)]
    assert all(kept for row, kept in zip(free, same, strict=True) if row not in hidden)
    redrawn = Sampler(learned, reject=False).redrawn(20_000, 3)
    assert 500 < redrawn.first == 20_000 - sum(same) < redrawn.draws and redrawn.stayed == 0


def test_a_generated_dataset_has_none(learned: Artifact, source: pa.Table, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    generate(learned, GenerationConfig(rows=20_000, seed=3, output=str(tmp_path / "out")), Store(tmp_path))
    made = pq.read_table(tmp_path / "out")
    assert rare(source, 5).isdisjoint(rows(made))
    assert made.equals(Sampler(learned).sample(20_000, 3).cast(made.schema))


def test_it_can_be_turned_off(source: pa.Table, tmp_path: Path) -> None:
    model = learn(source, tmp_path, min_row_frequency=1)
    assert FILE not in model.manifest["files"] and Sampler(model).rare is None
    assert set(rows(Sampler(model, device="cpu").sample(20_000))) & rare(source, 5)
    protections = json.loads(model.file("training.json").read_text())["protections"]
    assert (protections["min_row_frequency"], protections["rare_rows"]) == (1, 0)


@given(st.integers(0, 2 * BLOCK), st.integers(1, BLOCK + 700), st.integers(0, 2**64), st.integers(64, 5_000))
@few
def test_a_row_depends_on_its_number_alone(learned: Artifact, first: int, count: int, seed: int, batch: int) -> None:
    sampler = Sampler(learned, device="cpu")
    whole = sampler.sample(count, seed, first)
    cut = count // 3
    parts = [sampler.sample(cut, seed, first), sampler.sample(count - cut, seed, first + cut)]
    assert whole.equals(pa.concat_tables(parts).combine_chunks())
    assert whole.equals(pa.Table.from_batches(sampler.batches(count, seed, first)).combine_chunks())
    assert whole.equals(Sampler(learned, device="cpu", batch_size=batch, threads=2).sample(count, seed, first))
    one = first + count // 2
    assert sampler.sample(1, seed, one).equals(whole.slice(one - first, 1))


def test_decode_of_the_prior_is_a_sample_but_for_rows_drawn_again(learned: Artifact) -> None:
    sampler = Sampler(learned, device="cpu")
    noise = sampler.noise(300, 9)
    codes, position = sampler.decoder.decode(*noise)
    assert sampler.discriminator is not None and sampler.rare is not None
    kept = sampler.discriminator.kept(codes, position) > chances(9, 0)[:300]
    kept[find_rare(sampler.codec, sampler.rare, codes, position)] = False
    drawn, sample = (
        table.filter(pa.array(kept)) for table in (sampler.decode(noise.z, seed=9), sampler.sample(300, 9))
    )
    assert drawn.equals(sample) and 60 < len(drawn) < 300
    assert sampler.decode(noise.z, noise.u, seed=9).equals(sampler.decode(noise.z, seed=9))


def test_rows_are_made_in_proportion_to_how_likely_they_are_kept(learned: Artifact) -> None:
    # E[w] over rows that are kept with the probability w is E[w²] / E[w] over rows that are drawn.
    sampler = Sampler(learned, device="cpu", reject=False)
    assert sampler.discriminator is not None
    drawn = sampler.discriminator.kept(*sampler.decoder.decode(*sampler.noise(60_000, 5)))
    made = sampler.discriminator.kept(*sampler._draws.codes(60_000, 5, 0, None))
    assert made.mean() == pytest.approx((drawn**2).mean() / drawn.mean(), rel=0.01)
    assert made.mean() > 1.1 * drawn.mean()


@pytest.mark.parametrize("damage", ["was changed", "belongs to another model"])
def test_a_wrong_discriminator_is_refused(learned: Artifact, tmp_path: Path, damage: str) -> None:
    shutil.copytree(learned.folder, tmp_path / "copy")
    copy = Artifact.load(tmp_path / "copy")
    path = copy.folder / "discriminator.onnx"
    graph = onnx.load(path)
    (digest,) = (entry for entry in graph.metadata_props if entry.key == "model_digest")
    digest.value = digest.value[::-1]
    onnx.save(graph, path)
    if damage != "was changed":
        manifest = json.loads((copy.folder / "manifest.json").read_text())
        manifest["files"]["discriminator.onnx"] = {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        (copy.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=damage):
        Sampler(Artifact.load(copy.folder), device="cpu")


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_files_depend_on_nothing_else(learned: Artifact, tmp_path: Path, engine: str) -> None:
    form = {"rows": 3 * BLOCK + 50, "seed": 5, "rows_per_shard": BLOCK, "device": "cpu"}
    for name, way in (
        ("one", {"workers": 1}),
        ("two", {"workers": 2, "batch_size": 333, "engine": engine}),
    ):
        config = GenerationConfig.model_validate(form | way | {"output": str(tmp_path / name)})
        generate(learned, config, Store(tmp_path))
    one, two = (
        {name: digest for name, digest in tree(tmp_path / n).items() if name.endswith(".parquet")}
        for n in ("one", "two")
    )
    assert one == two and len(one) == 4


def test_attempts_end_on_a_table_of_hardly_any_possible_rows(tmp_path: Path) -> None:
    # Each of the nine possible rows is there, four times: whatever is made is like one of them.
    a, b = (pa.array([("x", "y", "z")[(i // step) % 3] for i in range(36)]) for step in (1, 3))
    model = learn(pa.table({"a": a, "b": b}), tmp_path)
    sampler = Sampler(model, device="cpu")
    assert sampler.rare is not None and sampler.rare.rows == 36
    table = sampler.sample(200)
    assert table.num_rows == 200
    redrawn = sampler.redrawn(200)
    assert (redrawn.rows, redrawn.first, redrawn.draws, redrawn.stayed) == (200, 200, 200 * ATTEMPTS, 200)


def test_held_out_rows_are_hidden_too(learned: Artifact, source: pa.Table) -> None:
    sampler = Sampler(learned, device="cpu")
    assert sampler.rare is not None
    codes, numbers = sampler.codec.encode(source).codes, hashes(numbers_of_rows(sampler.codec, source))
    scarce = rare(source, 5)
    hidden = [row in scarce for row in rows(source)]
    assert sampler.rare.rows == sum(hidden)
    assert np.isin(np.flatnonzero(hidden), sampler.rare.find(codes, lambda found: numbers[found])).all()


def test_a_filter_that_is_not_ours_is_refused(learned: Artifact, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(learned.folder, tmp_path / "copy")
    path = tmp_path / "copy" / FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="changed"):
        Sampler(tmp_path / "copy")
    with pytest.raises(ValueError, match="format"):
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"words": [1]}), tmp_path / "other.parquet")
        RareRows.load(tmp_path / "other.parquet")
