"""Several machines share a dataset with no coordinator, and `verify` proves that it is whole."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from generation_runs import arguments, assert_nothing_half_written, ended, start, tree, until
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vae_core.cli import call
from vae_core.config import GenerationConfig
from vae_core.errors import ConfigError
from vae_core.generation import BLOCK, Run, generate
from vae_core.generation.plan import selected
from vae_core.generation.shards import ranges
from vae_core.generation.verify import unfinished, verify
from vae_core.store import Artifact, Store, place_of

SHARDS = 6
ROWS = (SHARDS - 1) * BLOCK + 100


def config(**changes: object) -> GenerationConfig:
    settings = {"rows": ROWS, "seed": 7, "rows_per_shard": BLOCK, "device": "cpu", "workers": 1} | changes
    return GenerationConfig.model_validate(settings)


@pytest.fixture(scope="module")
def whole(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return generate(model, config(output=str(tmp_path_factory.mktemp("whole") / "out")), Store("unused"))


@given(st.integers(1, 200), st.one_of(st.none(), st.integers(0, 250)), st.one_of(st.none(), st.integers(0, 250)))
def test_ranges_are_slices(count: int, start: int | None, stop: int | None) -> None:
    shards = Run("", "", 0, count * BLOCK, BLOCK, "zstd").shards()
    asked = f"{'' if start is None else start}:{'' if stop is None else stop}"
    expected = shards[start:stop]
    if expected:
        assert selected(shards, asked) == expected
        assert ranges(expected) == f"{expected[0].index}:{expected[-1].index + 1}"
    else:
        with pytest.raises(ConfigError, match=f"0:{count}$"):
            selected(shards, asked)


@pytest.mark.parametrize("text", ["", "4", "-1:", "1:2:3", "a:b", "1-3", ": "])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        config(shards=text)


def test_ranges_in_any_order_make_the_same_dataset(model: Artifact, whole: Artifact, tmp_path: Path) -> None:
    cuts = [":1", "1:3", "3:5", "4:"]  # two of them overlap
    random.Random(1).shuffle(cuts)
    output, left = str(tmp_path / "out"), set(range(SHARDS))
    for cut in cuts:
        dataset = generate(model, config(output=output, shards=cut), Store("unused"))
        left -= {shard.index for shard in selected(Run("", "", 0, ROWS, BLOCK, "").shards(), cut)}
        assert (dataset.manifest.get("missing") is None) == (not left) == (tmp_path / "out/_manifest.json").exists()
    assert dataset.manifest["files"] == whole.manifest["files"] and dataset.digest == whole.digest
    assert verify(Artifact.load(output)) == []
    again = generate(model, config(output=output, shards="2:3"), Store("unused"))
    assert again.manifest == dataset.manifest


def test_processes_with_different_ranges_work_in_one_folder_at_the_same_time(
    model: Artifact, whole: Artifact, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    processes = [start(arguments(model, output, ROWS, "--shards", cut, workers=1)) for cut in (":2", "2:4", "4:", ":")]
    assert [ended(process) for process in processes] == [(0, "")] * 4
    found = Artifact.load(output)
    assert verify(found) == [] and found.manifest["files"] == whole.manifest["files"]
    assert not [name for name in found.place.sizes() if ".tmp-" in name]


def test_one_is_killed_while_another_works_and_the_rest_is_made_later(
    model: Artifact, whole: Artifact, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = start(arguments(model, output, ROWS, "--shards", ":3", workers=1))
    second = start(arguments(model, output, ROWS, "--shards", "3:", workers=1))
    assert until(first, lambda: any(output.glob(".part-0000[0-2]*.tmp-*")) or any(output.glob("part-0000[0-2]*")))
    first.kill()
    first.communicate()
    assert ended(second) == (0, "")
    assert_nothing_half_written(output, tree(whole.folder))
    if not (output / "_manifest.json").exists():
        assert "shards are missing (" in str(unfinished(place_of(output)))
    assert ended(start(arguments(model, output, ROWS, "--shards", ":3", "--resume"))) == (0, "")
    assert Artifact.load(output).manifest["files"] == whole.manifest["files"]


def test_two_that_finish_at_once_commit_once(model: Artifact, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda c: generate(model, config(output=output, shards=c), Store("unused")), [":3", "3:"]))
    done = [dataset.manifest for dataset in made if "missing" not in dataset.manifest]
    there = Artifact.load(output)
    assert done and all(manifest == there.manifest for manifest in done) and verify(there) == []


def said(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    code, told = call(command), capsys.readouterr()
    assert len(told.err.splitlines()) <= 1
    return code, told.out + told.err


def test_verify_says_what_is_missing(
    model: Artifact, whole: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    for cut in ("0:1", "2:4"):
        code, told = said(capsys, *arguments(model, output, ROWS, "--shards", cut))
        assert code == 0 and "unfinished: shards" in told
    code, told = said(capsys, "verify", str(output))
    assert code == 2 and "3 of 6 shards are missing (1:2, 4:6)" in told
    part = output / "part-00002.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    code, told = said(capsys, "verify", str(output))
    assert code == 2 and "part-00002.parquet was changed" in told
    part.unlink()
    code, told = said(capsys, "verify", str(output))
    assert code == 2 and "4 of 6 shards are missing (1:3, 4:6)" in told
    assert said(capsys, *arguments(model, output, ROWS))[0] == 0
    assert said(capsys, "verify", str(output)) == (0, f"ok      datasets/flights@{whole.version}\n")
    (output / "_manifest.json").unlink()
    code, told = said(capsys, "verify", str(output))
    assert code == 2 and "all 6 shards are there and sound" in told
    assert said(capsys, *arguments(model, output, ROWS, "--shards", "1:2"))[0] == 0
    assert said(capsys, "verify", str(output))[0] == 0


def test_verify_proves_more_than_digests(model: Artifact, whole: Artifact, tmp_path: Path) -> None:
    def forged(change: str) -> list[str]:
        """Faults of a dataset whose manifest agrees with its files, but whose files are the wrong ones."""
        other = generate(model, config(output=str(tmp_path / change), seed=8), Store("unused"))
        manifest = json.loads((other.folder / "_manifest.json").read_text())
        files = manifest["files"]
        if change == "twice":
            (other.folder / "part-00001.parquet").write_bytes((other.folder / "part-00000.parquet").read_bytes())
            files["part-00001.parquet"] = files["part-00000.parquet"]
        elif change == "gap":
            (other.folder / "part-00001.parquet").unlink()
            del files["part-00001.parquet"]
        elif change == "seed":
            (other.folder / "part-00001.parquet").write_bytes((whole.folder / "part-00001.parquet").read_bytes())
            files["part-00001.parquet"] = whole.manifest["files"]["part-00001.parquet"]
        elif change == "beyond":
            (other.folder / "part-00001.parquet").rename(other.folder / "part-00009.parquet")
            files["part-00009.parquet"] = files.pop("part-00001.parquet")
        (other.folder / "_manifest.json").write_text(json.dumps(manifest))
        return verify(Artifact.load(other.folder))

    assert forged("sound") == []
    assert forged("twice") == ["part-00001.parquet holds shard 0, not 1"]
    assert forged("gap") == [f"shard 1 has 0 rows, of {BLOCK:,} from {BLOCK:,} on"]
    assert forged("seed") == ["part-00001.parquet holds seed 7, not 8"]
    assert forged("beyond")[0] == "part-00009.parquet is no shard of this dataset"
