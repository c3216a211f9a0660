"""The stage: a model and a number of rows become a dataset of Parquet files."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType

from vae_core.config import GenerationConfig
from vae_core.errors import VaesynthError
from vae_core.generation.engine import ENGINES, Engine, Work
from vae_core.generation.plan import plan, selected
from vae_core.generation.sampler import Sampler
from vae_core.generation.shards import Folder, Shard, ranges
from vae_core.progress import Progress, silent
from vae_core.store import Artifact, Store, place_of, version_of

_NOT_OF_THE_DATASET = {"output", "resume", "workers", "batch_size", "engine", "scheduler", "shards"}


def generate(
    model: Artifact,
    config: GenerationConfig,
    store: Store,
    name: str | None = None,
    progress: Progress = silent,
    engine: Engine | None = None,
) -> Artifact:
    """Write `config.rows` rows of `model` as Parquet, in the store or in `config.output`.

    A dataset that is already there is returned at once; an unfinished one goes on where it stopped. With
    `config.shards` only these are made: whoever finds all of them there completes the dataset, and what others return
    has the shards that are missing in its manifest, under `missing`, and isn't on the disk.

    Args:
        model: an exported model.
        config: rows, seed and how to write them. Workers, batch size and engine change nothing in the files.
        store: where the dataset goes when `config.output` isn't given.
        name: of the dataset; the model's when not given.
        progress: told about rows.
        engine: what runs the shards, instead of the one that `config` names.

    Raises:
        ArtifactError: the model was changed or isn't exported; the folder belongs to another run.
        ConfigError: the output can't be used, or the device isn't there.
        StorageError: read-only folder, full disk. The shards that are finished stay and are used by the next run.
        VaesynthError: the run was asked to stop (SIGTERM) before all shards were finished; those begun are finished.
        KeyboardInterrupt: likewise, by the user; its text says how to go on.
    """
    # An engine that isn't installed and a model that can't be used fail before a folder is made.
    engine = engine or ENGINES[config.engine]()
    make = partial(Sampler, model=model, device=config.device, batch_size=config.batch_size)
    first = make()
    run = plan(model, first, config)
    shards = run.shards()
    ours = selected(shards, config.shards)
    name, version = name or model.name, version_of(run.digest)
    folder = Folder(place_of(config.output_of(name, version) or store.path("datasets", name, version)), run)
    total = sum(shard.rows for shard in ours)
    finished = folder.finished()  # before the lock, so that a read-only dataset is returned too
    if finished is not None:
        progress(total, total)
        return finished
    with folder.place.errors(), folder.lock(ours):
        finished = folder.finished()
        if finished is not None:
            progress(total, total)
            return finished
        folder.prepare(resume=config.resume)
        kept = folder.keep(ours)
        count = sum(shard.rows for shard in kept)
        progress(count, total)

        def done(rows: int) -> None:
            nonlocal count
            count += rows
            progress(count, total, "finishing what was begun" if stop.is_set() else "")

        todo = sorted(set(ours) - set(kept), key=lambda shard: shard.index)
        stop = threading.Event()
        workers = cores(config.workers) if config.scheduler is None else config.workers or sys.maxsize
        work = Work(make, first, folder, todo, workers, config.scheduler, done, stop)
        try:
            with _stopped_by_signals(stop) as came:
                engine(work)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_stopped(folder, ours)) from None
        files, missing = folder.look(shards)
        if set(missing) & set(ours):
            raise (KeyboardInterrupt if signal.SIGINT in came else VaesynthError)(_stopped(folder, ours))
        fields = {
            "digest": run.digest,
            "inputs": {"model": model.digest},
            "model": f"{model.name}@{model.version}",
            "config": config.model_dump(exclude=_NOT_OF_THE_DATASET) | {"rows_per_shard": run.rows_per_shard},
            "seed": run.seed,
            "rows": run.rows,
            "shards": len(shards),
            "provider": first.decoder.provider,
        }
        identity = "datasets", name, version
        if missing:  # other runs make them; the last one to finish commits
            return Artifact.unfinished(folder.place, identity, fields | {"missing": ranges(missing)}, files)
        return Artifact.finish(folder.place, identity, fields, files)


def _stopped(folder: Folder, shards: Sequence[Shard]) -> str:
    _, missing = folder.look(shards)
    return (
        f"{folder.path}: stopped on request with {len(shards) - len(missing)} of {len(shards)} files finished; "
        "run the same command again with --resume to go on"
    )


def cores(workers: int | None) -> int:
    """Resolve the number of workers: as many as the cores that this process may use, unless given."""
    if workers is not None:
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[set[int]]:
    """Let SIGTERM and Ctrl-C set `stop`, where nobody else handles them; a second one ends the run at once.

    Yields the set of the signals that came.
    """
    came: set[int] = set()
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    if threading.current_thread() is not threading.main_thread():
        usual = {}
    ours = {number: handler for number, handler in usual.items() if signal.getsignal(number) == handler}

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, ours[signal.Signals(number)])
        came.add(number)
        stop.set()

    for number in ours:
        signal.signal(number, handle)
    try:
        yield came
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
