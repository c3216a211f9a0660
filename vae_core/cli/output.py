"""What commands print: JSON or a few lines on stdout."""

from __future__ import annotations

import json
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


def notes(texts: Sequence[str]) -> None:
    """Tell on stderr what the user should know and may act on."""
    for text in texts:
        click.echo(f"note: {text}", err=True)


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
        "path": str(artifact.folder),
        "rows": manifest.get("rows"),
        "created": manifest.get("created"),
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
    }


def size(count: float) -> str:
    """Bytes in words: `3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
