"""Reading ahead: a thread reads while what was read before is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa


@contextmanager
def ahead(tables: Iterator[pa.Table]) -> Iterator[Iterator[pa.Table]]:
    """Let a thread read tables, from now on; at most two wait. What it raises is raised where the tables are used."""
    waiting: queue.Queue[pa.Table | BaseException | None] = queue.Queue(maxsize=2)
    stopped = threading.Event()

    def put(item: pa.Table | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for table in tables:
                put(table)
                if stopped.is_set():
                    return
        except BaseException as error:  # raised where the tables are used
            put(error)
        else:
            put(None)

    def given() -> Iterator[pa.Table]:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=read, name="vaesynth-read", daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        stopped.set()
        with suppress(queue.Empty):  # the thread may wait for a place
            while True:
                waiting.get_nowait()
        thread.join()
