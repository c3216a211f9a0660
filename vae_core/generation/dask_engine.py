"""The engine on Dask: a shard is a task, run by processes of this machine or by a cluster that is there.

Tasks carry paths and digests, never data: workers read the model from its folder, check it against the digests that
came with the task, and write the shards themselves. So model and dataset must be where all workers can reach them.
No more shards are with the cluster than it has threads: the scheduler's memory doesn't grow with the rows, and whoever
asks to stop waits for no shard that wasn't begun.
"""

from __future__ import annotations

import itertools
import logging
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from vae_core import __version__
from vae_core.errors import ConfigError, MissingDependencyError, VaesynthError
from vae_core.generation.engine import Work, write_shard
from vae_core.generation.sampler import Sampler
from vae_core.generation.shards import Folder, Shard
from vae_core.store.place import LocalPlace, Place

try:
    import dask
    import distributed
    from distributed.scheduler import KilledWorker
except ImportError:
    raise MissingDependencyError("engine dask needs Dask: pip install 'vaesynth[dask]'") from None

_logger = logging.getLogger(__name__)
_PATIENCE = 30.0  # seconds to wait for a scheduler to answer, and for its first worker
_LOOK = 1.0  # seconds between looks at how large the cluster is
_DEFAULTS = {
    # A killed worker of a local cluster that hasn't started again by then is given up, and no other takes its place:
    # Dask's 15 s are too short for a machine that is busy.
    "deploy": {"lost-worker-timeout": "1 hour"},
    # Dask has glibc give memory back to the system whenever some is free. The next chunk of rows takes it again, page
    # by page: a quarter of a worker's time.
    "nanny": {"pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": None}},
    # Each process looks 50 times a second whether it is late, and a worker 100 times a second what its thread does:
    # 5 % of a core each, where tasks take seconds.
    "admin": {"tick": {"interval": "1s"}},
    "worker": {"profile": {"enabled": False}},
}
dask.config.update_defaults({"distributed": _DEFAULTS})


class Abandoned(Exception):  # noqa: N818
    """Nobody waits for this shard any more."""


# The state of a worker's process: each thread (there is one, unless the cluster was started with more) keeps the
# sampler of the last run that it worked for.
_kept = threading.local()
_abandoned: set[str] = set()


@dataclass(frozen=True)
class Job:
    """What the tasks of one run have in common: how a worker, wherever it is, writes a shard.

    Attributes:
        name: of the run, unlike any other's.
        make: makes a sampler.
        folder: where the shards go.
        libraries: versions that decide the bytes.
    """

    name: str
    make: Callable[[], Sampler]
    folder: Folder
    libraries: dict[str, str]

    @classmethod
    def of(cls, work: Work) -> Job:
        """The job that an engine was asked to do."""
        model = replace(work.first.model, place=_anywhere(work.first.model.place))
        device = "cuda" if work.first.decoder.provider.startswith("CUDA") else "cpu"  # everywhere the same
        make = partial(work.make, model=model, device=device)
        folder = Folder(_anywhere(work.folder.place), work.folder.run)
        return cls(f"vaesynth-{uuid.uuid4().hex}", make, folder, _libraries())

    def write(self, shard: Shard, written: Callable[[int], None]) -> None:
        """Write one shard, in a worker.

        Raises:
            ConfigError: the worker has other libraries, or doesn't see the folder.
        """
        if getattr(_kept, "name", None) != self.name:
            _kept.sampler, _kept.name = self._sampler(), self.name
        write_shard(_kept.sampler, self.folder, shard, written)

    def _sampler(self) -> Sampler:
        sampler, here, worker = self.make(), _libraries(), distributed.get_worker().address
        for name, version in self.libraries.items():
            if here[name] != version:
                raise ConfigError(
                    f"Dask worker {worker}: it has {name} {here[name]} and this run is made with {version}, so the "
                    "bytes could differ; install the same versions on all machines"
                )
        if not self.folder.prepared():
            raise ConfigError(
                f"Dask worker {worker}: it doesn't see {self.folder.path}; give a folder that all machines share, or "
                "s3://…"
            )
        return sampler


def _libraries() -> dict[str, str]:
    import onnxruntime

    versions = {"numpy": np.__version__, "pyarrow": pa.__version__, "onnxruntime": onnxruntime.__version__}
    return {"vaesynth": __version__} | versions


def _anywhere(place: Place) -> Place:
    """The same place, also for processes that were started in another folder."""
    return LocalPlace(place.path.absolute()) if isinstance(place, LocalPlace) else place


def _task(job: Job, shard: Shard) -> None:
    """Write one shard: the body of a task."""
    worker, written = distributed.get_worker(), 0

    def tell(rows: int) -> None:
        nonlocal written
        written += rows
        worker.log_event(job.name, (shard.index, written))
        if job.name in _abandoned:
            raise Abandoned

    job.write(shard, tell)


def _abandon(name: str) -> None:
    """Let a worker's process end the shards of a run."""
    _abandoned.add(name)


