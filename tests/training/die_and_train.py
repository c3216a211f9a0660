"""Trains again and again in processes that are killed, until one isn't: the other side of `test_resuming.py`.

Each line of stdin is JSON: a snapshot's folder, a store, a configuration, the seconds between checkpoints, and deaths.
A death is {"step": n} (once n steps are done), {"change": n} (right before the n-th change of the store) or
{"seconds": t} (whenever that is). Answers with the exit codes of the processes; what they told is in the file `told` of
the store.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401 (an optimizer imports it, which takes longer than a training here)

from vae_core.config import TrainingConfig
from vae_core.store import Artifact, Store
from vae_core.training import checkpoint, train


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def learn(snapshot: str, store: str, config: TrainingConfig, death: dict[str, float]) -> None:
    changes = 0

    def watch(event: str, what: tuple[Any, ...]) -> None:
        nonlocal changes
        if event in ("os.rename", "os.remove") and any(store in str(each) for each in what):
            changes += 1
            if changes == death.get("change"):
                die()

    def progress(done: float, total: float | None = None, note: str = "") -> None:
        if done >= death.get("step", float("inf")):
            die()

    Path(store).mkdir(exist_ok=True)
    os.dup2(os.open(Path(store) / "told", os.O_CREAT | os.O_APPEND | os.O_WRONLY), 2)
    sys.addaudithook(watch)
    train(Artifact.load(snapshot), config, Store(store), "x", progress)


def ends(snapshot: str, store: str, config: dict[str, Any], every: float, deaths: list[dict[str, float]]) -> list[int]:
    checkpoint.EVERY = checkpoint.SELDOM = every
    settings = TrainingConfig.model_validate(config)
    codes = []
    for death in [*deaths, {}]:
        child = os.fork()  # what was imported needn't be again
        if child == 0:
            learn(snapshot, store, settings, death)
            os._exit(0)
        if "seconds" in death:
            time.sleep(death["seconds"])
            os.kill(child, signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return codes


for line in sys.stdin:
    sys.stdout.write(json.dumps(ends(*json.loads(line))) + "\n")
    sys.stdout.flush()
