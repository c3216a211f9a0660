"""The bytes of a dataset are a function of model, seed, rows and form: of nothing that happened while it was made."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from generation_runs import manifest, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_core.config import GenerationConfig
from vae_core.generation import BLOCK, Sampler, generate
from vae_core.store import Artifact, Store

SHARDS = 6
ROWS = (SHARDS - 1) * BLOCK + 100
few = settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ways = st.fixed_dictionaries({"workers": st.integers(1, 5), "batch_size": st.integers(64, 2 * BLOCK)})


def make(model: Artifact, output: Path, **changes: object) -> None:
    form = {"rows": ROWS, "seed": 7, "rows_per_shard": BLOCK, "device": "cpu", "output": str(output)}
    generate(model, GenerationConfig.model_validate(form | changes), Store(output.parent))


@pytest.fixture(scope="module", params=[[], ["origin"]], ids=["plain", "partitioned"])
def form(request: pytest.FixtureRequest) -> dict[str, object]:
    return {"partition_by": request.param}


@pytest.fixture(scope="module")
def whole(model: Artifact, form: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All bytes of a dataset that one worker made without a pause."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    make(model, folder, workers=1, **form)
    assert len([name for name in tree(folder) if name.endswith(".parquet")]) >= SHARDS
    return tree(folder)


@few
@given(way=ways)
def test_workers_and_batches_change_nothing(
    model: Artifact,
    form: dict[str, object],
    whole: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    way: dict[str, int],
) -> None:
    folder = tmp_path_factory.mktemp("way") / "out"
    make(model, folder, **way, **form)
    assert tree(folder) == whole


@few
@given(data=st.data())
def test_machines_that_share_the_shards_change_nothing(
    model: Artifact,
    form: dict[str, object],
    whole: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    # Ranges that cover all shards, in any order, some of them twice.
    folder = tmp_path_factory.mktemp("shared") / "out"
    cuts = sorted({0, SHARDS, *data.draw(st.sets(st.integers(1, SHARDS - 1), max_size=3))})
    begun = [data.draw(st.integers(0, start)) for start in cuts[:-1]]
    ranges = data.draw(st.permutations([f"{a}:{b}" for a, b in zip(begun, cuts[1:], strict=True)]))
    for shards in ranges:
        make(model, folder, shards=shards, **data.draw(ways), **form)
    without_locks = {name: digest for name, digest in tree(folder).items() if not name.startswith(".lock")}
    assert without_locks == {name: digest for name, digest in whole.items() if not name.startswith(".lock")}


@few
@given(data=st.data())
def test_what_was_lost_and_made_again_changes_nothing(
    model: Artifact,
    form: dict[str, object],
    whole: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("resumed") / "out"
    make(model, folder, **form)
    names = [name for name in whole if name.rpartition("/")[2].startswith("part-")]
    for name in data.draw(st.sets(st.sampled_from(names), min_size=1)):
        size = (folder / name).stat().st_size
        cut = data.draw(st.integers(-1, size - 1), label=f"bytes left of {name}")
        if cut < 0:
            (folder / name).unlink()
        else:
            os.truncate(folder / name, cut)
    manifest(folder).unlink()
    make(model, folder, **data.draw(ways), **form)
    assert tree(folder) == whole


def test_threads_of_the_decoder_change_nothing(model: Artifact) -> None:
    one, two = (Sampler(model, device="cpu", threads=threads).sample(2 * BLOCK + 5, 3) for threads in (1, 2))
    assert one.equals(two)


@given(cuts=st.sets(st.integers(1, 3 * BLOCK), max_size=4))
@few
def test_rows_are_the_same_from_wherever_they_are_asked_for(sampler: Sampler, cuts: set[int]) -> None:
    whole = sampler.sample(3 * BLOCK, 7)
    for start, stop in itertools.pairwise(sorted({0, 3 * BLOCK} | cuts)):
        assert sampler.sample(stop - start, 7, start).equals(whole.slice(start, stop - start))
