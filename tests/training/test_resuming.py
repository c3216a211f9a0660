"""A training that is killed, whenever, goes on, and ends with the weights of one that wasn't."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_wine

from tests.conftest import environment
from vae_core.codec import Codec
from vae_core.config import SchemaConfig, TrainingConfig
from vae_core.ingest import ingest
from vae_core.model import Layout, Structure
from vae_core.schema import Schema
from vae_core.store import Artifact, Store
from vae_core.training import checkpoint as module
from vae_core.training import fit, train
from vae_core.training.checkpoint import Checkpoint
from vae_core.training.stage import encode_snapshot

SCRIPT = Path(__file__).with_name("die_and_train.py")
KILLED = -signal.SIGKILL
BY_STEPS = TrainingConfig(max_steps=60, hidden=16, latent_dim=2, device="cpu", max_minutes=60)
BY_ITSELF = BY_STEPS.model_copy(update={"max_steps": 1000, "dropout": 0.0, "learning_rate": 5e-2})


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """178 wines, three columns of them."""
    wine = load_wine(as_frame=True).frame[["alcohol", "proanthocyanins", "target"]]
    return ingest(wine, SchemaConfig(), Store(tmp_path_factory.mktemp("wine")), "wine")


Learn = Callable[..., tuple[Artifact, list[int], str]]


@pytest.fixture(scope="module")
def learn(snapshot: Artifact) -> Iterator[Learn]:
    """Train with deaths on the way: the model, exit codes of the processes, what they told."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(SCRIPT)], env=environment(), text=True, **pipes) as trainer:
        assert trainer.stdin is not None and trainer.stdout is not None
        orders, answers = trainer.stdin, trainer.stdout

        def call(
            store: Path, config: TrainingConfig, every: float, *deaths: dict[str, float]
        ) -> tuple[Artifact, list[int], str]:
            order = [str(snapshot.folder), str(store), config.model_dump(), every, deaths]
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            codes = json.loads(answers.readline())
            return Store(store).open("models", "x"), codes, (store / "told").read_text()

        yield call
        orders.close()


@pytest.fixture(scope="module")
def whole(learn: Learn, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A model of `BY_STEPS` whose training nothing disturbed, and that had no checkpoint."""
    return learn(tmp_path_factory.mktemp("whole"), BY_STEPS, 3600)[0]


def outcome(model: Artifact) -> dict[str, Any]:
    """All that a training of a seed decides: the digest, files, and what training.json says but the seconds."""
    record = json.loads(model.file("training.json").read_text())
    files = {name: entry["sha256"] for name, entry in model.manifest["files"].items() if name != "training.json"}
    return {"digest": model.digest, "files": files} | {k: v for k, v in record.items() if "seconds" not in k}


def left_behind(store: Path) -> list[str]:
    return [path.name for path in store.rglob(".checkpoint*")]


def test_killed_at_several_steps_it_ends_with_the_same_weights(learn: Learn, whole: Artifact, tmp_path: Path) -> None:
    steps = (10, 30, 40)  # in the warm-up, before the first evaluation's best, and in the decay
    model, codes, told = learn(tmp_path, BY_STEPS, 0, *({"step": step} for step in steps))
    assert codes == [*[KILLED] * 3, 0]
    assert told.count("training goes on at step") == 3
    assert outcome(model) == outcome(whole)
    assert outcome(model)["stopped"] == "steps"
    assert left_behind(tmp_path) == []


def test_killed_before_it_stops_by_itself_it_ends_with_the_same_weights(learn: Learn, tmp_path: Path) -> None:
    whole, _, told = learn(tmp_path / "whole", BY_ITSELF, 3600)
    assert "goes on" not in told
    model, codes, told = learn(tmp_path / "killed", BY_ITSELF, 0.02, {"step": 170})
    assert codes == [KILLED, 0] and "training goes on at step 1" in told
    assert outcome(model) == outcome(whole)
    assert outcome(model)["stopped"] == "held-out ELBO stopped improving"


def test_killed_before_changes_of_the_disk_and_at_random_it_ends_with_the_same_weights(
    learn: Learn, whole: Artifact, tmp_path: Path
) -> None:
    """Most changes are that a step's checkpoint gets its name."""
    chance = random.Random(0)
    deaths = [{"change": 1}, {"change": 2}, {"change": 20}, *({"seconds": chance.uniform(0, 2)} for _ in range(3))]
    model, codes, _ = learn(tmp_path, BY_STEPS, 0, *deaths)
    assert codes[:3] == [KILLED] * 3 and codes[-1] == 0
    assert outcome(model) == outcome(whole)
    assert left_behind(tmp_path) == []


def test_killed_while_the_model_is_written_it_ends_with_the_same_weights(learn: Learn, tmp_path: Path) -> None:
    """Before every change of the disk after the last step: from the manifest to the checkpoint's removal."""
    config = BY_STEPS.model_copy(update={"max_steps": 2})
    whole, _, _ = learn(tmp_path / "whole", config, 3600)
    published = []
    for change in range(3, 9):
        store = tmp_path / str(change)
        model, codes, told = learn(store, config, 0, {"change": change})
        assert outcome(model) == outcome(whole)
        assert left_behind(store) == []
        if codes[0] == 0:
            break
        published.append("goes on" not in told)  # then the second process found the model
    assert codes == [0, 0] and published[0] is False and published[-1] is True


class Interruption(BaseException):
    pass


def interrupted(at: int) -> Any:
    def progress(done: float, total: float | None = None, note: str = "") -> None:
        if done >= at:
            raise Interruption

    return progress


@pytest.fixture(scope="module")
def encoded(snapshot: Artifact) -> tuple[Any, ...]:
    """What `fit` takes."""
    schema = Schema.from_dict(json.loads(snapshot.file("schema.json").read_text()))
    codec, codes, values, holdout = encode_snapshot(snapshot.folder, schema, BY_STEPS)
    assert isinstance(codec, Codec)
    layout = Layout.from_codec(codec, codes[~holdout], Structure.learn(codec, codes[~holdout]))
    return layout, codes, values, holdout


def test_time_that_was_spent_counts(encoded: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)
    monkeypatch.setattr(module, "SELDOM", 0.0)
    kept = Checkpoint(tmp_path, "key", "v")
    with pytest.raises(Interruption):
        fit(*encoded, BY_STEPS, interrupted(20), kept)
    found = kept.load()
    assert found is not None and found[1]["step"] == 19
    tensors, facts = found
    kept.save(tensors, facts | {"seconds": 60 * BY_STEPS.max_minutes})
    result = fit(*encoded, BY_STEPS, checkpoint=kept)
    assert (result.stopped, result.steps) == ("time budget", 20)
    assert result.seconds > 60 * BY_STEPS.max_minutes
    assert result.curves.steps == [20]  # the last weights are judged too, however early the time is over


def tiny() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return {"a": torch.arange(3.0), "random.cpu": torch.zeros(2, dtype=torch.uint8), "b": torch.tensor(1.0)}, {"x": 0.1}


def same(found: tuple[dict[str, torch.Tensor], dict[str, Any]] | None) -> bool:
    tensors, facts = tiny()
    return found is not None and found[1] == facts and all(torch.equal(found[0][k], v) for k, v in tensors.items())


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, "key", "v")
    assert kept.load() is None and not kept.due()
    kept.save(*tiny())
    assert same(kept.load())
    assert same(Checkpoint(tmp_path, "key", "v").load())


