"""Progress of a long step, shown as a bar on stderr or handed to whoever listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told about work as it is done. `done` and `total` are in the step's own unit (rows, seconds)."""

    def __call__(self, done: float, total: float | None = None, note: str = "") -> None:
        """Take note of it."""


def silent(done: float, total: float | None = None, note: str = "") -> None:
    """A `Progress` that shows nothing."""


@contextmanager
def bar(description: str, unit: str = "rows", *, shown: bool = True) -> Iterator[Progress]:
    """Show a tqdm bar on stderr for the length of the block; a pipe gets a line every 10 s at most."""
    if not shown:
        yield silent
        return
    import sys

    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(
        desc=description,
        unit=f" {unit}",
        unit_scale=unit == "rows",  # 1.2M rows, but 7/7 checks
        mininterval=interval,
        delay=0.3,  # a step that was done before shows no bar
        dynamic_ncols=True,
    ) as display:

        def update(done: float, total: float | None = None, note: str = "") -> None:
            if total is not None and total != display.total:
                display.total = total
            if done and not display.n:  # what came before says nothing of how long the rest takes
                display.unpause()
                display.initial = display.n = display.last_print_n = done
            if note:
                display.set_postfix_str(note, refresh=False)
            display.update(done - display.n)

        yield update
