"""Prefect's ephemeral server for one run of the command line, started while the rest of the program still loads.

Prefect starts such a server by itself, but only at the first call of a flow and after importing the server's code into
the client as well: 13 s on two cores, 20 s and a time-out with an empty home. Run this way it is ready in 8 s.
It also ends with its parent, even a killed one, and two first runs don't migrate one database at the same time.

    python -m flows.server      prints the port when the server answers; ends when its standard input closes
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from vae_core.errors import StorageError, VaesynthError

_SERVER = {
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "0",
    # Blocks aren't used here; a server started later in the same home registers them itself, as nothing is memoised.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "0",
}

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "vae_core",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def quiet(*, logs: bool = False) -> None:
    """Set Prefect's defaults for a command line, before it is imported: what the user set is kept.

    Nothing calls home. Prefect's own log stays off the terminal unless `logs`; a server gets it all the same, and the
    library's warnings with it.
    """
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    if "PREFECT_LOGGING_LEVEL" not in os.environ and not logs:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


@contextmanager
def temporary_server(meanwhile: Callable[[], object]) -> Iterator[None]:
    """Run the block's flows against an ephemeral server, or against the user's own where one is configured.

    Args:
        meanwhile: called while the server starts, for imports that the flows need.

    Raises:
        VaesynthError: the server did not start.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with ExitStack() as stack:
        if PREFECT_API_URL.value():
            meanwhile()
        else:
            url = stack.enter_context(_process(PREFECT_HOME.value(), meanwhile))
            stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        stack.callback(_drain)
        yield


@contextmanager
def _process(home: Path, meanwhile: Callable[[], object]) -> Iterator[str]:
    from filelock import FileLock

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / ".vaesynth-server.lock")
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"can't write Prefect's folder {home}: {error.strerror}; set PREFECT_HOME to one that can be written"
        ) from error
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.server"],  # -P: a folder `flows` where the user stands is not this one
            env=os.environ | _SERVER | {"PYTHONPATH": os.pathsep.join(_python_path())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Ctrl-C is for the client alone: it still has to tell the server that the run was interrupted.
            start_new_session=True,
        )
        try:
            # Only the start is exclusive: it creates and migrates the database.
            try:
                meanwhile()
                port = _port(process, log)
            finally:
                lock.release()
            yield f"http://127.0.0.1:{port}/api"
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _python_path() -> list[str]:
    """Where the server finds this package: beside the user's own `PYTHONPATH`, its parent when run from a checkout."""
    return [str(Path(__file__).parents[1]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _port(process: subprocess.Popen[str], log: IO[str]) -> int:
    """Wait for the server to answer. Raises `VaesynthError` with the server's last words when it ends instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if line.strip().isdigit():
        return int(line)
    process.wait()
    log.seek(0)
    words = [text.strip() for text in log if text.strip()] or [f"exit code {process.returncode}"]
    raise VaesynthError(f"Prefect's temporary server did not start: {words[-1]}")


def _drain() -> None:
    """Send the logs and events that are still queued, while there is a server to take them."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=5)
    EventsWorker.drain_all(timeout=5)


def _serve() -> None:
    """Serve on a free port of the loopback, print it when requests are answered, and end with the parent."""
    import socket

    import uvicorn
    from prefect.server.api.server import create_app

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            sys.stdout.write(f"{listener.getsockname()[1]}\n")
            sys.stdout.flush()

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    app: Any = create_app()
    Server(uvicorn.Config(app, log_level="error", lifespan="on")).run([listener])


if __name__ == "__main__":
    _serve()