class _Run:
    """The client's side of a run: hands out shards and hears of them."""

    def __init__(self, work: Work, client: distributed.Client) -> None:
        self._work, self._client = work, client
        self._job = Job.of(work)
        self._waiting = iter(work.shards)
        self._running: dict[int, tuple[Shard, distributed.Future]] = {}
        self._written: dict[int, int] = {}  # rows that were told of, by shard in hand
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads, self._looked, self._seen = 0, -_LOOK, time.monotonic()

    def __call__(self) -> None:
        """Run the shards until none is left, or none but those not begun when asked to stop."""
        self._client.subscribe_topic(self._job.name, lambda event: self._events.put(event[1]))
        try:
            while self._hand_out():
                with suppress(queue.Empty):
                    event = self._events.get(timeout=_LOOK)
                    if isinstance(event, distributed.Future):
                        self._ended(event)
                    else:
                        self._told(*event)
        except BaseException:
            with suppress(Exception), self._client.as_current():  # what is gone can't be told, nor waited for
                self._client.run(_abandon, self._job.name)
                distributed.wait([future for _, future in self._running.values()], timeout=_PATIENCE)
            raise
        finally:
            self._client.unsubscribe_topic(self._job.name)

    def _hand_out(self) -> bool:
        """Submit shards until every thread has one. Returns whether any is running."""
        if time.monotonic() > self._looked + _LOOK:
            self._threads, self._looked = sum(self._client.nthreads().values()), time.monotonic()
            if self._threads:
                self._seen = self._looked
            elif self._looked > self._seen + _PATIENCE:
                _logger.warning("the Dask cluster has had no worker for a while; waiting for one")
            if self._client.cluster is not None:
                self._client.cluster.scale(self._work.workers)  # starts those anew that were given up
        room = min(max(self._threads, 1), self._work.workers) - len(self._running)
        for shard in itertools.islice(self._waiting, 0 if self._work.stop.is_set() else max(room, 0)):
            future = self._client.submit(_task, self._job, shard, key=f"{self._job.name}-{shard.index}", pure=False)
            self._running[shard.index] = shard, future
            future.add_done_callback(self._events.put)
        return bool(self._running)

    def _told(self, index: int, rows: int) -> None:
        """Count rows of a shard; those that a killed worker had written already count once."""
        if index in self._running and rows > self._written.get(index, 0):
            self._work.done(rows - self._written.get(index, 0))
            self._written[index] = rows

    def _ended(self, future: distributed.Future) -> None:
        index = int(future.key.rpartition("-")[2])
        shard, _ = self._running[index]
        if future.status == "finished":
            self._told(index, shard.rows)
        elif future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                error = VaesynthError(
                    f"{shard.file}: {error.allowed_failures + 1} Dask workers died while they wrote it; look into "
                    "their logs (memory?), then run the same command again with --resume"
                )
            with self._job.folder.place.errors():
                raise error
        else:
            raise VaesynthError("lost the Dask scheduler; run the same command again with --resume to go on")
        del self._running[index]
        self._written.pop(index, None)


def local_cluster(workers: int) -> dict[str, Any]:
    """Options of a `LocalCluster` for generation."""
    return {
        "n_workers": workers,
        "threads_per_worker": 1,
        "memory_limit": None,  # for data that Dask keeps: there is none
        "dashboard_address": "127.0.0.1:0",
        "preload": [__name__],
        "silence_logs": logging.CRITICAL,
    }


def dask_setup(worker: distributed.Worker) -> None:
    """Let a worker on this machine ignore the signals that reach it with its client, who decides what they mean.

    Dask calls it in workers of a local cluster as they start.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def connect(make: Callable[[], distributed.Client], scheduler: str | None) -> distributed.Client:
    """Make a client and wait for a worker.

    Args:
        make: makes it.
        scheduler: its address; `None` for a cluster that comes with it.

    Raises:
        ConfigError: no scheduler answers, or it has no workers.
        VaesynthError: the local cluster doesn't start.
    """
    try:
        client = make()
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        if scheduler is not None:
            raise ConfigError(f"no Dask scheduler answers at {scheduler}: {reason}") from error
        raise VaesynthError(
            f"the local Dask cluster did not start: {reason} (a script has to call it under "
            '`if __name__ == "__main__":`)'
        ) from error
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close()
        raise ConfigError(
            f"the Dask scheduler at {scheduler} has no workers; start some: dask worker {scheduler} --nthreads 1"
        ) from None
    return client


def hands(client: distributed.Client, work: Work) -> int:
    """How many shards the cluster writes at once; says so where the dataset has fewer."""
    count: int = min(sum(client.nthreads().values()), work.workers)
    shards = len(work.folder.run.shards())
    if shards < count:
        _logger.warning(
            "%d of %d workers have nothing to do, for the dataset has %d file%s; generation.rows_per_shard makes them "
            "smaller",
            *(count - shards, count, shards, "s"[: shards > 1]),
        )
    return count


def run(work: Work) -> None:
    """Generate with processes: those of the cluster at `work.scheduler`, or `work.workers` on this machine.

    Raises:
        ConfigError: no scheduler answers, it has no workers, or they can't do this run.
        VaesynthError: the workers die of a shard again and again, or the scheduler is gone.
    """
    if work.scheduler is None:
        options = local_cluster(work.workers)
    else:
        options = {"address": work.scheduler, "timeout": _PATIENCE}
    try:
        with connect(partial(distributed.Client, set_as_default=False, **options), work.scheduler) as client:
            hands(client, work)
            _Run(work, client)()
    finally:
        work.folder.place.sweep()