def test_no_changed_byte_and_no_cut_is_ever_read_as_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Checkpoint(tmp_path, "key", "v")
    kept.save(*tiny())
    content = kept.path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        kept.path.write_bytes(damaged)
        found = kept.load()
        assert found is None or same(found), place  # white space of the header may change
    for length in (0, 1, 8, len(content) // 2, len(content) - 1):
        caplog.clear()
        kept.path.write_bytes(content[:length])
        assert kept.load() is None
        assert [record.getMessage() for record in caplog.records] == [
            f"{kept.path} is damaged: training starts from the beginning"
        ]


@pytest.mark.parametrize("what", ["key", "libraries", "code_digest"])
def test_that_of_another_training_library_or_code_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    Checkpoint(tmp_path, "key", "v").save(*tiny())
    if what != "key":
        monkeypatch.setattr(module, what, lambda: "another")
    assert Checkpoint(tmp_path, "another" if what == "key" else "key", "v").load() is None
    assert not caplog.records


def test_a_damaged_one_is_told_and_training_starts_anew(
    snapshot: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = BY_STEPS.model_copy(update={"max_steps": 2})
    whole = train(snapshot, config, Store(tmp_path / "whole"), "x")
    (tmp_path / "damaged/models/x").mkdir(parents=True)
    path = tmp_path / f"damaged/models/x/.checkpoint-{whole.version}.safetensors"
    path.write_bytes(b"half of a che")
    caplog.clear()
    model = train(snapshot, config, Store(tmp_path / "damaged"), "x")
    assert f"{path} is damaged: training starts from the beginning" in caplog.messages
    assert outcome(model) == outcome(whole)
    assert left_behind(tmp_path) == []


def test_one_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Checkpoint(tmp_path / "gone", "key", "v")
    kept.save(*tiny())
    kept.save(*tiny())
    (message,) = caplog.messages
    assert message.startswith(f"{kept.path} can't be written")


def test_those_that_nobody_went_on_with_are_removed_after_days(tmp_path: Path) -> None:
    old, young, own = (Checkpoint(tmp_path, "key", version) for version in ("old", "young", "own"))
    for each in (old, young, own):
        each.save(*tiny())
    long_ago = time.time() - 8 * 86_400
    os.utime(old.path, (long_ago, long_ago))
    own.remove()
    assert left_behind(tmp_path) == [young.path.name]


def test_few_rows_are_told(snapshot: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train(snapshot, BY_STEPS.model_copy(update={"max_steps": 1}), Store(tmp_path), "x")
    (message,) = caplog.messages
    assert message.startswith("only 160 rows to learn from")
