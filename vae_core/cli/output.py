"""What commands print: JSON or a few lines on stdout."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vae_core.store import Artifact


def emit(as_json: bool, data: Any, lines: Sequence[str]) -> None:
    """Print `data` as one JSON object, or `lines` for people."""
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False, default=str))
    else:
        for line in lines:
            click.echo(line)


class Notes(logging.Handler):
    """Tells on stderr what the library warns of, each text once, without cutting through a progress bar."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one warning."""
        self.tell(record.getMessage())

    def tell(self, text: str) -> None:
        """Tell `text`, unless it was told before."""
        if text in self._told:
            return
        self._told.add(text)
        from tqdm import tqdm

        tqdm.write(f"note: {text}", file=sys.stderr)


_NOTES = Notes()


def notes(texts: Sequence[str] = ()) -> None:
    """Tell `texts` as notes, and from now on whatever the library warns of."""
    logger = logging.getLogger("vae_core")
    if _NOTES not in logger.handlers:
        logger.addHandler(_NOTES)
        logger.propagate = False
    for text in texts:
        _NOTES.tell(text)


def table(rows: Sequence[Sequence[object]], indent: str = "  ") -> list[str]:
    """Lines with the columns of `rows` aligned; numbers to the right."""
    if not rows:
        return []
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))]
    right = [all(_numeric(row[i]) for row in text[1:]) and len(text) > 1 for i in range(len(widths))]
    return [
        (
            indent + "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        ).rstrip()
        for row in text
    ]


def _numeric(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("-", "").replace("%", "").isdigit()


def describe(artifact: Artifact) -> dict[str, Any]:
    """An artifact in JSON types, for `--json`."""
    manifest = artifact.manifest
    return {
        "kind": artifact.kind,
        "name": artifact.name,
        "version": artifact.version,
        "digest": artifact.digest,
        "path": str(artifact.place),
        "rows": manifest.get("rows"),
        "created": manifest.get("created"),
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
    } | ({"missing": manifest["missing"]} if "missing" in manifest else {})


def size(count: float) -> str:
    """Bytes in words: `3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
