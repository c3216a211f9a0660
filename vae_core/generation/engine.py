"""Who generates the shards: a table of engines, and the local one, threads.

numpy, onnxruntime and pyarrow let go of Python's lock while they compute, so threads use all cores. A task is a chunk
of a row group, so that a hundred thousand rows have work for all cores, too. Whoever finishes the next row group of a
shard writes it (and those that wait behind it), so decoding and writing overlap without a thread more than there are
cores, also when there is one shard only. At most as many rows as `workers + 2` row groups have are in memory, whatever
their number.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from vae_core.errors import VaesynthError
from vae_core.generation.sampler import CHUNK, Sampler
from vae_core.generation.shards import Folder, Shard
from vae_core.generation.writer import ROW_GROUP, ShardWriter


@dataclass(frozen=True)
class Work:
    """What an engine is asked to do.

    Attributes:
        make: makes a sampler; each worker has its own. It can be pickled, for workers elsewhere.
        first: a sampler that is made already.
        folder: where the shards go.
        shards: those to generate.
        workers: at once, at most.
        scheduler: address of the cluster; `None` is this machine.
        done: told from the calling thread how many more rows are written.
        stop: set from outside to finish the shards that were begun and start no other.
    """

    make: Callable[..., Sampler]
    first: Sampler
    folder: Folder
    shards: Sequence[Shard]
    workers: int
    scheduler: str | None
    done: Callable[[int], None]
    stop: threading.Event


def row_groups(shard: Shard) -> Iterator[tuple[int, int]]:
    """First row and rows of each row group; a shard without rows has one."""
    for offset in range(0, max(shard.rows, 1), ROW_GROUP):
        yield shard.first_row + offset, min(ROW_GROUP, shard.rows - offset)


def _chunks(shard: Shard) -> Iterator[tuple[int, int]]:
    """First row and rows of each chunk of each row group."""
    for first_row, rows in row_groups(shard):
        for offset in range(0, max(rows, 1), CHUNK):
            yield first_row + offset, min(CHUNK, rows - offset)


def write_shard(sampler: Sampler, folder: Folder, shard: Shard, written: Callable[[int], None]) -> None:
    """Write one shard, a row group after the other: what a process does that has one core for it.

    Args:
        sampler: of the model.
        folder: where to.
        shard: which.
        written: told how many more rows are written; what it raises ends the shard, and nothing of it is left.
    """
    writer = ShardWriter(folder, shard, sampler.schema)
    try:
        for first_row, rows in row_groups(shard):
            writer.write(sampler.encoded(rows, folder.run.seed, first_row))
            written(rows)
        writer.finish()
    except BaseException:
        writer.discard()
        raise


@dataclass
class _Pen:
    """Puts the chunks of one shard into its file as row groups, in order, whatever the order in which they come."""

    writer: ShardWriter
    chunks: int
    next: int = 0
    busy: bool = False
    finished: bool = False
    ready: dict[int, pa.Table] = field(default_factory=dict)
    group: list[pa.Table] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, chunk: int, table: pa.Table, written: Callable[[int, int], None]) -> None:
        """Hand over a chunk; writes all row groups that are whole and next, unless another thread is at it.

        `written` is told the rows of each, and its chunks.
        """
        with self.lock:
            self.ready[chunk] = table
            if self.busy:
                return
            self.busy = True
        while True:
            with self.lock:
                following = self.ready.pop(self.next, None)
                if following is None:
                    self.busy = False
                    return
            self.group.append(following)
            self.next += 1
            if self.next == self.chunks or len(self.group) * CHUNK == ROW_GROUP:
                self._write(written)

    def _write(self, written: Callable[[int, int], None]) -> None:
        group, self.group = self.group, []
        self.writer.write(pa.concat_tables(group))
        if self.next == self.chunks:
            self.writer.finish()
            self.finished = True
        written(sum(table.num_rows for table in group), len(group))


class _Local:
    """The state that the threads of one run share."""

    def __init__(self, asked: Work) -> None:
        self.asked = asked
        self.abort = threading.Event()
        self.events: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self._tasks = self._cut(asked.shards)
        self._samplers = iter([asked.first])
        self._lock = threading.Lock()
        # Taken before a task and given back when its row group is written. Tasks are taken in order, and there are
        # slots for more than one row group, so the next one is always in somebody's hands, and nobody waits for ever.
        self._slots = threading.Semaphore((asked.workers + 2) * (ROW_GROUP // CHUNK))
        self._pens: dict[int, _Pen] = {}

    def _cut(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, int, int, int]]:
        for shard in shards:
            for chunk, (first_row, rows) in enumerate(_chunks(shard)):
                yield shard, chunk, first_row, rows

    def _take(self, schema: pa.Schema) -> tuple[_Pen, int, int, int] | None:
        self._slots.acquire()
        with self._lock:
            task = None if self.abort.is_set() else next(self._tasks, None)
            if task is None or (self.asked.stop.is_set() and task[1] == 0):
                self._tasks = iter(())
                self._slots.release()
                return None
            shard, chunk, first_row, rows = task
            if chunk == 0:
                chunks = sum(1 for _ in _chunks(shard))
                self._pens[shard.index] = _Pen(ShardWriter(self.asked.folder, shard, schema), chunks)
            return self._pens[shard.index], chunk, first_row, rows

    def work(self) -> None:
        """Decode and write until nothing is left: the body of a thread."""
        try:
            sampler = next(self._samplers, None) or self.asked.make()
            while (task := self._take(sampler.schema)) is not None:
                pen, chunk, first_row, rows = task
                pen.put(chunk, sampler.encoded(rows, self.asked.folder.run.seed, first_row), self._written)
                if pen.finished:
                    with self._lock:
                        self._pens.pop(pen.writer.shard.index, None)
        except BaseException as error:
            self.abort.set()
            self._slots.release(self.asked.workers)  # nobody waits for what won't be written
            self.events.put(error)
        finally:
            self.events.put(None)

    def _written(self, rows: int, chunks: int) -> None:
        self._slots.release(chunks)
        self.events.put(rows)

    def close(self) -> None:
        """Remove what was begun and not finished."""
        for pen in self._pens.values():
            pen.writer.discard()


def local(work: Work) -> None:
    """Generate with threads of this process."""
    state = _Local(work)
    threads = [threading.Thread(target=state.work, name=f"generate-{i}", daemon=True) for i in range(work.workers)]
    for thread in threads:
        thread.start()
    failure: BaseException | None = None
    try:
        running = work.workers
        while running:
            event = state.events.get()
            if event is None:
                running -= 1
            elif isinstance(event, BaseException):
                failure = failure or event
            else:
                work.done(event)
    finally:
        state.abort.set()
        for thread in threads:
            thread.join()
        state.close()
    if failure is not None:
        raise failure


Engine = Callable[[Work], None]


def _dask() -> Engine:
    from vae_core.generation import dask_engine  # an extra, and slow to import

    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that runs the user's script before anything else, as Python has them start.
        raise VaesynthError('engine dask in a script: call it under `if __name__ == "__main__":`')
    return dask_engine.run


ENGINES: dict[str, Callable[[], Engine]] = {"local": lambda: local, "dask": _dask}
