"""What a folder, here or elsewhere, holds of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vae_core.errors import SourceError

GLOB = re.compile(r"[*?\[]")
_LAKES = {"_delta_log": "Delta Lake", ".hoodie": "Apache Hudi"}

Scratch = Callable[[], Path]
"""Gives a folder for temporary files, made when it is first asked for and removed after ingestion."""

Located = tuple[Path, str, tuple[str, ...]]
"""A file on the local disk, what the user knows it as, and the folders that it lies in below the one that was given."""


def check_plain(markers: Iterable[str], label: str) -> None:
    """Refuse a folder whose files are only a part of a table's truth.

    Raises:
        SourceError: one of `markers`, the names in the folder, says so.
    """
    for marker in markers:
        if marker in _LAKES:
            raise SourceError(
                f"{label}: is a table of {_LAKES[marker]}, whose files hold rows that were deleted, too; "
                "write the rows to be learned as plain Parquet"
            )


def shown(parts: Sequence[str]) -> bool:
    """Whether a file in these folders holds data: none is hidden, or a mark of another system (`_SUCCESS`)."""
    return not any(part.startswith((".", "_")) for part in parts)
