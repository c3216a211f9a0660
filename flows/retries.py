"""When a failed task is worth another try: what may pass by itself, never what the user has to change."""

from __future__ import annotations

import errno
import re
import sqlite3
import urllib.error
from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from vae_core.errors import BusyError, SourceError, StorageError

# What pyarrow says of S3 and Google's storage when they don't answer, or are too busy.
_OBJECT_STORAGE = re.compile(r"NETWORK_CONNECTION|REQUEST_TIMEOUT|curlCode|SLOW_DOWN|UNAVAILABLE")
_DELAYS = [2.0, 15.0]  # seconds before each further try
_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG}


def worth_retrying(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Whether the error of a failed task may be gone on the next try: networks, databases, remote storage."""
    return passing(state.result(raise_on_failure=False))


def passing(error: object) -> bool:
    """Whether `error` may pass by itself: a lock that another run held, or a storage or network error.

    A full disk, a read-only folder and every other error that the user has to act on are not.
    """
    if isinstance(error, BusyError):
        return True
    cause = getattr(error, "__cause__", None) or getattr(error, "__context__", None)
    if isinstance(error, StorageError):
        return getattr(cause, "errno", None) not in _LASTING
    if isinstance(error, SourceError):
        return _network(cause)
    return isinstance(error, ConnectionError | TimeoutError)


def _network(cause: object) -> bool:
    """Whether the network, a server or a database failed, as opposed to what was asked of it."""
    if isinstance(cause, urllib.error.HTTPError):
        return cause.code >= 500 or cause.code in (408, 429)
    if isinstance(cause, urllib.error.URLError | ConnectionError | TimeoutError):
        return True
    if isinstance(cause, OSError) and _OBJECT_STORAGE.search(str(cause)):
        return True
    if type(cause).__module__.startswith("sqlalchemy") and type(cause).__name__ in (
        "OperationalError",
        "InterfaceError",
    ):
        # SQLite is a file: of its operational errors only a lock goes away.
        return not isinstance(getattr(cause, "orig", None), sqlite3.Error) or "locked" in str(cause)
    return False


ONCE: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
"""Options of a task that is tried once. The artifact store is the cache: Prefect keeps no result, pickled or other."""

RETRIED: dict[str, Any] = ONCE | {
    "retries": len(_DELAYS),
    "retry_delay_seconds": _DELAYS,
    "retry_condition_fn": worth_retrying,
}
"""Options of a task that is tried again where the error may pass."""
