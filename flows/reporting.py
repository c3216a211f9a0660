"""What Prefect's pages and the terminal show of a run: progress, results of stages, one line an error."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger
from pydantic import BaseModel

from vae_core.errors import VaesynthError
from vae_core.progress import Progress, bar
from vae_core.references import reference
from vae_core.store import Artifact
from vae_core.summary import stood

bars: ContextVar[bool] = ContextVar("bars", default=False)
"""Whether stages draw bars on stderr: set by the command line, not in a worker."""

_EVERY = 2.0  # seconds between updates of a progress artifact: each is a request to the server


class StageResult(BaseModel):
    """What a stage hands to the next one and to the summary: names and digests, never data.

    Attributes:
        stage: ingest, train, export, evaluate or generate.
        artifact: `name@version` in the store.
        path: the artifact's folder, or s3:// address.
        rows: rows of a snapshot or a dataset, training rows of a model.
        skipped: the artifact stood already.
        seconds: wall time.
    """

    stage: str
    artifact: str
    digest: str
    path: str
    rows: int | None = None
    skipped: bool = False
    seconds: float = 0.0


def slug(text: str) -> str:
    """`text` as the key of a Prefect artifact: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


class StageReport:
    """Collects the result of a running stage; call `done` with the artifact that the stage returned."""

    def __init__(self, stage: str, progress: Progress) -> None:
        self.progress = progress
        self._stage, self._started, self._clock = stage, datetime.now(UTC), time.perf_counter()

    def done(self, artifact: Artifact, *, extended: bool = False) -> StageResult:
        """Make the stage's result. `extended`: the stage adds to a model instead of making an artifact of its own."""
        result = StageResult(
            stage=self._stage,
            artifact=reference(artifact),
            digest=artifact.digest,
            path=str(artifact.place),
            rows=artifact.manifest.get("rows"),
            skipped=stood(artifact, self._started, self._stage if extended else None),
            seconds=round(time.perf_counter() - self._clock, 2),
        )
        how = "skipped, it stands" if result.skipped else f"done in {result.seconds:.1f} s"
        get_run_logger().info("%s: %s: %s", self._stage, how, result.artifact)
        return result


@contextmanager
def stage(name: str, unit: str) -> Iterator[StageReport]:
    """Report a stage while it runs: a progress artifact in Prefect, and a bar on stderr where `bars` is set."""
    with ExitStack() as stack:
        on_bar = stack.enter_context(bar(name, unit, shown=bars.get()))
        shown: UUID | None = None
        last = time.monotonic()

        def report(done: float, total: float | None = None, note: str = "") -> None:
            nonlocal shown, last
            on_bar(done, total, note)
            if not total or time.monotonic() - last < _EVERY:
                return
            last = time.monotonic()
            percent = round(min(100.0, 100.0 * done / total), 1)
            description = f"{name}: {done:,.0f} of {total:,.0f} {unit} {note}".strip()
            if shown is None:
                key = f"{slug(name)}-progress"
                shown = cast(UUID, create_progress_artifact(percent, key=key, description=description))
            else:
                update_progress_artifact(shown, percent, description)

        yield StageReport(name, report)
        if shown is not None:
            update_progress_artifact(shown, 100.0, f"{name}: done")


class OneLine(logging.Filter):
    """Log an error that was made for users as its one line: Prefect adds the stack trace to every error otherwise."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Strip the stack trace of a `VaesynthError`; the record is always kept."""
        error: Any = record.exc_info[1] if record.exc_info else None
        if isinstance(error, VaesynthError):
            record.exc_info = record.exc_text = None
            record.msg, record.args = str(error), ()
        return True


def one_line_errors() -> None:
    """Install `OneLine` where Prefect logs the errors of flows, tasks and workers' processes; again is harmless."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logger = logging.getLogger(name)
        if not any(isinstance(kept, OneLine) for kept in logger.filters):
            logger.addFilter(OneLine())


one_line_errors()
